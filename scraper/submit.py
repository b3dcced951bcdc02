"""Putting tasks into the queue: each once, however often a file is submitted and wherever a submission broke off.

A batch is looked up in the store, published, and remembered once the broker has confirmed it. A crash between the
last two publishes a batch again at the next try, and the workers recognise the repetition; the other order could lose
it. Reading runs ahead on a thread: a slow pipe must not keep the broker's connection from its heartbeats.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from scraper.events import Observe, ignore
from scraper.patience import until_available
from scraper.ports import Broker, Message, Store
from scraper.task_files import Entry, Refused

BATCH_TASKS = 500
BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SubmitCounts:
    """How far a submission has got. `read` = `queued` + `skipped` + `refused`."""

    read: int = 0
    queued: int = 0
    skipped: int = 0  # done or waiting already
    refused: int = 0
    bytes_read: int = 0


def untraced(_: str) -> str:
    """Nobody follows the task."""
    return ""


async def submit(
    entries: Iterable[Entry],
    *,
    broker: Broker,
    store: Store,
    again: bool = False,
    refused: Callable[[Refused], None],
    progress: Callable[[SubmitCounts], None] = lambda _: None,
    trace: Callable[[str], str] = untraced,
    observe: Observe = ignore,
    clock_ns: Callable[[], int] = time.time_ns,
) -> SubmitCounts:
    """Publish every message of `entries` that is neither done nor waiting; with `again`, every one.

    What ran before, parked or again, is published as newer than all.

    `trace` begins the trace of a task id, and gives the context that travels with it.

    Tells `refused` what is no task as it comes by, `progress` where it stands after each batch. While broker or store
    are away it waits, and tells `observe`. What `entries` raises ends it, after what was read before.
    """
    counts = SubmitCounts()
    now_ns = clock_ns()
    async for batch in _read_ahead(entries):
        tasks, refusals = _sorted_out(batch)
        if not again:
            refusals += await _taken(tasks, store, observe=observe)
        for refusal in refusals:
            refused(refusal)
        messages = {task_id: entry.content for task_id, entry in tasks.items() if isinstance(entry.content, Message)}
        contents = {task_id: entry.content_sha256 for task_id, entry in tasks.items()}
        queued = await _publish(
            messages, contents, broker=broker, store=store, again=again, now_ns=now_ns, trace=trace, observe=observe
        )
        read = sum(entry.content is not None for entry in batch)
        counts = SubmitCounts(
            read=counts.read + read,
            queued=counts.queued + queued,
            skipped=counts.skipped + read - len(refusals) - queued,
            refused=counts.refused + len(refusals),
            bytes_read=counts.bytes_read + sum(entry.size for entry in batch),
        )
        progress(counts)
    return counts


def _sorted_out(batch: Iterable[Entry]) -> tuple[dict[str, Entry], list[Refused]]:
    """The tasks by id, each once, and what is none."""
    tasks: dict[str, Entry] = {}
    refusals: list[Refused] = []
    for entry in batch:
        match entry.content:
            case Refused() as refusal:
                refusals.append(refusal)
            case Message(task_id=task_id):
                first = tasks.setdefault(task_id, entry)
                if first.content_sha256 != entry.content_sha256:
                    refusals.append(entry.refused(f"task_id {task_id!r} is that of another task, {first.place}"))
    return tasks, refusals


async def _taken(tasks: dict[str, Entry], store: Store, *, observe: Observe) -> list[Refused]:
    """Take out of `tasks` those whose id belongs to another task; only ids that somebody chose can."""
    chosen = {
        task_id: entry.content_sha256
        for task_id, entry in tasks.items()
        if not entry.content_sha256.startswith(task_id)
    }
    if not chosen:
        return []
    taken = await until_available("store", lambda: store.taken(chosen), observe=observe)
    why = "task_id {!r} is that of another task, which is done or waiting; --again runs this one in its place"
    return [tasks.pop(task_id).refused(why.format(task_id)) for task_id in chosen if task_id in taken]


async def _publish(
    messages: dict[str, Message],
    contents: Mapping[str, str],
    *,
    broker: Broker,
    store: Store,
    again: bool,
    now_ns: int,
    trace: Callable[[str], str],
    observe: Observe,
) -> int:
    """How many of `messages` were put into the queue."""
    if not messages:
        return 0
    known = await until_available("store", lambda: store.known(list(messages)), observe=observe)
    waiting = {"done", "submitted"}  # a parked task is worth another try
    new = {
        task_id: replace(each, submission=now_ns) if again or known.get(task_id) == "parked" else each
        for task_id, each in messages.items()
        if again or known.get(task_id) not in waiting
    }
    if new:
        traced = [replace(each, traceparent=trace(task_id)) for task_id, each in new.items()]
        await until_available("broker", lambda: broker.publish(traced), observe=observe)
        await until_available("store", lambda: store.submitted(list(new), contents), observe=observe)
    return len(new)


async def _read_ahead(entries: Iterable[Entry]) -> AsyncIterator[list[Entry]]:
    """Batches of `entries`, read on a thread: whatever is there when asked, so that a slow source is not held up."""
    buffer = _Buffer(asyncio.get_running_loop())
    threading.Thread(target=buffer.fill, args=(entries,), name="submit reads", daemon=True).start()
    try:
        while batch := await buffer.take():
            yield batch
    finally:
        buffer.close()


class _Buffer:
    """Between the reading thread and the event loop; bounded in entries and in bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._filled = asyncio.Event()
        self._entries: list[Entry] = []
        self._bytes = 0
        self._ended = self._closed = False
        self._error: Exception | None = None

    def fill(self, entries: Iterable[Entry]) -> None:
        """On the thread: put in all of `entries`, waiting while it is full."""
        try:
            for entry in entries:
                if not self._put(entry):
                    return
        except Exception as error:  # noqa: BLE001 raised where the entries are taken out
            self._error = error
        self._ended = True
        self._wake()

    def _put(self, entry: Entry) -> bool:
        with self._changed:
            while not self._closed and (len(self._entries) >= BATCH_TASKS or self._bytes >= BATCH_BYTES):
                self._changed.wait()
            self._entries.append(entry)
            self._bytes += entry.size
            first = len(self._entries) == 1
        if first:
            self._wake()
        return not self._closed

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._filled.set)

    async def take(self) -> list[Entry]:
        """What has been read since; empty at the end. Raises what reading raised."""
        while True:
            await self._filled.wait()
            with self._changed:
                batch, self._entries, self._bytes = self._entries, [], 0
                ended = self._ended
                if not ended:
                    self._filled.clear()
                self._changed.notify()
            if batch:
                return batch
            if ended:
                if self._error is not None:
                    raise self._error
                return []

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
