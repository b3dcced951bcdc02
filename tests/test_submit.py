import asyncio
import os
import signal
import subprocess
import sys
import threading
from itertools import count

import pytest

from scraper.errors import Unavailable
from scraper.events import Back, WaitingFor
from scraper.ports import Message
from scraper.store.sqlite import SqliteStore
from scraper.submit import BATCH_BYTES, BATCH_TASKS, SubmitCounts, submit
from scraper.task_files import Entry, Refused
from tests.store.results import done, parked


class Queue:
    """A broker as far as publishing goes; away as often as told."""

    def __init__(self, *, away=0):
        self.away = away
        self.messages = []
        self.batches = []

    async def publish(self, messages):
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise Unavailable("no broker there")
        self.messages += messages
        self.batches.append(len(messages))

    @property
    def ids(self):
        return [message.task_id for message in self.messages]


@pytest.fixture
async def store(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        yield store


def entries(*ids, content="c" * 64, line=1):
    return [
        Entry(Message(b"{}", task_id=task_id), 10, content, "tasks.jsonl", number)
        for number, task_id in enumerate(ids, line)
    ]


def all_at_once(entries):
    """The loop takes none of them before the last is read: they are one batch, however the threads run."""
    loop, all_read = asyncio.get_running_loop(), threading.Event()

    def read():
        loop.call_soon_threadsafe(all_read.wait)
        yield from entries
        all_read.set()

    return read()


async def submitted(entries, queue, store, **options):
    return await submit(entries, broker=queue, store=store, refused=lambda _: None, **options)


async def test_new_tasks_are_queued_once_and_remembered(store):
    queue = Queue()
    assert await submitted(entries("a", "b"), queue, store) == SubmitCounts(2, 2, 0, 0, 20)
    assert await submitted(entries("a", "b", "c"), queue, store) == SubmitCounts(3, 1, 2, 0, 30)
    assert queue.ids == ["a", "b", "c"]
    assert {message.submission for message in queue.messages} == {0}


async def test_done_and_waiting_tasks_are_skipped_and_parked_ones_tried_again(store):
    queue = Queue()
    await store.save(done("done"))
    await store.save(parked("parked"))
    await store.submitted(["waiting"])
    counts = await submitted(entries("done", "parked", "waiting"), queue, store)
    assert counts == SubmitCounts(read=3, queued=1, skipped=2, refused=0, bytes_read=30)
    assert queue.ids == ["parked"]
    assert queue.messages[0].submission > 0  # or a replay of it would be taken for the newer one
    await submitted(entries("parked"), queue, store)
    assert queue.ids == ["parked"]


async def test_again_runs_everything_anew_as_newer_than_all(store):
    queue = Queue()
    await store.save(done("done"))
    await store.submitted(["waiting"])
    counts = await submitted(entries("done", "waiting", "new"), queue, store, again=True, clock_ns=lambda: 77)
    assert counts.queued == 3
    assert [message.submission for message in queue.messages] == [77, 77, 77]


async def test_a_task_that_stands_there_twice_is_queued_once(store):
    queue = Queue()
    counts = await submitted(entries("a", "b", "a", "a"), queue, store)
    assert (counts.queued, counts.skipped) == (2, 2)
    assert sorted(queue.ids) == ["a", "b"]


async def test_an_id_that_somebody_chose_twice_for_two_tasks_is_refused(store):
    queue, told = Queue(), []
    mixed = [*entries("row-1", "row-2"), *entries("row-1", content="other", line=3)]
    counts = await submit(all_at_once(mixed), broker=queue, store=store, refused=told.append)
    assert counts == SubmitCounts(read=3, queued=2, skipped=0, refused=1, bytes_read=30)
    assert [str(each) for each in told] == [
        "tasks.jsonl line 3: task_id 'row-1' is that of another task, tasks.jsonl line 1"
    ]


@pytest.mark.parametrize("then", ["waits", "is done"])
async def test_an_id_that_another_task_has_already_is_refused_until_it_is_asked_for_again(store, then):
    queue, told = Queue(), []
    await submitted(entries("row-1"), queue, store)
    if then == "is done":
        await store.save(done("row-1"))
    other = entries("row-1", content="other")
    counts = await submit(other, broker=queue, store=store, refused=told.append)
    assert (counts.queued, counts.refused) == (0, 1)
    assert "task_id 'row-1' is that of another task, which is done or waiting; --again" in str(told[0])
    assert (await submitted(entries("row-1"), queue, store)).skipped == 1
    assert (await submitted(other, queue, store, again=True)).queued == 1


async def test_a_task_that_was_parked_may_come_again_with_other_content(store):
    queue = Queue()
    await store.save(parked("row-1"))
    assert (await submitted(entries("row-1", content="mended"), queue, store)).queued == 1


async def test_refusals_are_told_and_counted_and_comments_are_not(store):
    queue, told = Queue(), []
    refused = Refused("urls.txt", 2, "not JSON")
    mixed = [*entries("a"), Entry(refused, 5), Entry(None, 1), *entries("b")]
    counts = await submit(mixed, broker=queue, store=store, refused=told.append)
    assert counts == SubmitCounts(read=3, queued=2, skipped=0, refused=1, bytes_read=26)
    assert told == [refused]


async def test_a_file_of_comments_alone_queues_nothing(store):
    queue = Queue()
    assert await submitted([Entry(None, 4)] * 3, queue, store) == SubmitCounts(bytes_read=12)
    assert await submitted([], queue, store) == SubmitCounts()
    assert queue.batches == []


async def test_a_long_file_goes_in_batches_and_progress_is_told(store):
    queue, told = Queue(), []
    ids = [f"id-{number}" for number in range(3 * BATCH_TASKS)]
    counts = await submitted((entry for entry in entries(*ids)), queue, store, progress=told.append)
    assert queue.ids == ids
    assert max(queue.batches) <= BATCH_TASKS
    assert told[-1] == counts
    assert [each.read for each in told] == sorted({each.read for each in told})


async def test_reading_stays_at_most_a_batch_ahead(store):
    """In tasks and in bytes: large pages must not pile up in memory."""
    read = 0

    def large():
        nonlocal read
        for number in range(40):
            read += 1
            yield Entry(Message(b"", task_id=f"id-{number}"), BATCH_BYTES // 2)

    class Slow(Queue):
        ahead = 0

        async def publish(self, messages):
            await super().publish(messages)
            await asyncio.sleep(0.002)
            self.ahead = max(self.ahead, read - len(self.messages))

    queue = Slow()
    await submitted(large(), queue, store)
    assert len(queue.messages) == 40
    assert queue.ahead <= 4  # two in the buffer, one in the reader's hand, one between


async def test_a_slow_source_is_not_held_back_until_a_batch_is_full(store):
    queue = Queue()
    more = threading.Event()

    def slow():
        yield from entries("first")
        assert more.wait(300)
        yield from entries("second")

    class Seen(Queue):
        async def publish(self, messages):
            await super().publish(messages)
            more.set()

    queue = Seen()
    await submitted(slow(), queue, store)
    assert queue.batches == [1, 1]


async def test_a_broker_that_is_away_is_waited_for(store, monkeypatch):
    monkeypatch.setattr("scraper.patience.FIRST_WAIT_SECONDS", 0.001)
    queue, seen = Queue(away=2), []
    assert (await submitted(entries("a"), queue, store, observe=seen.append)).queued == 1
    assert queue.ids == ["a"]
    assert [type(event) for event in seen] == [WaitingFor, Back]


async def test_what_reading_raises_comes_after_what_was_read(store):
    queue = Queue()

    def broken():
        yield from entries("a")
        raise Unavailable("the disk is gone")

    with pytest.raises(Unavailable, match="the disk is gone"):
        await submitted(broken(), queue, store)
    assert queue.ids == ["a"]


async def test_breaking_off_ends_the_reading_too(store):
    ended = threading.Event()

    def endless():
        try:
            for number in count():
                yield from entries(f"id-{number}")
        finally:
            ended.set()

    task = asyncio.create_task(submitted(endless(), Queue(), store))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    assert await asyncio.to_thread(ended.wait, 300)


async def test_ids_are_remembered_only_after_the_broker_has_them(store):
    class Away(Queue):
        async def publish(self, messages):
            assert await store.known([message.task_id for message in messages]) == {}
            raise OSError(os.strerror(5))

    with pytest.raises(OSError, match="Input/output"):
        await submitted(entries("a"), Away(), store)
    assert await store.known(["a"]) == {}


INTERRUPTED = """
import signal, sys
from pathlib import Path
from scraper.event_loop import run
from scraper.store.sqlite import SqliteStore
from scraper.submit import submit
from scraper.task_files import TaskReader
from tests.test_task_files import decode, named_schema, Defaults, SCHEMA

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and all they start

class Queue:
    async def publish(self, messages):
        print("published", flush=True)

async def main():
    reader = TaskReader(decode=decode, named_schema=named_schema, defaults=Defaults(schema=SCHEMA))
    async with SqliteStore(sys.argv[1]) as store:
        await submit(reader.read(["-"]), broker=Queue(), store=store, refused=print)

try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_ends_it_though_standard_input_is_silent(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "results.db")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdin.write("https://a.example/\n")
        process.stdin.flush()
        assert process.stdout.readline() == "published\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert (process.stdout.read(), process.stderr.read()) == ("interrupted\n", "")
