"""The embedded queue: the promises of the RabbitMQ broker in one file that several processes share.

All of SQLite happens in one thread of its own (`QueueFile`); here is what waits for it. One task per process feeds
all its consumers: it sleeps until somebody waits for a message, takes for all who wait at once, and while there is
nothing it looks four times a second whether another process has written to the file. While there is work, an
acknowledgement brings the next message along in its own transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from scraper.broker.sqlite_leases import RENEW_SECONDS, GivenBack, Lease
from scraper.broker.sqlite_queue import QueueFile, Taken
from scraper.broker.sqlite_schema import opened
from scraper.errors import DeliveryLost, Unavailable
from scraper.events import Observe, ignore
from scraper.host import boot_clock
from scraper.models import Trail
from scraper.patience import until_available
from scraper.ports import WAIT_SECONDS, Depth, Message, QueueName, wait_for
from scraper.sqlite_thread import SqliteThread

T = TypeVar("T")

POLL_SECONDS = 0.25
"""How soon a message of another process is noticed. All looks of an idle process take 0.3 % of a core."""
RENEW_AGAIN_SECONDS = 1.0


class SqliteBroker:
    """Where tasks wait, in a file. Entering raises Misconfigured, or Unavailable while the file is locked."""

    def __init__(
        self,
        path: Path | str,
        *,
        namespace: str,
        prefetch_count: int = 1,
        wait_seconds: Sequence[float] = WAIT_SECONDS,
        observe: Observe = ignore,
        clock: Callable[[], float] = boot_clock,
        boot: str | None = None,
        busy_seconds: float = 5.0,
        poll_seconds: float = POLL_SECONDS,
        thread: SqliteThread | None = None,
    ) -> None:
        """`clock` is one for all processes and restarts only with `boot` changing (default: the host's boot id).

        `busy_seconds`: how long to wait for another process to finish writing before that counts as Unavailable.
        `thread`: of whoever else works with this very file, running from before this is entered until after.
        """
        self._path = Path(path)
        self._thread = thread or SqliteThread(partial(opened, self._path, busy_seconds=busy_seconds), path=self._path)
        self._has_own_thread = thread is None
        self._file = QueueFile(self._thread.file, namespace=namespace, clock=clock, boot=boot)
        self._prefetch_count = prefetch_count
        self._wait_seconds = wait_seconds
        self._observe = observe
        self._poll_seconds = poll_seconds
        self._consumers = 0
        self._waiters: dict[QueueName, deque[asyncio.Future[Taken]]] = {"tasks": deque(), "parked": deque()}
        self._to_give_back: dict[Lease, GivenBack] = {}
        self._wake = asyncio.Event()
        self._is_open = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        if self._has_own_thread:
            await self._thread.start()
        self._is_open = True
        try:
            await self._run(self._file.open)
            self._tasks = [asyncio.create_task(self._feed()), asyncio.create_task(self._renew())]
            self._tasks[0].add_done_callback(self._feeding_ended)
        finally:
            if not self._tasks:
                self._close()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if closed := self._close():
            await asyncio.shield(closed)
        if self._has_own_thread:
            await self._thread.stop()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # it ended by itself: a bug that must not go unnoticed

    @asynccontextmanager
    async def consumer(self, queue: QueueName = "tasks") -> AsyncIterator[_Consumer]:
        consumer = _Consumer(self, queue, prefetch_count=self._prefetch_count)
        await self._count_consumers(+1 if queue == "tasks" else 0)
        try:
            yield consumer
        finally:
            await consumer.stop()
            self.give_back(consumer.let_go(), returns=1)
            with suppress(Unavailable):  # then the feeder goes on trying
                await self._flush()
            await self._count_consumers(-1 if queue == "tasks" else 0)

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._run(self._file.publish, messages)
        self._wake.set()

    async def depth(self) -> Depth:
        return await self._run(self._file.depth)

    async def remove(self, lease: Lease, queue: QueueName, *, keep: Callable[[Taken], None]) -> bool:
        """Whether the lease still held. `keep` gets the next message of `queue`, unless somebody waits in line for it.

        Also where the caller is cancelled meanwhile: it would be held for nobody otherwise.
        """
        if not self._is_open or self._waiters[queue]:
            return await self._run(self._file.remove, lease)

        def take_along(work: asyncio.Future[tuple[bool, Taken | None]]) -> None:
            if not work.cancelled() and work.exception() is None and (taken := work.result()[1]) is not None:
                keep(taken)

        work = self._thread.run(partial(self._file.remove_and_take, lease, queue))
        work.add_done_callback(take_along)
        held, _ = await asyncio.shield(work)
        return held

    async def move(self, lease: Lease, *, delay_seconds: float, attempts: int, trail: Trail, submission: int) -> bool:
        """Whether the lease still held."""
        delay = wait_for(delay_seconds, delays=self._wait_seconds)
        move = partial(self._file.move, lease, attempts=attempts, trail=trail, submission=submission)
        moved = await self._run(partial(move, delay_seconds=delay))
        self._wake.set()
        return moved

    def ask(self, queue: QueueName) -> asyncio.Future[Taken]:
        """Get in line for the next message of `queue`."""
        if not self._is_open or self._tasks[0].done():
            raise self._closed()
        waiter: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiters[queue].append(waiter)
        self._wake.set()
        return waiter

    def give_back(self, leases: Sequence[Lease], *, returns: int) -> None:
        """Have the feeder give them back, again and again until it succeeds."""
        self._to_give_back |= {lease: GivenBack(lease, returns) for lease in leases}
        self._wake.set()

    def leave_line(self, queue: QueueName, waiter: asyncio.Future[Taken]) -> None:
        """Whoever has been served already keeps what they got."""
        if waiter in self._waiters[queue]:
            self._waiters[queue].remove(waiter)

    def hand_over(self, taken: Taken) -> None:
        """To whoever is next in line, else back to the queue."""
        waiters = self._waiters[taken.queue]
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(taken)
                return
        self.give_back([taken.lease], returns=0)

    async def _feed(self) -> None:
        while True:
            await self._woken()
            for taken in await until_available("broker", self._take, observe=self._observe):
                self.hand_over(taken)

    async def _woken(self) -> None:
        """Until there is something to do: at once, or at the next look while somebody waits."""
        poll = None
        if any(self._waiters.values()):
            poll = asyncio.get_running_loop().call_later(self._poll_seconds, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if poll is not None:
            poll.cancel()

    async def _take(self) -> list[Taken]:
        await self._flush()
        wanted = {queue: len(waiters) for queue, waiters in self._waiters.items() if waiters}
        return await self._run(self._file.take, wanted) if wanted else []

    async def _flush(self) -> None:
        if self._to_give_back:
            given = list(self._to_give_back.values())
            await self._run(self._file.give_back, given)
            for each in given:
                self._to_give_back.pop(each.lease, None)
            self._wake.set()

    async def _renew(self) -> None:
        """Not in the queue's own thread: leases shall run out where the event loop has stopped working."""
        pause = RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._run(self._file.renew)
                pause = RENEW_SECONDS
            except Unavailable:  # whoever needs the queue says so
                pause = RENEW_AGAIN_SECONDS

    async def _count_consumers(self, more: int) -> None:
        self._consumers += more
        with suppress(Unavailable):  # then the next renewal says it
            await self._run(self._file.count_consumers, self._consumers)

    def _feeding_ended(self, _: asyncio.Task[None]) -> None:
        for waiters in self._waiters.values():
            while waiters:
                waiter = waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(self._closed())

    async def _run(self, job: Callable[..., T], *args: object) -> T:
        if not self._is_open:
            raise self._closed()
        return await self._thread.run(partial(job, *args))

    def _close(self) -> asyncio.Future[None] | None:
        """Give back and let go of the file, even where the caller is cancelled meanwhile."""
        if not self._is_open:
            return None
        self._is_open = False
        left = self._thread.run(self._file.leave)
        if self._has_own_thread:
            self._thread.take_no_more()
        return left

    def _closed(self) -> Unavailable:
        return Unavailable(f"the queue in {self._path} is closed")


class _Consumer:
    """Up to `prefetch_count` deliveries in hand. Whoever acknowledges one gets the next along, as from RabbitMQ."""

    def __init__(self, broker: SqliteBroker, queue: QueueName, *, prefetch_count: int) -> None:
        self._broker = broker
        self._queue = queue
        self._hands = asyncio.Semaphore(prefetch_count)
        self._held: set[Lease] = set()
        self._ahead: deque[Taken] = deque()  # came along, for the hand that has become free
        self._asked: set[asyncio.Future[Taken]] = set()
        self._stopped = False

    async def receive(self) -> _Delivery:
        """The next message, as soon as a hand is free. After `stop` there is none: it waits to be cancelled."""
        await self._hands.acquire()
        taken: Taken | None = None
        try:
            taken = await self._next()
        finally:
            if taken is None:
                self._hands.release()
        self._held.add(taken.lease)
        return _Delivery(self, taken)

    async def stop(self) -> None:
        self._stopped = True
        self._broker.give_back([taken.lease for taken in self._ahead], returns=0)
        self._ahead.clear()
        for waiter in self._asked:
            self._broker.leave_line(self._queue, waiter)

    def let_go(self) -> list[Lease]:
        """Whatever is in hand is lost from now on."""
        held, self._held = list(self._held), set()
        return held

    async def remove(self, lease: Lease) -> None:
        held = lease in self._held and await self._broker.remove(lease, self._queue, keep=self._keep)
        self._settled(lease, held=held)

    async def move(self, lease: Lease, *, delay_seconds: float, attempts: int, trail: Trail, submission: int) -> None:
        held = lease in self._held and await self._broker.move(
            lease, delay_seconds=delay_seconds, attempts=attempts, trail=trail, submission=submission
        )
        self._settled(lease, held=held)

    async def _next(self) -> Taken:
        if self._stopped:
            await asyncio.Event().wait()
        if self._ahead:
            return self._ahead.popleft()
        waiter = self._broker.ask(self._queue)
        self._asked.add(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._broker.hand_over(waiter.result())  # served in the very moment of giving up
            raise
        finally:
            self._broker.leave_line(self._queue, waiter)
            self._asked.discard(waiter)

    def _keep(self, taken: Taken) -> None:
        if self._stopped:
            self._broker.give_back([taken.lease], returns=0)
        else:
            self._ahead.append(taken)

    def _settled(self, lease: Lease, *, held: bool) -> None:
        if lease in self._held:
            self._held.remove(lease)
            self._hands.release()
        if not held:
            raise DeliveryLost("the message was taken back meanwhile, or is settled already")


class _Delivery:
    def __init__(self, consumer: _Consumer, taken: Taken) -> None:
        self._consumer = consumer
        self._taken = taken

    @property
    def message(self) -> Message:
        return self._taken.message

    @property
    def returns(self) -> int:
        return self._taken.returns

    async def ack(self) -> None:
        await self._consumer.remove(self._taken.lease)

    async def move(
        self, *, delay_seconds: float, attempts: int, trail: Trail | None = None, submission: int | None = None
    ) -> None:
        await self._consumer.move(
            self._taken.lease,
            delay_seconds=delay_seconds,
            attempts=attempts,
            trail=self.message.trail if trail is None else trail,
            submission=self.message.submission if submission is None else submission,
        )
