"""Replaying over a real store and both real brokers; only the workers are the test's own."""

import asyncio
import json
import os
from collections import Counter
from functools import partial

import pytest

from scraper.errors import Permanent, Unavailable
from scraper.models import Failure, Page, ParkReason, Remains
from scraper.pipeline.task import decode as decode_task
from scraper.ports import Message, Selection
from scraper.replay import ReplayCounts, replay, replayed_message
from scraper.schemas import named_schema
from scraper.store.sqlite import SqliteStore
from scraper.store.sqlite_rows import PAGE_ROWS
from scraper.store.sqlite_workbench import SqliteWorkbench
from tests.broker.conftest import place  # noqa: F401 a fixture
from tests.service import SCRAPER
from tests.store.results import MOMENT, done, parked

ALL = Selection()
URL = "https://a.example/1"
BODY = json.dumps({"url": URL, "schema": "product", "task_id": "a", "priority": "high"}).encode()
decode = partial(decode_task, named_schema=partial(named_schema, folder=None), max_bytes=10_000)


def message(result, remains, *, fetch_again=False, **changes):
    return replayed_message(result, remains, decode=decode, changes=changes, fetch_again=fetch_again)


# ---- one message


def test_a_replay_is_the_tasks_own_body_with_no_attempt_spent_and_one_submission_newer():
    failures = (Failure(1, "HTTP 502", MOMENT),)
    replayed = message(parked("a", attempts=2, submission=7), Remains(BODY, trail=failures))
    assert replayed == Message(
        BODY,
        "a",
        attempts=0,
        submission=8,
        priority="high",
        stored_page=True,
        trail=(*failures, Failure(2, "404", MOMENT)),
    )


def test_a_replay_may_ask_for_a_new_fetch():
    assert message(parked("a"), Remains(BODY), fetch_again=True).stored_page is False


def test_a_new_prompt_changes_that_alone_and_the_id_stays():
    plain = json.dumps({"url": URL, "schema": "product", "expires_at": "2020-01-01T00:00Z", "metadata": [1]}).encode()
    task_id = decode(plain).task_id
    changed = message(
        parked(task_id), Remains(plain), instructions="in EUR", schema={"type": "object"}, expires_at=None
    )
    assert json.loads(changed.body) == {
        "url": URL,
        "schema": {"type": "object"},
        "metadata": [1],
        "task_id": task_id,
        "instructions": "in EUR",
    }
    assert changed.task_id == task_id


def test_a_task_whose_id_was_taken_is_run_under_the_id_it_was_parked_with():
    duplicate = message(parked("body-1234", ParkReason.DUPLICATE_ID), Remains(BODY))
    assert duplicate.task_id == json.loads(duplicate.body)["task_id"] == "body-1234"


def test_a_task_that_was_parked_beside_its_older_result_is_run_to_replace_that():
    replayed = message(parked("body-1234", submission=7), Remains(BODY))
    assert (replayed.task_id, replayed.body, replayed.submission) == ("a", BODY, 8)
    changed = message(parked("body-1234", submission=7), Remains(BODY), instructions="x")
    assert changed.task_id == json.loads(changed.body)["task_id"] == "a"


def test_what_is_no_task_can_be_run_again_as_it_is_and_not_be_changed():
    unread = parked("body-1", ParkReason.BAD_TASK)
    assert message(unread, Remains(b"\xff{")).body == b"\xff{"
    with pytest.raises(Permanent, match="no JSON object"):
        message(unread, Remains(b"\xff{"), instructions="x")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"instructions": "x" * 20_000}, "TASK_MAX_BYTES"),
    ],
)
def test_a_change_that_makes_it_no_task_is_refused(changes, why):
    with pytest.raises(Permanent, match=why):
        message(parked("a"), Remains(BODY), **changes)


def test_a_change_may_make_a_task_of_what_was_none():
    broken = json.dumps({"url": URL, "schema": "nobody-knows-it"}).encode()
    assert json.loads(message(parked("a"), Remains(broken), schema={"type": "object"}).body)["task_id"] == "a"


# ---- many, over both brokers


@pytest.fixture
async def store(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        yield store


@pytest.fixture
async def workbench(store, tmp_path):
    async with SqliteWorkbench(tmp_path / "results.db") as workbench:
        yield workbench


async def park(store, *task_ids, reason=ParkReason.SCHEMA_INVALID, **fields):
    for task_id in task_ids:
        body = json.dumps({"url": URL, "schema": "product", "task_id": task_id}).encode()
        await store.save(parked(task_id, reason, **fields), Remains(body, Page(URL, "<p>")))


def run(workbench, broker, *, selection=ALL, changes=None, refused=None):
    return replay(
        selection,
        workbench=workbench,
        broker=broker,
        decode=decode,
        changes=changes or {},
        refused=lambda *said: (refused if refused is not None else []).append(said),
    )


async def queued(broker, count):
    """The ids and submissions of that many messages, each acknowledged; then nothing more is there."""
    found = []
    async with broker.consumer() as consumer:
        for _ in range(count):
            async with asyncio.timeout(300):
                delivery = await consumer.receive()
            found.append((delivery.message.task_id, delivery.message.submission))
            await delivery.ack()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await consumer.receive()
    return sorted(found)


async def test_those_selected_are_queued_once_and_wait_then(place, store, workbench):  # noqa: F811
    await park(store, "a", "b")
    await park(store, "c", reason=ParkReason.PAGE_GONE)
    async with place.broker() as broker:
        selection = Selection(reasons=(ParkReason.SCHEMA_INVALID,))
        assert await run(workbench, broker, selection=selection) == ReplayCounts(replayed=2)
        assert await run(workbench, broker, selection=selection) == ReplayCounts(replayed=0)
        assert await queued(broker, 2) == [("a", 1), ("b", 1)]
    assert await workbench.counts(ALL) == {ParkReason.PAGE_GONE: 1}


async def test_what_cannot_be_changed_stays_parked_and_is_told(store, workbench):
    await park(store, "a")
    await store.save(parked("b", ParkReason.BAD_TASK), Remains(b"{"))
    told = []
    counts = await run(workbench, Queue(), changes={"instructions": "x"}, refused=told)
    assert counts == ReplayCounts(replayed=1, refused=1)
    assert [task_id for task_id, _ in told] == ["b"]
    assert await workbench.counts(ALL) == {ParkReason.BAD_TASK: 1}


class Queue:
    """A broker as far as publishing goes."""

    def __init__(self, *, after=lambda: None):
        self.messages = []
        self.after = after

    async def publish(self, messages):
        self.messages += messages
        self.after()


class PulledPlug(Exception):
    pass


async def test_broken_off_between_publish_and_mark_it_is_published_again_as_the_same_submission(store, workbench):
    def pull():
        raise PulledPlug

    await park(store, *(f"{number}" for number in range(600)))
    broken = Queue(after=pull)
    with pytest.raises(PulledPlug):
        await run(workbench, broken)
    whole = Queue()
    assert (await run(workbench, whole)).replayed == 600
    assert {each.task_id for each in broken.messages} < {each.task_id for each in whole.messages}
    assert {each.submission for each in broken.messages + whole.messages} == {1}


async def test_what_was_parked_beside_an_older_result_leaves_the_shelf_with_its_replay(store, workbench):
    await store.save(done("a"))
    await store.save(parked("body-1", submission=7), Remains(BODY))
    queue = Queue()
    assert (await run(workbench, queue)).replayed == 1
    assert [each.task_id for each in queue.messages] == ["a"]
    assert (await workbench.counts(ALL), await workbench.waiting()) == ({}, 0)


async def test_what_was_parked_beside_an_older_result_reads_its_stored_page_and_keeps_it_where_that_fails(
    store, workbench
):
    page = Page(URL, "<p>")
    await store.save(done("a"))
    await store.save(parked("body-1", submission=7), Remains(BODY, page))
    await run(workbench, Queue())
    assert (await store.remains("a")).page == page
    await store.save(parked("body-1", submission=8), Remains(BODY, page), settled_id="a")
    assert await store.remains("a") is None
    await run(workbench, Queue())
    assert (await store.remains("a")).page == page
    await store.save(done("a", submission=9))
    assert await store.remains("a") is None


async def test_of_two_parked_beside_one_result_each_reads_its_own_page(store, workbench):
    """One after the other: there is one place for a page that is lent."""
    other_body = BODY.replace(b'"high"', b'"normal"')
    first, other = Page(URL, "<p>in May"), Page(URL, "<p>in June")
    await store.save(done("a"))
    await store.save(parked("body-1", submission=7), Remains(BODY, first))
    await store.save(parked("body-2", submission=8), Remains(other_body, other))
    queue, refused = Queue(), []
    assert await run(workbench, queue, refused=refused) == ReplayCounts(replayed=1, refused=1)
    assert ([each.body for each in queue.messages], (await store.remains("a")).page) == ([BODY], first)
    [(task_id, why)] = refused
    assert task_id == "body-2"
    assert "--fetch" in why
    assert await workbench.counts(ALL) == {ParkReason.PAGE_GONE: 1}

    assert await run(workbench, queue) == ReplayCounts(refused=1)  # the first is still on its way
    await store.save(parked("body-1", submission=8), Remains(BODY, first), settled_id="a")
    assert await run(workbench, queue, selection=Selection(task_ids=("body-2",))) == ReplayCounts(replayed=1)
    assert (await store.remains("a")).page == other


async def test_a_replay_that_was_broken_off_lends_the_same_page_again(store, workbench):
    def pull():
        raise PulledPlug

    page = Page(URL, "<p>")
    await store.save(done("a"))
    await store.save(parked("body-1", submission=7), Remains(BODY, page))
    with pytest.raises(PulledPlug):
        await run(workbench, Queue(after=pull))
    assert await run(workbench, Queue()) == ReplayCounts(replayed=1)
    assert (await store.remains("a")).page == page


async def test_one_that_failed_again_before_it_left_the_shelf_stays_there(store, workbench):
    await store.save(done("a"))
    await store.save(parked("body-1", submission=7), Remains(BODY))
    worker = asyncio.Queue()

    def fails_at_once():
        worker.put_nowait(asyncio.create_task(store.save(parked("body-1", submission=8), Remains(BODY))))

    assert (await run(workbench, Queue(after=fails_at_once))).replayed == 1
    await (await worker.get())
    assert (await store.find("body-1")).submission == 8


async def test_it_waits_for_a_broker_that_is_away(store, workbench, monkeypatch):
    monkeypatch.setattr("scraper.patience.FIRST_WAIT_SECONDS", 0.001)
    away = 2

    def still_away():
        nonlocal away
        away -= 1
        if away >= 0:
            queue.messages.clear()
            raise Unavailable("no broker there")

    await park(store, "a")
    queue = Queue(after=still_away)
    assert (await run(workbench, queue)).replayed == 1
    assert [each.task_id for each in queue.messages] == ["a"]


async def test_what_is_done_meanwhile_is_not_marked_as_waiting(store, workbench):
    await park(store, "a", "b")

    class Quick(Queue):
        async def publish(self, messages):
            for each in messages:
                await store.save(done(each.task_id, submission=each.submission))

    await run(workbench, Quick())
    assert await store.known(["a", "b"]) == {"a": "done", "b": "done"}


async def broken_off(place, store, workbench, folder):  # noqa: F811
    """Kill a replay in its middle; the names of what it replayed, and the namespace. A look too late is one too many."""
    for attempt in range(10):
        names, namespace = [f"{attempt}-{number}" for number in range(2000)], f"{place.namespace}-{attempt}"
        await asyncio.gather(*(park(store, name) for name in names))
        environment = {
            "BROKER_URL": f"sqlite:///{place.target}" if place.kind == "sqlite" else place.target,
            "RESULTS_URL": f"sqlite:///{folder / 'results.db'}",
            "QUEUE_NAMESPACE": namespace,
        }
        async with place.broker(namespace=namespace) as broker:
            process = await asyncio.create_subprocess_exec(
                *(*SCRAPER, "dead", "replay", "--all"), env=os.environ | environment, cwd=folder
            )
            while (await broker.depth()).tasks < 300:  # noqa: ASYNC110 another process fills it
                await asyncio.sleep(0.005)
        process.kill()
        await process.wait()
        if await workbench.counts(ALL):
            return names, namespace
    raise AssertionError("it was at its end each time that its middle was looked at")


async def test_a_replay_that_is_killed_loses_nothing_and_the_next_one_repeats_no_more_than_a_batch(
    place,  # noqa: F811
    store,
    workbench,
    tmp_path,
):
    """By SIGKILL, in the middle, as a process of its own. What comes twice is the same submission: it is worked on once."""
    names, namespace = await broken_off(place, store, workbench, tmp_path)
    async with place.broker(namespace=namespace) as broker:
        await run(workbench, broker)
        queued_up = (await broker.depth()).tasks
        assert await workbench.counts(ALL) == {}
        found = Counter()
        async with broker.consumer() as consumer:
            while len(found) < len(names) or found.total() < queued_up:
                async with asyncio.timeout(300):
                    delivery = await consumer.receive()
                found[delivery.message.task_id, delivery.message.submission] += 1
                await delivery.ack()
    assert found.keys() == {(name, 1) for name in names}
    assert found.total() - len(names) <= PAGE_ROWS
