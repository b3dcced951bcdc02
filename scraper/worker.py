"""Receive → handle → settle: what one worker process does with the messages it is given.

Each consumer has one delivery in hand and takes the next only when that one is settled, so the broker is the only
queue. Always store first, then acknowledge: a crash in between gives a repetition, which the store recognises, and
never a loss. A delivery that the broker took back in the meantime joins the job that is still running for its task
id instead of starting it twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from scraper.deadline import Deadline
from scraper.errors import DeliveryLost, Permanent, ScraperError
from scraper.events import Observe, StopWaits, TaskFault, TaskReceived, TaskSettled, current_task
from scraper.models import Done, Extraction, Failure, Hold, Outcome, Page, Park, ParkReason, Result, Retry, Task
from scraper.patience import until_available
from scraper.ports import Broker, Consumer, Delivery, Message, Store
from scraper.rows import done_row
from scraper.settle import settle, worth_finishing
from scraper.shelf import Shelf
from scraper.trace import Record, Trace
from scraper.trail import extended

T = TypeVar("T")

HAND_BACK_SECONDS = 3.0
"""How long a stopping worker tries to hand back what it could not finish; the broker redelivers the rest."""
LOOK_SECONDS = 0.25
"""How often a stopping worker looks which of its jobs only wait."""


class Pipeline(Protocol):
    """Everything between a queue body and validated data."""

    def decode(self, body: bytes) -> Task:
        """The task that `body` asks for; raises Permanent."""
        ...

    async def run(
        self, task: Task, *, deadline: Deadline, trace: Trace, suspect: bool, page: Page | None = None
    ) -> Extraction:
        """Validated data, or an error of `scraper.errors`. `suspect`: workers may have died holding this task.

        With `page`, which was fetched before, nothing is fetched.
        """
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one delivery may cost."""

    max_attempts: int = 5
    task_deadline_seconds: float = 900.0
    hold_limit_seconds: float = 600.0
    drain_seconds: float = 30.0
    suspect_after_returns: int = 2


@dataclass(frozen=True, slots=True)
class _Job:
    """One task being worked on, whichever deliveries wait for it. `end`: what is to be done with them."""

    identity: tuple[str, int]
    trace: Trace
    consumer: asyncio.Task[None]  # that works on it
    end: asyncio.Future[Outcome]


class Worker:
    """The consumers of one process. `run` returns when it was told to stop and has settled what it had in hand."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        broker: Broker,
        store: Store,
        consumers: int = 3,
        limits: Limits = Limits(),
        publish_result: Callable[[Result], Awaitable[None]] | None = None,
        record: Sequence[Callable[[Message], Record]] = (),
        model_away: Callable[[], bool] = lambda: False,
        store_away: Callable[[], bool] = lambda: False,
        observe: Observe,
    ) -> None:
        """`publish_result`: where else each done result goes, once it is stored; may raise Unavailable.

        Each of `record` makes the record of a delivery, which is told its steps as they end. `model_away`: whether
        nobody gets a turn at the model server now, however long they wait. `store_away`: whether somebody waits for it.
        """
        self._pipeline = pipeline
        self._broker = broker
        self._store = store
        self._consumers = consumers
        self._limits = limits
        self._publish_elsewhere = publish_result
        self._record = record
        self._model_away = model_away
        self._store_away = store_away
        self._observe = observe
        self._shelf = Shelf(store, decode=pipeline.decode, observe=observe)
        self._jobs: dict[str, _Job] = {}
        self._receiving: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.in_hand = 0  # deliveries received and not yet settled

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """Work until `stop`, then finish what is worth it; on `stop_now` hand everything back at once.

        The order keeps the broker's connection alive: consumers are cancelled, jobs finish, their deliveries are
        settled, and only then channels close.
        """
        async with AsyncExitStack() as stack:
            tasks = [await stack.enter_async_context(self._broker.consumer()) for _ in range(self._consumers)]
            dead_letters = await stack.enter_async_context(self._broker.consumer("parked"))
            loops = {asyncio.create_task(self._consume(each, self._handle)) for each in tasks}
            loops.add(asyncio.create_task(self._consume(dead_letters, self._keep_dead_letter)))
            try:
                await _first(loops, stop, stop_now)
                self._stopping = True
                for consumer in (*tasks, dead_letters):
                    await consumer.stop()
                await self._drain(loops, stop_now)
            finally:
                await _cancelled(loops)
            for loop in loops:
                if not loop.cancelled():
                    loop.result()  # a consumer that ended by itself met a bug: let the process say so

    async def _drain(self, loops: set[asyncio.Task[None]], stop_now: asyncio.Event) -> None:
        for loop in self._receiving:
            loop.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_seconds):
                said = 0
                while not stop_now.is_set() and (busy := {loop for loop in loops if not loop.done()}):
                    waiting = self._let_go_of_the_waiting()
                    if waiting > said:
                        self._observe(StopWaits(said := waiting, self._limits.drain_seconds))
                    await _first(busy, stop_now, seconds=LOOK_SECONDS)

    def _let_go_of_the_waiting(self) -> int:
        """Their consumers hand them back. Once each: whatever a job does at its end must not be disturbed.

        Returns how many answers wait for a store that is away.
        """
        model_away, store_away = self._model_away(), self._store_away()
        waiting = 0
        for job in self._jobs.values():
            phase, answered = job.trace.phase, job.trace.answer is not None
            if worth_finishing(phase, answered=answered, model_away=model_away, store_away=store_away):
                waiting += store_away and phase == "store"
            elif not job.consumer.cancelling():
                job.consumer.cancel()
        return waiting

    async def _consume(self, consumer: Consumer, handle: Callable[[Delivery], Awaitable[None]]) -> None:
        this = asyncio.current_task()
        assert this is not None
        while not self._stopping:
            self._receiving.add(this)
            try:
                delivery = await consumer.receive()
            finally:
                self._receiving.discard(this)
            self.in_hand += 1
            current_task.set(delivery.message.task_id)  # and no longer the one before
            try:
                await handle(delivery)
            finally:
                self.in_hand -= 1

    async def _handle(self, delivery: Delivery) -> None:
        trace = self._trace(delivery.message)
        try:
            await self._to_its_outcome(delivery, trace)
        except asyncio.CancelledError:
            await _to_its_end(self._hand_back(delivery, trace))
            raise

    async def _to_its_outcome(self, delivery: Delivery, trace: Trace) -> None:
        message = delivery.message
        task = self._read(message)
        if isinstance(task, Park):
            await self._park_unread(delivery, task, trace)
            return
        current_task.set(task.task_id)
        self._observe(TaskReceived(task.task_id, message.attempts + 1, delivery.returns))
        outcome, trace = await self._run_once(task, delivery, trace)
        await self._settle(delivery, task.task_id, outcome, trace)

    def _read(self, message: Message) -> Task | Park:
        try:
            return self._pipeline.decode(message.body)
        except Permanent as error:
            return Park(error.reason, str(error))
        except Exception as error:  # noqa: BLE001 a body that kills its reader would kill every worker in turn
            self._observe(TaskFault(type(error).__name__, _where(error)))
            return Park(ParkReason.BAD_TASK, "the body cannot be read (the log says where, as task_fault)")

    async def _run_once(self, task: Task, delivery: Delivery, trace: Trace) -> tuple[Outcome, Trace]:
        """Run the task, or join the job that runs it already."""
        identity = (task.content_sha256, delivery.message.submission)
        while (job := self._jobs.get(task.task_id)) is not None and job.identity != identity:
            await asyncio.wait([job.end])
        if job is not None:
            return await asyncio.shield(job.end), job.trace
        consumer, end = asyncio.current_task(), asyncio.get_running_loop().create_future()
        assert consumer is not None
        self._jobs[task.task_id] = _Job(identity, trace, consumer, end)
        try:
            end.set_result(await self._work(task, delivery, trace))
        finally:
            del self._jobs[task.task_id]
            end.cancel()  # where there is none: only stopping cancels consumers, and whoever joined stops as well
        return end.result(), trace

    async def _work(self, task: Task, delivery: Delivery, trace: Trace) -> Outcome:
        """Until the store has it, where it ended. Whoever joined finds it there, and only settles."""
        message = delivery.message
        try:
            if (end := await self._shelf.end_of(task, delivery)) is not None:
                await self._publish_again(task, end, returns=delivery.returns)
                return end
            if task.expires_at is not None and task.expires_at <= datetime.now(UTC):
                raise Permanent(ParkReason.EXPIRED, f"expires_at {task.expires_at.isoformat()} has passed")  # noqa: TRY301 whatever ends it ends it here
            page = await self._shelf.kept_page(task) if message.stored_page else None
            extraction = await self._extraction(task, trace, suspect=self._is_suspect(delivery), page=page)
        except ScraperError as error:
            return await self._failed(task, message, error, trace)
        except Exception as error:  # noqa: BLE001 one broken page must not stop the rest
            self._observe(TaskFault(type(error).__name__, _where(error)))
            return await self._failed(task, message, error, trace)
        await self._save_done(task, message, extraction, trace)
        return Done()

    async def _failed(self, task: Task, message: Message, error: Exception, trace: Trace) -> Outcome:
        outcome = settle(error, attempts=message.attempts, max_attempts=self._limits.max_attempts)
        if isinstance(outcome, Park):
            await self._shelf.park(task, message, outcome, trace)
        return outcome

    def _is_suspect(self, delivery: Delivery) -> bool:
        return delivery.returns >= self._limits.suspect_after_returns

    async def _extraction(self, task: Task, trace: Trace, *, suspect: bool, page: Page | None) -> Extraction:
        deadline = Deadline(
            work_seconds=self._limits.task_deadline_seconds,
            hold_seconds=self._limits.hold_limit_seconds,
            now=asyncio.get_running_loop().time(),
        )
        return await self._pipeline.run(task, deadline=deadline, trace=trace, suspect=suspect, page=page)

    async def _save_done(self, task: Task, message: Message, extraction: Extraction, trace: Trace) -> None:
        trace.enter("store")
        result = done_row(task, message, extraction, trace, finished_at=datetime.now(UTC))
        await self._with_store(lambda: self._store.save(result))
        await self._publish_result(result)

    async def _publish_result(self, result: Result) -> None:
        if (publish := self._publish_elsewhere) is not None:
            await until_available("broker", lambda: publish(result), observe=self._observe)

    async def _publish_again(self, task: Task, end: Outcome, *, returns: int) -> None:
        """A result whose task came back may have been stored by a worker that died before publishing it."""
        if self._publish_elsewhere is not None and returns and isinstance(end, Done):
            result = await self._with_store(lambda: self._store.result(task.task_id))
            if result is not None and result.status == "done":
                await self._publish_result(result)

    async def _park_unread(self, delivery: Delivery, park: Park, trace: Trace) -> None:
        row_id, outcome = await self._shelf.park_unread(delivery, park, trace)
        await self._settle(delivery, row_id, outcome, trace)

    async def _keep_dead_letter(self, delivery: Delivery) -> None:
        """Park what the broker gave up delivering, unless its task had ended after all.

        One that workers may have died on here as well is parked without being read once more. Unfinished it returns
        to its own queue when the consumer is closed.
        """
        message, trace = delivery.message, self._trace(delivery.message)
        park = _OUTLIVED if message.outlived else _UNSETTLED
        task = park if self._is_suspect(delivery) else self._read(message)
        if isinstance(task, Park):
            await self._park_unread(delivery, park, trace)
            return
        row_id, end = task.task_id, None
        with suppress(Permanent):
            end = await self._shelf.end_of(task, delivery, dead_letter=True)
        if end is None:
            row_id, end = await self._shelf.park(task, message, park, trace), park
        await self._settle(delivery, row_id, end, trace)

    async def _settle(self, delivery: Delivery, task_id: str, outcome: Outcome, trace: Trace) -> None:
        trace.enter("store")
        label = _LABELS[type(outcome)]
        try:
            await until_available("broker", lambda: _move(delivery, outcome), observe=self._observe)
        except DeliveryLost:
            label = "lost"
        self._tell_end(task_id, label, _reason(outcome), delivery, trace)

    async def _hand_back(self, delivery: Delivery, trace: Trace) -> None:
        reason = "stopping; the broker delivers it again"  # as it does once its consumer is closed
        with suppress(ScraperError, TimeoutError):
            async with asyncio.timeout(HAND_BACK_SECONDS):
                await delivery.move(delay_seconds=0, attempts=delivery.message.attempts)
                reason = "stopping"
        self._tell_end(current_task.get(), "handed_back", reason, delivery, trace)

    def _tell_end(self, task_id: str, label: _Label, reason: str, delivery: Delivery, trace: Trace) -> None:
        trace.end(task_id, label, reason)
        self._observe(_story(task_id, label, reason, delivery, trace))

    def _trace(self, message: Message) -> Trace:
        return Trace(clock=asyncio.get_running_loop().time, records=[begin(message) for begin in self._record])

    async def _with_store(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await until_available("store", operation, observe=self._observe)


async def _move(delivery: Delivery, outcome: Outcome) -> None:
    attempts = delivery.message.attempts
    match outcome:
        case Retry(after_seconds=seconds, reason=error):
            trail = extended(delivery.message.trail, Failure(attempts + 1, error, datetime.now(UTC)))
            await delivery.move(delay_seconds=seconds, attempts=attempts + 1, trail=trail)
        case Hold(after_seconds=seconds, submission=submission):
            await delivery.move(delay_seconds=seconds, attempts=attempts, submission=submission)
        case _:
            await delivery.ack()


_UNSETTLED = Park(ParkReason.DELIVERY_LIMIT, "delivered too often without ever being settled")
_OUTLIVED = Park(ParkReason.EXPIRED, "its time in the queue (the AMQP property expiration) was over before its turn")
_Label = Literal["done", "retry", "hold", "park", "lost", "handed_back"]
_LABELS: dict[type[Outcome], _Label] = {Done: "done", Retry: "retry", Hold: "hold", Park: "park"}


def _reason(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Done) else str(outcome.reason)


def _story(task_id: str, label: _Label, reason: str, delivery: Delivery, trace: Trace) -> TaskSettled:
    return TaskSettled(
        task_id=task_id,
        outcome=label,
        reason=reason,
        attempts=delivery.message.attempts + 1,
        calls=trace.calls,
        prompt_tokens=trace.usage.prompt_tokens,
        completion_tokens=trace.usage.completion_tokens,
        cached_tokens=trace.usage.cached_tokens,
        timings=trace.timings(),
        total_s=round(trace.total_seconds, 4),
        hidden=trace.hidden,
        unsupported=trace.unsupported,
    )


def _where(error: Exception) -> str:
    """The innermost place of a traceback, without its text."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "?"
    return f"{Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


async def _first(tasks: Iterable[asyncio.Task[None]], *events: asyncio.Event, seconds: float | None = None) -> None:
    """Until one of `tasks` has ended or one of `events` is set; not for longer than `seconds`."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([*tasks, *waits], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(waits)


async def _to_its_end(work: Awaitable[None]) -> None:
    """Also where the caller, who is cancelled already, is cancelled once more."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    task.result()


async def _cancelled(tasks: Iterable[asyncio.Task[T]]) -> None:
    """Cancel `tasks` once and wait until they have ended, whatever they end with."""
    for task in (tasks := list(tasks)):
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
