import asyncio
import json
import tracemalloc
from datetime import timedelta

import pytest

from scraper.errors import Misconfigured
from scraper.models import Failure, Page, ParkReason, Remains
from scraper.ports import Selection
from scraper.store.sqlite import SqliteStore
from scraper.store.sqlite_workbench import HANDED_OUT_BYTES, SqliteWorkbench
from tests.store.results import MOMENT, done, parked, query

GONE, INVALID, TOO_LARGE = ParkReason.PAGE_GONE, ParkReason.SCHEMA_INVALID, ParkReason.TOO_LARGE
ALL = Selection()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.db"


@pytest.fixture
async def store(path):
    async with SqliteStore(path) as store:
        yield store


@pytest.fixture
async def workbench(store, path):
    async with SqliteWorkbench(path) as workbench:
        yield workbench


def body(**fields):
    return json.dumps({"url": "https://a.example/", "schema": {"title": "Product"}, **fields}).encode()


async def park(store, task_id, reason=GONE, *, remains=None, **fields):
    await store.save(parked(task_id, reason, **fields), remains or Remains(body()))


async def ids(workbench, selection=ALL):
    return [result.task_id async for batch in workbench.handed_out(selection) for result, _ in batch]


async def test_a_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(Misconfigured, match="there is no database"):
        async with SqliteWorkbench(tmp_path / "typo.db"):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_counts_are_by_reason_and_of_parked_ones_alone(store, workbench):
    await park(store, "a")
    await park(store, "b")
    await park(store, "c", INVALID)
    await store.save(done("d"))
    assert await workbench.counts(ALL) == {GONE: 2, INVALID: 1}
    assert await workbench.counts(Selection(reasons=(INVALID, TOO_LARGE))) == {INVALID: 1}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (ALL, ["a", "b", "c", "d"]),
        (Selection(task_ids=("d", "a", "nobody")), ["a", "d"]),
        (Selection(reasons=(GONE,)), ["a", "b"]),
        (Selection(hosts=("shop.example",)), ["a"]),
        (Selection(hosts=("*.EXAMPLE",)), ["a", "b"]),
        (Selection(hosts=("shop.example", "b.example")), ["a", "b"]),
        (Selection(schema="product"), ["a", "d"]),
        (Selection(schema="Article"), ["b"]),
        (Selection(before=MOMENT + timedelta(hours=2)), ["a", "b"]),
        (Selection(after=MOMENT + timedelta(hours=2)), ["c", "d"]),
        (Selection(reasons=(GONE,), hosts=("b.*",), schema="article"), ["b"]),
    ],
)
async def test_everything_that_is_named_must_hold(store, workbench, selection, selected):
    hours = [MOMENT + timedelta(hours=hour) for hour in range(4)]
    await park(store, "a", url="https://shop.example/1", finished_at=hours[0])
    await park(store, "b", url="https://b.example/", finished_at=hours[1], remains=Remains(body(schema="article")))
    await park(store, "c", INVALID, finished_at=hours[2], remains=Remains(b"\xff{ no JSON"))
    await park(store, "d", INVALID, finished_at=hours[3])
    assert await ids(workbench, selection) == selected
    assert sum((await workbench.counts(selection)).values()) == len(selected)
    assert [result.task_id async for result in workbench.newest(selection)] == selected[::-1]


async def test_what_waits_again_is_left_alone(store, workbench):
    await park(store, "a")
    await park(store, "b")
    await workbench.replayed([("a", 0)])
    assert await ids(workbench) == ["b"]
    assert await workbench.counts(ALL) == {GONE: 1}
    assert await workbench.waiting() == 1
    assert await workbench.drop(Selection(task_ids=("a",))) == 0
    assert await store.known(["a", "b"]) == {"a": "submitted", "b": "parked"}
    assert (await workbench.find("a"))[2] is True
    assert (await workbench.find("b"))[2] is False


async def test_what_was_parked_anew_meanwhile_does_not_wait(store, workbench):
    """A worker may be faster than whoever put the task into the queue again."""
    await park(store, "a")
    await park(store, "a", INVALID, submission=1)
    await park(store, "b")
    await store.save(done("b", submission=1))
    await workbench.replayed([("a", 0), ("b", 0), ("nobody", 0)])
    assert await workbench.waiting() == 0
    assert await ids(workbench) == ["a"]


async def test_a_parked_task_is_found_with_all_it_left(store, workbench):
    remains = Remains(
        body(), Page("https://a.example/", "<p>"), "{", (Failure(1, "HTTP 502", MOMENT.replace(microsecond=0)),)
    )
    await park(store, "a", remains=remains)
    await store.save(done("done"))
    result, found, _ = await workbench.find("a")
    assert (result, found) == (parked("a"), remains)
    assert await workbench.find("done") is None
    assert await workbench.find("nobody") is None


async def test_pages_are_handed_out_on_demand(store, workbench):
    remains = Remains(
        body(), Page("https://a.example/", "<p>"), "{", (Failure(1, "HTTP 502", MOMENT.replace(microsecond=0)),)
    )
    await park(store, "a", remains=remains)
    [[(_, with_page)]] = [batch async for batch in workbench.handed_out(ALL, pages=True)]
    [[(_, without)]] = [batch async for batch in workbench.handed_out(ALL)]
    assert with_page == remains
    assert (without.page, without.answer, without.trail) == (None, remains.answer, remains.trail)


async def test_dropping_leaves_nothing_of_them_and_the_others_alone(store, workbench, path):
    await asyncio.gather(*(park(store, f"gone-{number}", url=None) for number in range(1200)))
    await park(store, "invalid", INVALID)
    await store.save(done("done"))
    assert await workbench.drop(Selection(reasons=(GONE,))) == 1200
    assert query(path, "SELECT count(*) FROM results_remains") == [(1,)]
    assert await store.counts() == {("parked", INVALID): 1, ("done", None): 1}
    assert await workbench.drop(ALL) == 1


async def test_a_million_parked_tasks_take_no_more_memory_than_a_batch(store, workbench):
    """Told by bodies that together are many times a batch."""
    large = body(html="x" * (1 << 20))
    for number in range(4 * HANDED_OUT_BYTES >> 20):
        await park(store, f"{number}", remains=Remains(large))
    tracemalloc.start()
    count = 0
    async for batch in workbench.handed_out(ALL):
        count += len(batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4 * HANDED_OUT_BYTES >> 20
    assert peak < 3 * HANDED_OUT_BYTES  # the batch in hand, and the next one while it is read


async def test_listing_walks_parked_rows_alone_and_sorts_nothing(store, workbench, path):
    await park(store, "a")
    for selection in (ALL, Selection(reasons=(GONE,), hosts=("*",), schema="x", before=MOMENT)):
        seen = []
        await workbench._thread.read(lambda database, seen=seen: database.set_trace_callback(seen.append))
        await ids(workbench, selection)
        listing = next(statement for statement in seen if "results_remains USING" in statement)
        plan = " ".join(row[-1] for row in query(path, f"EXPLAIN QUERY PLAN {listing}"))
        assert "USING INDEX results_parked (status=? AND rowid>? AND rowid<?)" in plan
        assert "TEMP B-TREE" not in plan


async def test_workers_go_on_while_much_is_dropped(store, workbench):
    await asyncio.gather(*(park(store, f"{number}") for number in range(2000)))
    dropping = asyncio.create_task(workbench.drop(ALL))
    saved = 0
    while not dropping.done():
        await store.save(done(f"done-{saved}"))
        saved += 1
    assert await dropping == 2000
    assert await store.counts() == {("done", None): saved}
    assert saved > 1


async def test_ids_are_found_by_their_beginning_waiting_ones_included(store, workbench):
    for task_id in ("ab1", "ab2", "ab3", "ab12", "ac1", "AB1", "a%1"):
        await park(store, task_id)
    await store.save(done("ab4"))
    await workbench.replayed([("ab2", 0)])
    assert await workbench.begun_with("ab", length=3, most=9) == ["ab1", "ab2", "ab3"]
    assert await workbench.begun_with("ab", length=3, most=2) == ["ab1", "ab2"]
    assert await workbench.begun_with("a%", length=3, most=9) == ["a%1"]
    assert await workbench.begun_with("b", length=3, most=9) == []
