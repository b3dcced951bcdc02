"""What is parked, where, and how a task that comes again finds its end: over both real brokers and the real store."""

import asyncio
import contextlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from scraper.errors import Permanent, Transient
from scraper.models import Page, ParkReason
from scraper.ports import Message
from scraper.worker import Worker
from tests.broker.conftest import place  # noqa: F401 a fixture
from tests.chaos.witnesses import call_witness, statement_of
from tests.store.results import done
from tests.test_worker import HANGS_SECONDS, ScriptedPipeline, a_bench, empty, take_back  # noqa: F401 a fixture


@pytest.fixture
def stored(bench, tmp_path):
    """The ids for which the store took a result, each time that it did."""
    call_witness(tmp_path / "results.db")
    return lambda: [each.task_id for each in statement_of(tmp_path / "results.db")]


async def test_what_cannot_be_read_is_parked_under_its_bodys_name(bench):
    await bench.broker.publish([Message(b"\xff{")])
    async with bench.working(ScriptedPipeline()):
        [(row_id, outcome, reason)] = await bench.until_settled(1)
    assert (outcome, reason) == ("park", "bad_task")
    assert row_id.startswith("body-")
    assert (await bench.store.remains(row_id)).body == b"\xff{"


async def test_what_cannot_be_read_keeps_the_id_it_came_with_unless_that_is_done(bench):
    await bench.put("done")
    await bench.broker.publish([Message(b"{", "fresh"), Message(b"[", "done")])
    async with bench.working(ScriptedPipeline(), consumers=1):
        settled = await bench.until_settled(3)
    assert [row_id if row_id in {"done", "fresh"} else "body" for row_id, *_ in settled] == ["done", "fresh", "body"]
    assert (await bench.rows())["done"].status == "done"


async def park(bench, task_id, **fields):
    """Have `task_id` fail for good, and leave its page behind."""
    await bench.put(task_id, **fields)
    error = Permanent(ParkReason.SCHEMA_INVALID, "no price")
    async with bench.working(ScriptedPipeline(**{task_id: error})):
        await bench.until_settled(1)
    bench.events.clear()


async def test_a_replay_reads_the_page_that_is_stored(bench):
    await park(bench, "a")
    pipeline = ScriptedPipeline()
    body = json.dumps({"id": "a", "content": "another schema"}).encode()
    await bench.broker.publish([Message(body, "a", submission=1, stored_page=True)])
    async with bench.working(pipeline):
        await bench.until_settled(1)
    assert pipeline.pages == [Page("https://a.example/", "<p>as it was fetched</p>")]
    assert (await bench.rows())["a"].status == "done"


async def test_a_replay_fetches_where_the_stored_page_is_gone_or_another_addresss(bench):
    await park(bench, "a")
    pipeline = ScriptedPipeline()
    bodies = [{"id": "a", "url": "https://a.example/moved"}, {"id": "never parked"}]
    await bench.broker.publish([Message(json.dumps(each).encode(), submission=1, stored_page=True) for each in bodies])
    async with bench.working(pipeline):
        await bench.until_settled(2)
    assert pipeline.pages == [None, None]


async def test_a_replay_that_ends_before_its_page_is_read_keeps_the_page(bench):
    await park(bench, "a")
    body = json.dumps({"id": "a", "expires_at": "2020-01-01T00:00:00+00:00"}).encode()
    await bench.broker.publish([Message(body, "a", submission=1, stored_page=True)])
    async with bench.working(ScriptedPipeline()):
        assert [(outcome, reason) for _, outcome, reason in await bench.until_settled(1)] == [("park", "expired")]
    assert (await bench.store.remains("a")).page == Page("https://a.example/", "<p>as it was fetched</p>")


async def test_a_failure_is_parked_also_where_an_older_submission_gets_done_at_that_very_moment(bench, monkeypatch):
    pipeline = ScriptedPipeline(a=Permanent(ParkReason.SCHEMA_INVALID, "no price"))
    find, done_meanwhile = bench.store.find, []

    async def look(task_id):
        standing = await find(task_id)
        if pipeline.ran and not done_meanwhile:
            done_meanwhile.append(task_id)
            await bench.store.save(done("a"))
        return standing

    monkeypatch.setattr(bench.store, "find", look)
    await bench.broker.publish([Message(b'{"id": "a"}', "a", submission=7)])
    async with bench.working(pipeline):
        await bench.until_settled(1)
    assert sorted((row.status, row.submission) for row in (await bench.rows()).values()) == [("done", 0), ("parked", 7)]


async def test_a_submission_that_ended_parked_is_not_run_again_when_it_comes_twice(bench):
    error = Permanent(ParkReason.SCHEMA_INVALID, "no price")
    pipeline = ScriptedPipeline(a=error)
    await bench.broker.publish([Message(b'{"id": "a"}', "a", submission=7)] * 2)
    async with bench.working(pipeline, consumers=1):
        await bench.until_settled(2)
        assert await empty(bench)
    assert pipeline.ran == ["a"]


async def test_a_task_that_is_parked_and_not_acknowledged_is_recognised_when_it_comes_again(bench, place):  # noqa: F811
    async def lose_it():
        await take_back(place, bench.broker)
        return Permanent(ParkReason.SCHEMA_INVALID, "no price")

    pipeline = ScriptedPipeline(ours=lose_it, foreign=lose_it)
    await bench.put("ours")
    await bench.broker.publish([Message(b'{"id": "foreign"}')])
    async with bench.working(pipeline, consumers=1):
        settled = await bench.until_settled(4)
        assert await empty(bench)
    assert sorted(outcome for _, outcome, _ in settled) == ["lost", "lost", "park", "park"]
    assert {reason for _, _, reason in settled} == {"schema_invalid"}
    assert sorted(pipeline.ran) == ["foreign", "ours"]


@pytest.mark.parametrize("submission", [0, 7])
async def test_what_is_parked_beside_an_older_result_is_recognised_as_well(bench, place, stored, submission):  # noqa: F811
    """A newer submission that failed; another task under a done id."""

    async def lose_it():
        await take_back(place, bench.broker)
        return Permanent(ParkReason.SCHEMA_INVALID, "no price")

    pipeline = ScriptedPipeline(a=lose_it)
    await bench.store.save(done("a", submission=0))
    await bench.broker.publish([Message(b'{"id": "a"}', "a", submission=submission)] * 2)
    async with bench.working(pipeline, consumers=1):
        await bench.until_settled(3 if submission else 2)
        assert await empty(bench)
    assert len(stored()) == 2  # the older result, and this one
    assert pipeline.ran == ["a"] * bool(submission)


async def test_what_cannot_be_read_is_parked_once_when_it_comes_again(bench, place, stored):  # noqa: F811
    class LosesIt(ScriptedPipeline):
        def decode(self, body):
            raise Permanent(ParkReason.BAD_TASK, "not JSON")

    save = bench.store.save

    async def lose_it(*row, **options):
        saved = await save(*row, **options)
        await take_back(place, bench.broker)
        return saved

    bench.store.save = lose_it
    await bench.broker.publish([Message(b"{")])
    async with bench.working(LosesIt(), consumers=1):
        settled = await bench.until_settled(2)
        assert await empty(bench)
    assert [(outcome, reason) for _, outcome, reason in settled] == [("lost", "bad_task"), ("park", "bad_task")]
    assert len(stored()) == 1


async def test_deliveries_of_one_task_at_the_same_moment_are_parked_once(bench, stored):
    go = asyncio.Event()

    async def fail():
        await go.wait()
        raise Permanent(ParkReason.SCHEMA_INVALID, "no price")

    await bench.put("a", "a", "a")
    async with bench.working(ScriptedPipeline(a=fail), consumers=3):
        await bench.until(lambda: bench.worker.in_hand == 3)
        go.set()
        await bench.until_settled(3)
    assert len(stored()) == 1


async def test_a_strangers_message_of_a_parked_task_runs_it_again_under_a_number_of_its_own(bench):
    """A worker that dies with that new run is not mistaken for one that died after the old."""
    pipeline = ScriptedPipeline(a=[Permanent(ParkReason.PAGE_GONE, "404"), Transient("HTTP 502"), {"n": 2}])
    foreign = Message(b'{"id": "a"}')
    await bench.broker.publish([foreign])
    async with bench.working(pipeline):
        await bench.until_settled(1)
        await bench.broker.publish([foreign])
        settled = await bench.until_settled(4)
        assert await empty(bench)
    assert [outcome for _, outcome, _ in settled] == ["park", "hold", "retry", "done"]
    row = (await bench.rows())["a"]
    assert (row.data, row.submission, row.attempts) == ({"n": 2}, 1, 2)


async def test_the_retry_of_a_newer_submission_is_not_taken_for_the_parked_one(bench):
    """The parked row stands until the newer submission has ended."""
    pipeline = ScriptedPipeline(a=[Permanent(ParkReason.PAGE_GONE, "404"), Transient("HTTP 502"), {"n": 2}])
    await bench.put("a")
    async with bench.working(pipeline):
        await bench.until_settled(1)
        await bench.broker.publish([Message(b'{"id": "a"}', "a", submission=7)])
        assert [outcome for _, outcome, _ in await bench.until_settled(3)] == ["park", "retry", "done"]


async def test_a_done_id_with_other_content_is_parked_beside_it(bench):
    await bench.put("a")
    await bench.put("a", content="other")
    async with bench.working(ScriptedPipeline(), consumers=1):
        settled = await bench.until_settled(2)
    assert settled[1][1:] == ("park", "duplicate_id")
    rows = await bench.rows()
    assert rows["a"].status == "done"
    assert [row.reason for name, row in rows.items() if name.startswith("body-")] == [ParkReason.DUPLICATE_ID]


async def test_a_newer_submission_that_fails_is_parked_beside_the_older_result(bench):
    """Done is never replaced by parked: the data that is there stays there."""
    body = json.dumps({"id": "a"}).encode()
    pipeline = ScriptedPipeline(a=[{"n": 1}, Permanent(ParkReason.PAGE_GONE, "404"), {"n": 2}])
    await bench.store.submitted(["a"])
    await bench.broker.publish([Message(body, "a"), Message(body, "a", submission=7)])
    async with bench.working(pipeline, consumers=1):
        await bench.until_settled(2)
        rows = await bench.rows()
        assert rows["a"].data == {"n": 1}
        assert [row.reason for name, row in rows.items() if name.startswith("body-")] == [ParkReason.PAGE_GONE]
        assert await bench.store.known(["a"]) == {"a": "done"}
        await bench.broker.publish([Message(body, "a", submission=8)])
        await bench.until_settled(3)
    assert (await bench.rows())["a"].data == {"n": 2}


async def given_up(bench, message, *, returns):
    """A message that the broker has put with the dead letters, and that came back from there as well."""

    async def take_and_leave(queue, seconds):
        async with bench.broker.consumer(queue) as consumer, asyncio.timeout(seconds):
            await consumer.receive()

    await bench.broker.publish([message])
    while (await bench.broker.depth()).parked == 0:
        with contextlib.suppress(TimeoutError):
            await take_and_leave("tasks", 0.5)
    for _ in range(returns):
        await take_and_leave("parked", HANGS_SECONDS)


async def test_what_the_broker_gave_up_is_moved_into_the_store(bench):
    await given_up(bench, Message(b'{"id": "a"}'), returns=0)
    async with bench.working(ScriptedPipeline()):
        assert await bench.until_settled(1) == [("a", "park", "delivery_limit")]
        assert await empty(bench)


async def test_what_outlived_its_time_in_the_queue_is_parked_as_expired(bench, monkeypatch):
    await given_up(bench, Message(b'{"id": "a"}'), returns=0)
    keep = Worker._keep_dead_letter

    async def keep_outlived(worker, delivery):
        outlived = SimpleNamespace(
            message=replace(delivery.message, outlived=True), returns=delivery.returns, ack=delivery.ack
        )
        await keep(worker, outlived)

    monkeypatch.setattr(Worker, "_keep_dead_letter", keep_outlived)
    async with bench.working(ScriptedPipeline()):
        assert await bench.until_settled(1) == [("a", "park", "expired")]


async def test_what_kills_its_workers_even_as_a_dead_letter_is_parked_unread(bench):
    class Deadly(ScriptedPipeline):
        def decode(self, body):
            raise AssertionError("a worker would have died")

    await given_up(bench, Message(b'{"id": "a"}'), returns=2)
    async with bench.working(Deadly()):
        [(row_id, outcome, reason)] = await bench.until_settled(1)
        assert await empty(bench)
    assert (outcome, reason) == ("park", "delivery_limit")
    assert row_id.startswith("body-")


@pytest.mark.parametrize("fields", [{}, {"content": "another schema"}])
async def test_a_replay_that_kills_its_workers_even_as_a_dead_letter_keeps_its_page(bench, fields):
    class Deadly(ScriptedPipeline):
        def decode(self, body):
            raise AssertionError("a worker would have died")

    await park(bench, "a")
    body = json.dumps({"id": "a", **fields}).encode()
    await given_up(bench, Message(body, "a", submission=1, stored_page=True), returns=2)
    async with bench.working(Deadly()):
        assert await bench.until_settled(1) == [("a", "park", "delivery_limit")]
    remains = await bench.store.remains("a")
    assert (remains.body, remains.page) == (body, Page("https://a.example/", "<p>as it was fetched</p>"))


async def test_a_dead_letter_takes_no_page_of_another_task(bench):
    """Unread, it is not known what its address is; it is not the replay of what lies there."""

    class Deadly(ScriptedPipeline):
        def decode(self, body):
            raise AssertionError("a worker would have died")

    await park(bench, "a")
    await given_up(bench, Message(b'{"id": "a", "url": "https://b.example/"}', "a", submission=9), returns=2)
    async with bench.working(Deadly()):
        await bench.until_settled(1)
    assert (await bench.store.remains("a")).page is None
