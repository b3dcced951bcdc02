"""One life of a service in a process of its own, which ends by SIGKILL behind a step of your choice.

A step is whatever changes what others can see: a message taken, a copy confirmed, a message acknowledged, a row saved,
a run that is paid for. Reading changes nothing, so between two steps every moment is like every other.

A life works off what is queued, replays what was parked as `schema_invalid`, works off that, and ends. It is written to
be lived again: whatever the killed one had done is found and not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from scraper.broker.rabbitmq import RabbitMQBroker
from scraper.broker.rabbitmq_consumer import RabbitMQConsumer, RabbitMQDelivery
from scraper.broker.rabbitmq_publisher import Publisher
from scraper.broker.sqlite import SqliteBroker
from scraper.broker.sqlite_queue import QueueFile
from scraper.deadline import Deadline
from scraper.errors import Held, Permanent, Transient
from scraper.models import Extraction, Page, ParkReason, Result, Task
from scraper.ports import Broker, Selection
from scraper.replay import replay
from scraper.store.sqlite import SqliteStore
from scraper.store.sqlite_workbench import SqliteWorkbench
from scraper.trace import Trace
from scraper.worker import Limits, Worker

STEPS: tuple[tuple[type, str], ...] = (
    (RabbitMQConsumer, "receive"),
    (RabbitMQDelivery, "ack"),
    (RabbitMQDelivery, "move"),
    (RabbitMQBroker, "publish"),
    (Publisher, "send"),  # the copy of a move, and a result
    (QueueFile, "take"),
    (QueueFile, "remove"),
    (QueueFile, "remove_and_take"),
    (QueueFile, "move"),
    (QueueFile, "publish"),
    (SqliteStore, "save"),
    (SqliteWorkbench, "lend_pages"),
    (SqliteWorkbench, "replayed"),
    (SqliteWorkbench, "handed_on"),
)
LOOK_SECONDS, LOOKS = 0.05, 3
WRITTEN_SECONDS = 0.02
WAITS = (0.05, 0.1)
REPLAYED = Selection(reasons=(ParkReason.SCHEMA_INVALID,))


@dataclass(frozen=True)
class Place:
    """Where lives are lived. `target`: a file, or the URL of a broker."""

    kind: str
    target: str
    namespace: str
    results: Path

    def broker(self) -> Broker:
        if self.kind == "sqlite":
            return SqliteBroker(self.target, namespace=self.namespace, wait_seconds=WAITS, poll_seconds=0.01)
        return RabbitMQBroker([self.target], namespace=self.namespace, wait_seconds=WAITS, results_queue=True)

    def store(self) -> SqliteStore:
        return SqliteStore(self.results)


def live(place: Place, *, die_at: int, ends: Mapping[str, str]) -> None:
    """Until every row of `ends` has its end and nothing is queued; or until the step `die_at` (0: never)."""
    steps = _Steps(die_at)
    for owner, name in STEPS:
        setattr(owner, name, steps.counted(getattr(owner, name)))
    asyncio.run(_live(place, step=steps.taken, ends=ends))


class _Steps:
    def __init__(self, die_at: int) -> None:
        self._left = die_at

    def taken(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Two steps: as it begins, since what led here may be half of a settlement, and as it has ended."""
        if inspect.iscoroutinefunction(method):

            @wraps(method)
            async def later(*arguments: Any, **named: Any) -> Any:
                await self._taken_and_written()
                result = await method(*arguments, **named)
                await self._taken_and_written()
                return result

            return later

        @wraps(method)
        def at_once(*arguments: Any, **named: Any) -> Any:
            if result := method(*arguments, **named):  # not where there was nothing to take
                self.taken()
            return result

        return at_once

    async def _taken_and_written(self) -> None:
        if self._left == 1:
            await asyncio.sleep(WRITTEN_SECONDS)  # what was said to the broker is on its way before the end
        self.taken()


async def _live(place: Place, *, step: Callable[[], None], ends: Mapping[str, str]) -> None:
    async with place.broker() as broker, place.store() as store, SqliteWorkbench(place.results) as workbench:
        pipeline = Scripted(place.results, step)
        worker = Worker(
            pipeline,
            broker=broker,
            store=store,
            consumers=1,
            limits=Limits(max_attempts=2),
            publish_result=_to_results_queue(broker) if isinstance(broker, RabbitMQBroker) else None,
            observe=lambda _: None,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop, asyncio.Event()))

        async def idle(*, ended: Callable[[str, str | None], bool]) -> None:
            """Until each row has ended so, and several looks in a row see nothing on its way."""
            calm = 0
            while calm < LOOKS:
                await asyncio.sleep(LOOK_SECONDS)
                if running.done():
                    running.result()
                rows = {row.task_id: row.reason or "done" async for row in store.results()}
                depth = await broker.depth()
                busy = depth.tasks or depth.waiting or depth.parked or worker.in_hand
                calm = 0 if busy or not all(ended(end, rows.get(name)) for name, end in ends.items()) else calm + 1

        await idle(ended=lambda _, now: now is not None)
        await replay(
            REPLAYED,
            workbench=workbench,
            broker=broker,
            decode=pipeline.decode,
            changes={},
            refused=_fails,
        )
        await idle(ended=lambda end, now: now == end)
        stop.set()
        await running


def _fails(task_id: str, why: str) -> None:
    raise AssertionError(f"{task_id} was not replayed: {why}")


def _to_results_queue(broker: RabbitMQBroker) -> Callable[[Result], Awaitable[None]]:
    return lambda result: broker.publish_result(result.task_id.encode())


class Scripted:
    """Does with a task what its body says: {"id": …, "first": …, "then": …}; the first time the one, then the other.

    Each run is written down in the results database, among the witness' lines. With the stored page, a task is done
    unless its body says how it fails "with_page".
    """

    def __init__(self, results: Path, step: Callable[[], None]) -> None:
        self._results = results
        self._step = step

    def decode(self, body: bytes) -> Task:
        try:
            fields = json.loads(body)
        except ValueError:
            raise Permanent(ParkReason.BAD_TASK, "not JSON") from None
        return Task(
            task_id=fields["id"],
            schema={},
            content_sha256=fields.get("content", "same"),
            url="https://a.example/",
            metadata=fields,
        )

    async def run(
        self, task: Task, *, deadline: Deadline, trace: Trace, suspect: bool, page: Page | None = None
    ) -> Extraction:
        with self._database() as database:
            (runs,) = database.execute(
                "SELECT count(*) FROM witness_stored WHERE task_id = ? AND reason = 'run'", (task.task_id,)
            ).fetchone()
            database.execute("INSERT INTO witness_stored VALUES (?, 'run', 0)", (task.task_id,))
        self._step()
        trace.page = page or Page("https://a.example/", "<p>as it was fetched</p>")
        assert isinstance(task.metadata, dict)
        script = task.metadata
        what = script.get("with_page", "done") if page else script["then"] if runs else script["first"]
        match what:
            case "done":
                return Extraction(data={"page": page is not None}, model="scripted")
            case "retry":
                raise Transient("HTTP 502")
            case "hold":
                raise Held("circuit open", after_seconds=0.01)
        raise Permanent(ParkReason(what), "as scripted")

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._results, timeout=10)) as database, database:
            yield database
