"""The worker over both real brokers and the real store; only the pipeline is scripted."""

import asyncio
import contextlib
import json
import sqlite3
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from scraper.errors import Held, Permanent, Transient, Unavailable
from scraper.events import Back, TaskFault, TaskReceived, TaskSettled, WaitingFor, current_task
from scraper.models import Extraction, Page, ParkReason, Task
from scraper.ports import Message
from scraper.store.sqlite import SqliteStore
from scraper.worker import Limits, Worker
from tests.broker.conftest import place  # noqa: F401 a fixture

HANGS_SECONDS = 300.0


class ScriptedPipeline:
    """Does with a task what was scripted for its id: an error, a value, or a coroutine function to await."""

    def __init__(self, **script):
        self.script = script
        self.ran = []
        self.suspects = []
        self.pages = []

    def decode(self, body):
        try:
            fields = json.loads(body)
        except ValueError:
            raise Permanent(ParkReason.BAD_TASK, "not JSON") from None
        expires_at = fields.get("expires_at")
        return Task(
            task_id=fields["id"],
            schema={},
            content_sha256=fields.get("content", "same"),
            url=fields.get("url", "https://a.example/"),
            expires_at=expires_at and datetime.fromisoformat(expires_at),
        )

    async def run(self, task, *, deadline, trace, suspect, page=None):
        self.ran.append(task.task_id)
        self.pages.append(page)
        trace.page = page or Page(task.url, "<p>as it was fetched</p>")
        if suspect:
            self.suspects.append(task.task_id)
        what = self.script.get(task.task_id, {"ok": True})
        if isinstance(what, list):
            what = what.pop(0)
        if callable(what):
            what = await what()
        if isinstance(what, Exception):
            raise what
        return Extraction(data=what, model="scripted")


class Bench:
    """A broker, a store, and what was observed; messages go in, rows and events come out."""

    def __init__(self, broker, store):
        self.broker, self.store, self.events = broker, store, []
        self.changed = asyncio.Event()

    def observe(self, event):
        self.events.append(event)
        self.changed.set()

    async def put(self, *ids, **fields):
        await self.broker.publish([Message(json.dumps({"id": each, **fields}).encode(), each) for each in ids])

    def received(self):
        return [event.task_id for event in self.events if isinstance(event, TaskReceived)]

    def settled(self):
        return [event for event in self.events if isinstance(event, TaskSettled)]

    async def until(self, condition):
        async with asyncio.timeout(HANGS_SECONDS):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_settled(self, count):
        await self.until(lambda: len(self.settled()) >= count)
        return [(event.task_id, event.outcome, event.reason) for event in self.settled()]

    async def rows(self):
        return {row.task_id: row async for row in self.store.results()}

    @asynccontextmanager
    async def working(self, pipeline, **options):
        stop, now = asyncio.Event(), asyncio.Event()
        worker = Worker(pipeline, broker=self.broker, store=self.store, observe=self.observe, **options)
        running = asyncio.create_task(worker.run(stop, now))
        self.stop, self.stop_now, self.running, self.worker = stop, now, running, worker
        try:
            yield worker
        finally:
            stop.set()
            now.set()
            await running


@pytest.fixture(name="bench")
async def a_bench(place, tmp_path):  # noqa: F811
    options = {"poll_seconds": 0.02} if place.kind == "sqlite" else {}
    async with (
        place.broker(wait_seconds=(0.05, 0.2), **options) as broker,
        SqliteStore(tmp_path / "results.db") as store,
    ):
        yield Bench(broker, store)


async def empty(bench):
    """Wait until the broker counts nothing; it may take it a moment to know."""
    async with asyncio.timeout(HANGS_SECONDS):
        while True:
            depth = await bench.broker.depth()
            if depth.tasks == depth.waiting == depth.parked == 0:
                return True
            await asyncio.sleep(0.05)


async def take_back(place, broker):  # noqa: F811
    """Have the broker take back whatever its consumers have in hand, as after a cut connection or a long silence."""
    if place.kind == "sqlite":
        with contextlib.closing(sqlite3.connect(place.target)) as database, database:
            database.execute(
                "UPDATE queue_messages SET state = 0, owner = NULL, token = NULL, returns = returns + 1 WHERE state = 2"
            )
    else:
        await broker._consuming.hang_up("cut by the test")


async def test_what_happens_to_a_message_that_is_no_task_is_not_told_of_the_task_before(bench):
    working_for, told = [], bench.observe

    def observe(event):
        if isinstance(event, TaskSettled):
            working_for.append((event.task_id, current_task.get()))
        told(event)

    bench.observe = observe
    async with bench.working(ScriptedPipeline(), consumers=1):
        await bench.put("good")
        await bench.until_settled(1)
        await bench.broker.publish([Message(b"no JSON", "bad")])
        await bench.until_settled(2)
        assert working_for == [("good", "good"), ("bad", "bad")]


async def test_a_task_becomes_one_stored_result_and_leaves_the_queue(bench):
    await bench.put("a", "b")
    async with bench.working(ScriptedPipeline(a={"n": 1}, b={"n": 2})):
        await bench.until_settled(2)
        assert await empty(bench)
    rows = await bench.rows()
    assert {name: (row.status, row.data) for name, row in rows.items()} == {
        "a": ("done", {"n": 1}),
        "b": ("done", {"n": 2}),
    }


async def test_a_failing_page_spends_attempts_until_it_is_parked(bench):
    await bench.put("a")
    async with bench.working(ScriptedPipeline(a=Transient("HTTP 502")), limits=Limits(max_attempts=3)):
        settled = await bench.until_settled(3)
    assert [outcome for _, outcome, _ in settled] == ["retry", "retry", "park"]
    row = (await bench.rows())["a"]
    assert (row.status, row.reason, row.attempts) == ("parked", ParkReason.ATTEMPTS, 3)


async def test_a_parked_task_tells_of_every_attempt_it_had(bench):
    await bench.put("a")
    script = {
        "a": [Transient("HTTP 502"), Held("circuit open", after_seconds=0.01), Transient("timeout"), Transient("x")]
    }
    async with bench.working(ScriptedPipeline(**script), limits=Limits(max_attempts=3)):
        await bench.until_settled(4)
    trail = (await bench.store.remains("a")).trail
    assert [(failure.attempt, failure.error) for failure in trail] == [(1, "HTTP 502"), (2, "timeout")]
    assert (await bench.rows())["a"].error == "x (attempt 3 of 3)"


async def test_a_password_in_an_address_gets_into_no_row(bench):
    await bench.put("a", url="https://me:hunter2@shop.example/1")
    script = {"a": Permanent(ParkReason.REFUSED_ADDRESS, "shop.example: carries a password")}
    async with bench.working(ScriptedPipeline(**script)):
        await bench.until_settled(1)
    assert (await bench.rows())["a"].url == "https://***@shop.example/1"


async def test_a_body_whose_reader_has_a_bug_is_parked_and_stops_nobody(bench):
    class Buggy(ScriptedPipeline):
        def decode(self, body):
            if b"good" not in body:
                raise IndexError
            return super().decode(body)

    await bench.put("bad", "good")
    async with bench.working(Buggy()):
        settled = await bench.until_settled(2)
    assert {(outcome, reason) for _, outcome, reason in settled} == {("park", "bad_task"), ("done", "")}
    assert [event.error for event in bench.events if isinstance(event, TaskFault)] == ["IndexError"]


async def test_being_held_spends_no_attempt(bench):
    await bench.put("a")
    script = {"a": [Held("circuit open", after_seconds=0.01) for _ in range(7)] + [{"ok": 1}]}
    async with bench.working(ScriptedPipeline(**script), limits=Limits(max_attempts=2)):
        settled = await bench.until_settled(8)
    assert [outcome for _, outcome, _ in settled] == ["hold"] * 7 + ["done"]
    assert (await bench.rows())["a"].attempts == 1


async def test_the_same_submission_twice_is_run_once(bench):
    await bench.put("a", "a", "a")
    pipeline = ScriptedPipeline()
    async with bench.working(pipeline):
        await bench.until_settled(3)
        assert await empty(bench)
    assert pipeline.ran == ["a"]


async def test_deliveries_of_one_task_at_the_same_moment_share_one_run(bench):
    go = asyncio.Event()

    async def wait():
        await go.wait()
        return {"ok": 1}

    pipeline = ScriptedPipeline(a=wait)
    await bench.put("a", "a", "a")
    async with bench.working(pipeline, consumers=3):
        await bench.until(lambda: bench.worker.in_hand == 3)
        go.set()
        assert [outcome for _, outcome, _ in await bench.until_settled(3)] == ["done"] * 3
    assert pipeline.ran == ["a"]


async def test_a_newer_submission_replaces_the_result_and_an_older_does_not(bench):
    body = json.dumps({"id": "a"}).encode()
    pipeline = ScriptedPipeline(a=[{"n": 1}, {"n": 2}, {"n": 3}])
    await bench.broker.publish([Message(body, "a"), Message(body, "a", submission=7), Message(body, "a", submission=5)])
    async with bench.working(pipeline, consumers=1):
        await bench.until_settled(3)
    assert (await bench.rows())["a"].data == {"n": 2}


async def test_an_expired_task_is_parked_without_a_run(bench):
    pipeline = ScriptedPipeline()
    await bench.put("a", expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    async with bench.working(pipeline):
        assert (await bench.until_settled(1))[0][1:] == ("park", "expired")
    assert pipeline.ran == []


async def test_a_bug_in_a_step_costs_an_attempt_and_stops_nothing(bench):
    await bench.put("a", "b")
    async with bench.working(ScriptedPipeline(a=[KeyError("text of a page"), {"ok": 1}])):
        await bench.until_settled(3)
    assert {name: row.status for name, row in (await bench.rows()).items()} == {"a": "done", "b": "done"}
    [fault] = [event for event in bench.events if isinstance(event, TaskFault)]
    assert fault.error == "KeyError"
    assert "text of a page" not in repr(bench.events)


async def test_stopping_lets_what_is_in_hand_finish(bench):
    started, go = asyncio.Event(), asyncio.Event()

    async def slow():
        started.set()
        await go.wait()
        return {"ok": 1}

    await bench.put("a", "b")
    async with bench.working(ScriptedPipeline(a=slow), consumers=1):
        await started.wait()
        bench.stop.set()
        await asyncio.sleep(0)
        go.set()
        await bench.running
    assert set(await bench.rows()) == {"a"}
    assert (await bench.broker.depth()).tasks == 1


@pytest.mark.parametrize("how", ["now", "drain ran out"])
async def test_what_cannot_finish_is_handed_back_with_its_attempts(bench, how):
    started = asyncio.Event()

    async def forever():
        started.set()
        await asyncio.Event().wait()

    await bench.broker.publish([Message(b'{"id": "a"}', "a", attempts=2)])
    limits = Limits(drain_seconds=0.05 if how != "now" else 60)
    async with bench.working(ScriptedPipeline(a=forever), limits=limits):
        await started.wait()
        bench.stop.set()
        if how == "now":
            bench.stop_now.set()
        await bench.running
    async with bench.broker.consumer() as consumer:
        delivery = await consumer.receive()
        assert (delivery.message.task_id, delivery.message.attempts, delivery.returns) == ("a", 2, 0)
        await delivery.ack()
    assert await bench.rows() == {}


class TroubledDelivery:
    """One whose copies cannot be published, so many times."""

    def __init__(self, delivery, troubles):
        self._delivery, self._troubles = delivery, troubles
        self.message, self.returns, self.ack = delivery.message, delivery.returns, delivery.ack

    async def move(self, **how):
        if self._troubles:
            raise self._troubles.pop()
        await self._delivery.move(**how)


def trouble(bench, monkeypatch, times):
    """From now on, as long as `times`, the broker takes no copy."""
    consumer, troubles = bench.broker.consumer, [Unavailable("the broker is away")] * times

    class Troubled:
        def __init__(self, inner):
            self.stop = inner.stop
            self._inner = inner

        async def receive(self):
            return TroubledDelivery(await self._inner.receive(), troubles)

    @asynccontextmanager
    async def troubled(queue="tasks"):
        async with consumer(queue) as inner:
            yield Troubled(inner)

    monkeypatch.setattr(bench.broker, "consumer", troubled)


async def test_what_cannot_even_be_handed_back_is_delivered_again(bench, monkeypatch):
    started = asyncio.Event()

    async def forever():
        started.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        trouble(bench, patched, times=9)
        await bench.broker.publish([Message(b'{"id": "a"}', "a", attempts=2)])
        async with bench.working(ScriptedPipeline(a=forever), consumers=1):
            await started.wait()
            bench.stop_now.set()
            await bench.running
    async with bench.broker.consumer() as consumer, asyncio.timeout(HANGS_SECONDS):
        delivery = await consumer.receive()
        assert (delivery.message.task_id, delivery.message.attempts, delivery.returns) == ("a", 2, 1)
        await delivery.ack()


async def test_while_no_copy_can_be_published_the_task_is_kept_and_nothing_more_is_taken(bench, monkeypatch):
    trouble(bench, monkeypatch, times=2)
    await bench.put("a", "b")
    pipeline = ScriptedPipeline(a=[Transient("HTTP 502"), {"ok": 1}])
    async with bench.working(pipeline, consumers=1):
        await bench.until(lambda: any(isinstance(event, Back) for event in bench.events))
        assert bench.received() == ["a"]
        await bench.until_settled(3)
        assert await empty(bench)
    assert {name: row.attempts for name, row in (await bench.rows()).items()} == {"a": 2, "b": 1}
    assert [event.what for event in bench.events if isinstance(event, WaitingFor)] == ["broker"]


async def test_while_the_store_is_away_nothing_is_acknowledged_and_nothing_more_is_taken(bench):
    class Away:
        def __init__(self, store):
            self.store, self.away = store, asyncio.Event()
            self.tries = 0

        async def find(self, task_id):
            return await self.store.find(task_id)

        async def save(self, *row, **named):
            self.tries += 1
            if self.tries <= 1:
                raise Unavailable("disk full")
            await self.store.save(*row, **named)

    real, bench.store = bench.store, Away(bench.store)
    await bench.put("a", "b")
    pipeline = ScriptedPipeline()
    async with bench.working(pipeline, consumers=1):
        await bench.until(lambda: any(isinstance(event, WaitingFor) for event in bench.events))
        assert bench.settled() == []
        assert pipeline.ran == ["a"]
        await bench.until_settled(2)
    bench.store = real
    assert set(await bench.rows()) == {"a", "b"}
    assert [event.what for event in bench.events if isinstance(event, Back)] == ["store"]


async def test_a_task_that_came_back_often_is_treated_as_a_suspect(bench):
    pipeline = ScriptedPipeline()
    await bench.put("a")
    for _ in range(2):
        async with bench.broker.consumer() as consumer:
            await consumer.receive()
    async with bench.working(pipeline):
        await bench.until_settled(1)
    assert pipeline.suspects == ["a"]
    assert (await bench.rows())["a"].attempts == 1  # coming back costs none


async def test_a_delivery_that_was_taken_back_is_not_run_twice(bench, place):  # noqa: F811
    """It joins the job that still runs; or its consumer has its hands full with that, and then the store knows it."""
    started, go = asyncio.Event(), asyncio.Event()

    async def slow():
        started.set()
        await go.wait()
        return {"ok": 1}

    pipeline = ScriptedPipeline(a=slow)
    await bench.put("a")
    async with bench.working(pipeline, consumers=2):
        await started.wait()
        await take_back(place, bench.broker)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await bench.until(lambda: bench.received() == ["a", "a"])
        go.set()
        settled = await bench.until_settled(2)
        assert await empty(bench)
    assert sorted(outcome for _, outcome, _ in settled) == ["done", "lost"]
    assert pipeline.ran == ["a"]


async def test_a_newer_submission_of_what_runs_is_run_for_itself_and_wins(bench):
    started, go = asyncio.Event(), asyncio.Event()

    async def slow():
        started.set()
        await go.wait()
        return {"from": "first"}

    pipeline = ScriptedPipeline(a=[slow, {"from": "again"}])
    await bench.put("a")
    async with bench.working(pipeline, consumers=2):
        await started.wait()
        await bench.broker.publish([Message(b'{"id": "a"}', "a", submission=7)])
        await bench.until(lambda: bench.received() == ["a", "a"])
        go.set()
        await bench.until_settled(2)
    assert pipeline.ran == ["a", "a"]
    assert (await bench.rows())["a"].data == {"from": "again"}


async def test_a_task_that_is_stored_and_not_acknowledged_is_recognised_when_it_comes_again(bench, place):  # noqa: F811
    async def lose_it():
        await take_back(place, bench.broker)
        return {"ok": 1}

    pipeline = ScriptedPipeline(a=lose_it)
    await bench.put("a")
    async with bench.working(pipeline, consumers=1):
        settled = await bench.until_settled(2)
        assert await empty(bench)
    assert [outcome for _, outcome, _ in settled] == ["lost", "done"]
    assert pipeline.ran == ["a"]


async def test_while_a_task_is_held_nothing_moves(bench):
    """The circuit is open, or the throttle full: one in hand for each consumer, and all others stay where they are."""
    go = asyncio.Event()

    async def held():
        await go.wait()
        return {"ok": 1}

    names = [f"t{number}" for number in range(6)]
    await bench.put(*names)
    async with bench.working(ScriptedPipeline(**dict.fromkeys(names, held)), consumers=2):
        await bench.until(lambda: len(bench.received()) == 2)
        await asyncio.sleep(0.5)
        assert len(bench.received()) == 2
        assert bench.settled() == []
        go.set()
        await bench.until_settled(6)
    assert sorted(bench.received()) == names


async def test_a_result_that_was_stored_and_perhaps_not_published_is_published_when_its_task_comes_again(bench, place):  # noqa: F811
    lines, tries = [], []

    async def publish(result):
        tries.append(result)
        if len(tries) == 1:
            await take_back(place, bench.broker)
            bench.running.cancel()  # the process dies between storing and publishing
            await asyncio.Event().wait()
        lines.append(result.data)

    await bench.put("a")
    stop = asyncio.Event()
    first = Worker(
        ScriptedPipeline(a={"n": 1}),
        broker=bench.broker,
        store=bench.store,
        publish_result=publish,
        observe=bench.observe,
    )
    bench.running = asyncio.create_task(first.run(stop, stop))
    await asyncio.wait([bench.running])
    pipeline = ScriptedPipeline()
    async with bench.working(pipeline, publish_result=publish):
        await bench.until(lambda: "done" in {event.outcome for event in bench.settled()})
    assert pipeline.ran == []
    assert lines == [{"n": 1}]


async def test_results_are_published_where_the_owner_wants_them(bench):
    published = []

    async def publish(result):
        published.append(result.task_id)

    await bench.put("a")
    async with bench.working(ScriptedPipeline(), publish_result=publish):
        await bench.until_settled(1)
    assert published == ["a"]
