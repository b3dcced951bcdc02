import asyncio
from datetime import timedelta

import pytest

from scraper.models import Page, Remains
from scraper.ports import Freed
from scraper.store.sqlite import SqliteStore
from scraper.store.sqlite_prune import ROWS_AT_ONCE, SqlitePruner
from tests.store.results import MOMENT, done, parked, query, rows_of

DAY = timedelta(days=1)


class Clock:
    def __init__(self):
        self.moment = MOMENT

    def __call__(self):
        return int(self.moment.timestamp()) * 1_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.db"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(path, clock):
    async with SqliteStore(path, clock_ns=clock) as store:
        yield store


@pytest.fixture
async def pruner(store, path):
    async with SqlitePruner(path) as pruner:
        yield pruner


async def all_of(saves):
    """Together, so that they share their writes to the disk."""
    await asyncio.gather(*saves)


async def test_answers_go_by_their_age(store, pruner, clock):
    for day in range(3):
        clock.moment = MOMENT + day * DAY
        await store.answers.keep(b"%d" % day, {"data": "x" * 100})
        await store.save(done())
    assert await pruner.prune("cache", before=MOMENT + 1.5 * DAY) == Freed(2, 2 * len('{"data":""}') + 200)
    assert [await store.answers.find(b"%d" % day) is not None for day in range(3)] == [False, False, True]
    assert await pruner.prune("cache", before=MOMENT + 1.5 * DAY) == Freed()


async def test_pages_and_raw_answers_of_old_parked_tasks_go_and_the_tasks_stay(store, pruner):
    for day, name in enumerate(("old", "new")):
        remains = Remains(b"{}", Page("https://a.example/", "<p>" * 1000), "answer")
        await store.save(parked(name, finished_at=MOMENT + day * DAY), remains)
    await store.save(parked("bare", finished_at=MOMENT), Remains(b"{}"))
    freed = await pruner.prune("pages", before=MOMENT + DAY)
    assert freed.count == 1
    assert 0 < freed.bytes < 200
    assert await store.remains("old") == Remains(b"{}")
    assert (await store.remains("new")).page is not None
    assert len(await rows_of(store)) == 3


async def test_the_page_of_a_task_that_waits_again_stays(store, pruner):
    page = Page("https://a.example/", "<p>")
    await store.save(parked("again", finished_at=MOMENT - DAY), Remains(b"{}", page))
    await store.submitted(["again"])
    assert await pruner.prune("pages", before=MOMENT + DAY) == Freed()
    assert (await store.remains("again")).page == page


async def test_old_results_go_and_parked_tasks_stay(store, pruner, path):
    stamps = [MOMENT + number * DAY / ROWS_AT_ONCE for number in range(3 * ROWS_AT_ONCE)]
    await all_of(store.save(done(f"{stamp}", finished_at=stamp, url="https://a.example/")) for stamp in stamps)
    await store.save(parked("parked", finished_at=MOMENT - DAY), Remains(b"{}"))
    freed = await pruner.prune("results", before=MOMENT + DAY)
    assert freed.count == ROWS_AT_ONCE
    assert await store.counts() == {("done", None): 2 * ROWS_AT_ONCE, ("parked", parked().reason): 1}
    assert await store.find("parked") is not None


async def test_ids_remembered_for_too_long_are_forgotten(store, pruner, clock):
    for day, name in enumerate(("old", "new")):
        clock.moment = MOMENT + day * DAY
        await store.submitted([name])
    assert await pruner.prune("submitted", before=MOMENT + DAY / 2) == Freed(1, 3)
    assert await store.known(["old", "new"]) == {"new": "submitted"}


@pytest.mark.parametrize("what", ["cache", "pages", "results", "submitted"])
async def test_a_dry_run_counts_the_same_and_changes_nothing(store, pruner, path, what):
    numbers = range(2 * ROWS_AT_ONCE + 1)
    await all_of(store.answers.keep(b"%d" % number, {"data": number}) for number in numbers)
    await all_of(store.save(done(f"d{number}")) for number in numbers)
    await all_of(store.save(parked(f"p{number}"), Remains(b"{}", answer="{")) for number in numbers)
    await store.submitted([f"s{number}" for number in numbers])
    before = query(path, "SELECT total(length(data)), count(*) FROM results_rows")
    dry = await pruner.prune(what, before=MOMENT + DAY, dry_run=True)
    assert query(path, "SELECT total(length(data)), count(*) FROM results_rows") == before
    assert dry.count == 2 * ROWS_AT_ONCE + 1
    assert await pruner.prune(what, before=MOMENT + DAY) == dry
    assert await pruner.prune(what, before=MOMENT + DAY, dry_run=True) == Freed()


async def test_workers_go_on_while_much_is_pruned(store, pruner):
    await all_of(store.save(done(f"old-{number}")) for number in range(8 * ROWS_AT_ONCE))
    pruning = asyncio.create_task(pruner.prune("results", before=MOMENT + DAY))
    saved = 0
    while not pruning.done():
        await store.save(done(f"new-{saved}", finished_at=MOMENT + 2 * DAY))
        saved += 1
    assert (await pruning).count == 8 * ROWS_AT_ONCE
    assert await store.counts() == {("done", None): saved}
    assert saved > 1


async def test_finding_what_is_old_goes_through_an_index(store, pruner, path):
    await store.answers.keep(b"key", {"data": 1})
    await store.save(done())
    seen = []
    await pruner._thread.read(lambda database: database.set_trace_callback(seen.append))
    for what in ("cache", "results", "pages", "submitted"):
        await pruner.prune(what, before=MOMENT + DAY, dry_run=True)
    statements = {each for each in seen if "ORDER BY" in each}
    assert len(statements) >= 4
    for statement in statements:
        plan = " ".join(row[-1] for row in query(path, f"EXPLAIN QUERY PLAN {statement}"))
        assert "TEMP B-TREE" not in plan
        assert "SEARCH" in plan
