import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from scraper.errors import Unavailable
from scraper.models import Failure, Page, ParkReason, Remains, Standing, Usage
from scraper.store.sqlite import SqliteStore
from tests.store.results import FULL, MOMENT, done, parked, query, rows_of

US = 1_000  # nanoseconds


class Clock:
    """Wall-clock time that a test sets."""

    def __init__(self, moment=MOMENT):
        self.moment = moment

    def __call__(self):
        return int(self.moment.timestamp() * 1_000_000) * US


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.db"


@pytest.fixture
async def store(path):
    async with SqliteStore(path) as store:
        yield store


async def test_a_result_comes_back_as_it_was_saved(store):
    await store.save(FULL)
    assert await rows_of(store) == [FULL]


async def test_a_bare_result_comes_back_as_it_was_saved(store):
    await store.save(done(data=None))
    assert await rows_of(store) == [done(data=None)]


@pytest.mark.parametrize("data", [{}, [], "", 0, False, "text", [None]])
async def test_data_that_looks_like_nothing_is_kept_as_what_it_is(store, data):
    await store.save(done(data=data))
    (result,) = await rows_of(store)
    assert result.data == data
    assert type(result.data) is type(data)


async def test_lone_surrogates_survive_in_data_and_are_spelt_out_elsewhere(store):
    await store.save(done("id-\udc80", data={"a\ud800": "b\udfff"}, url="https://x.example/\udcff", error="\ud800"))
    (result,) = await rows_of(store)
    assert result.data == {"a\ud800": "b\udfff"}
    assert result.url == "https://x.example/\\udcff"
    assert await store.find("id-\udc80") is not None
    assert await store.known(["id-\udc80"]) == {"id-\udc80": "done"}


async def test_numbers_that_json_does_not_have_become_null(store):
    await store.save(done(metadata={"a": float("nan"), "b": [float("inf"), 1.5]}))
    (result,) = await rows_of(store)
    assert result.metadata == {"a": None, "b": [None, 1.5]}


async def test_an_absurd_token_count_does_not_lose_the_result(store):
    await store.save(done(usage=Usage(10**30, 1, 1)))
    (result,) = await rows_of(store)
    assert result.usage == Usage(2**63 - 1, 1, 1)


@pytest.mark.parametrize("url", ["http://[::1", "not a url", "", "http://user@host:99999/"])
async def test_a_url_that_is_none_can_be_parked(store, url):
    await store.save(parked(url=url, reason=ParkReason.REFUSED_ADDRESS))
    (result,) = await rows_of(store)
    assert result.url == url


async def test_find_says_what_stands_there(store):
    assert await store.find("one") is None
    await store.save(parked(submission=7))
    assert await store.find("one") == Standing("parked", "c" * 64, 7)


OLD, NEW = 1, 2
REPLACEMENTS = [
    # stored, saved, which stays
    (("done", OLD), ("done", OLD), "stored"),
    (("done", OLD), ("parked", OLD), "stored"),
    (("parked", OLD), ("done", OLD), "saved"),
    (("parked", OLD), ("parked", OLD), "saved"),
    (("done", OLD), ("done", NEW), "saved"),
    (("done", OLD), ("parked", NEW), "stored"),
    (("parked", OLD), ("done", NEW), "saved"),
    (("parked", OLD), ("parked", NEW), "saved"),
    (("done", NEW), ("done", OLD), "stored"),
    (("done", NEW), ("parked", OLD), "stored"),
    (("parked", NEW), ("done", OLD), "saved"),
    (("parked", NEW), ("parked", OLD), "stored"),
]


@pytest.mark.parametrize(("stored", "saved", "stays"), REPLACEMENTS)
async def test_which_of_two_results_stays(store, stored, saved, stays):
    def result(status, submission, mark):
        make = done if status == "done" else parked
        return make(submission=submission, metadata=mark, content_sha256=mark[0] * 64)

    await store.save(result(*stored, "stored"))
    await store.save(result(*saved, "saved"))
    (row,) = await rows_of(store)
    assert row == result(*(stored if stays == "stored" else saved), stays)
    assert await store.counts() == {(row.status, row.reason): 1}


async def test_a_parked_task_leaves_its_remains(store):
    page = Page("https://a.example/ü", "<p>Grüße\ud800</p>" * 1000, is_html=False)
    trail = (Failure(1, "HTTP 502 \ud800", MOMENT.replace(microsecond=123000)),)
    await store.save(parked(), Remains(b'{"url": "\xff"}', page=page, answer='{"na', trail=trail))
    assert await store.remains("one") == Remains(b'{"url": "\xff"}', page=page, answer='{"na', trail=trail)
    assert await store.remains("two") is None


async def test_pages_lie_compressed(store, path):
    await store.save(parked(), Remains(b"{}", page=Page(None, "<p>again and again</p>" * 1000)))
    ((size,),) = query(path, "SELECT length(page) FROM results_remains")
    assert size < 1000


async def test_without_pages_the_body_alone_is_kept(path):
    async with SqliteStore(path, keep_pages="none") as store:
        await store.save(parked(), Remains(b"{}", page=Page(None, "<p>"), answer="{"))
        assert await store.remains("one") == Remains(b"{}")


async def test_remains_go_when_the_task_is_done_after_all(store):
    await store.save(parked(), Remains(b"{}", page=Page(None, "<p>")))
    await store.save(done(), Remains(b"{}"))
    assert await store.remains("one") is None


async def test_remains_of_a_result_that_did_not_stay_change_nothing(store):
    await store.save(parked(submission=NEW), Remains(b"new"))
    await store.save(parked(submission=OLD), Remains(b"old"))
    assert await store.remains("one") == Remains(b"new")


async def test_parking_again_without_remains_keeps_those_there_are(store):
    await store.save(parked(), Remains(b"{}", page=Page(None, "<p>")))
    await store.save(parked(reason=ParkReason.ATTEMPTS))
    assert await store.remains("one") == Remains(b"{}", page=Page(None, "<p>"))


async def test_rows_deleted_by_hand_leave_neither_remains_nor_counts(store, path):
    await store.save(parked("one"), Remains(b"{}"))
    await store.save(parked("two"), Remains(b"{}"))
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM results_rows WHERE task_id = 'one'")
    database.close()
    assert await store.counts() == {("parked", ParkReason.PAGE_GONE): 1}
    assert query(path, "SELECT count(*) FROM results_remains") == [(1,)]


async def test_counts_are_by_status_and_reason(store):
    await store.save(done("one"))
    await store.save(done("two"))
    await store.save(parked("three"))
    await store.save(parked("four", reason=ParkReason.ROBOTS))
    await store.save(parked("four", reason=ParkReason.ATTEMPTS))
    await store.save(parked("two"))
    assert await store.counts() == {
        ("done", None): 2,
        ("parked", ParkReason.PAGE_GONE): 1,
        ("parked", ParkReason.ATTEMPTS): 1,
    }


async def test_counts_read_no_rows(store, path):
    await store.save(done())
    ((_, _, _, plan),) = query(path, "EXPLAIN QUERY PLAN SELECT status, reason, n FROM results_counts WHERE n > 0")
    assert "results_rows" not in plan


async def test_submitted_ids_are_known_until_a_result_is_saved(store):
    await store.submitted(["one", "two"])
    assert await store.known(["one", "two", "three"]) == {"one": "submitted", "two": "submitted"}
    await store.save(done("one"))
    await store.save(parked("two"))
    assert await store.known(["one", "two", "three"]) == {"one": "done", "two": "parked"}


async def test_a_parked_task_that_waits_again_is_submitted(path):
    clock = Clock(MOMENT + timedelta(hours=1))
    async with SqliteStore(path, clock_ns=clock) as store:
        await store.save(parked(finished_at=MOMENT))
        assert await store.known(["one"]) == {"one": "parked"}
        await store.submitted(["one"])
        assert await store.known(["one"]) == {"one": "submitted"}


async def test_a_worker_faster_than_submit_leaves_no_id_waiting_for_ever(path):
    clock = Clock(MOMENT)
    async with SqliteStore(path, clock_ns=clock) as store:
        assert await store.known(["one", "two"]) == {}
        clock.moment = MOMENT + timedelta(seconds=1)
        await store.save(parked("one", finished_at=clock.moment))
        await store.save(done("two", finished_at=clock.moment))
        clock.moment = MOMENT + timedelta(seconds=2)
        await store.submitted(["one", "two"])
        assert await store.known(["one", "two"]) == {"one": "parked", "two": "done"}


async def test_thousands_of_ids_are_asked_for_at_once(store):
    ids = [f"id-{number}" for number in range(2345)]
    await store.submitted(ids[::2])
    assert await store.known(ids) == dict.fromkeys(ids[::2], "submitted")
    assert await store.known([]) == {}


async def test_results_come_in_the_order_their_ids_first_came(store):
    for task_id in ("c", "a", "b"):
        await store.save(parked(task_id))
    await store.save(done("a"))
    assert [result.task_id for result in await rows_of(store)] == ["c", "a", "b"]
    assert [result.task_id for result in await rows_of(store, statuses=["parked"])] == ["c", "b"]
    assert [result.task_id for result in await rows_of(store, statuses=["done"])] == ["a"]
    assert await rows_of(store, statuses=[]) == []


async def test_paging_meets_every_row_once_while_others_write(store):
    before = [f"id-{number}" for number in range(700)]
    await asyncio.gather(*(store.save(parked(task_id)) for task_id in before))
    seen = []
    async for result in store.results():
        seen.append(result.task_id)
        if len(seen) % 100 == 0:
            await store.save(done(f"id-{len(seen) - 1}"))  # replaced behind the reader
            await store.save(done(f"id-{len(seen) + 50}"))  # and before it
            await store.save(done(f"new-{len(seen)}"))
    assert sorted(seen) == sorted(before)


async def test_large_rows_are_paged_by_size(store):
    for number in range(40):
        await store.save(done(f"id-{number}", data={"text": "x" * 200_000}))
    assert [result.task_id for result in await rows_of(store)] == [f"id-{number}" for number in range(40)]


async def test_listing_parked_rows_does_not_walk_the_done_ones(store, path):
    await store.save(parked())
    plan = query(
        path,
        "EXPLAIN QUERY PLAN SELECT * FROM results_rows WHERE status = 'parked' AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        0, 9, 9,
    )  # fmt: skip
    assert "results_parked" in plan[0][3]


async def test_saving_again_what_is_stored_changes_nothing(store, path):
    await store.save(FULL)
    before = query(path, "SELECT * FROM results_rows")
    await store.save(FULL)
    await store.save(replace(FULL, metadata="later"))
    assert query(path, "SELECT * FROM results_rows") == before


async def test_a_store_survives_its_process(path):
    async with SqliteStore(path) as store:
        await store.save(FULL)
        await store.submitted(["two"])
    async with SqliteStore(path) as store:
        assert await rows_of(store) == [FULL]
        assert await store.known(["two"]) == {"two": "submitted"}


async def test_the_time_of_the_newest_results_is_summed_by_phase(store):
    for number, timings in enumerate([{"fetch": 100.0}, {"fetch": 1.0, "generate": 2.0}, {}, {"fetch": 0.5}]):
        await store.save(done(f"t{number}", timings=timings))
    assert await store.time_spent(2) == {"fetch": 1.5, "generate": 2.0}
    assert await store.time_spent(0) == {}


async def test_tokens_and_calls_of_the_newest_results_are_summed(store):
    assert await store.tokens_spent(10) == (Usage(), 0)
    for number in range(3):
        await store.save(done(f"t{number}", usage=Usage(100 * number, 10, 50), calls=number))
    assert await store.tokens_spent(2) == (Usage(300, 20, 100), 3)


ANSWER = {"data": {"name": "Grüße \ud800 😀", "big": 2**80, "price": 49.5}, "model": None, "fields": {}, "cut": None}


async def test_an_answer_is_found_at_once_and_by_others_after_the_next_result(store, path):
    await store.answers.keep(b"key", ANSWER)
    assert await store.answers.find(b"key") == ANSWER
    async with SqliteStore(path) as other:
        assert await other.answers.find(b"key") is None
        await store.save(done())
        assert await other.answers.find(b"key") == ANSWER
        assert await other.answers.find(b"another") is None
    assert await store.answers.find(b"key") == ANSWER


async def test_the_newer_answer_to_a_question_stays(store, path):
    for number in range(3):
        await store.answers.keep(b"key", {"data": number})
        await store.save(done())
    assert query(path, "SELECT answer FROM results_answers") == [('{"data":2}',)]


async def test_answers_wait_for_a_store_that_is_away(path):
    async with SqliteStore(path, busy_seconds=0.01) as store:
        await store.answers.keep(b"key", ANSWER)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                await store.save(done())
            other.execute("ROLLBACK")
        await store.save(done())
    assert query(path, "SELECT count(*) FROM results_answers") == [(1,)]


async def test_the_oldest_task_without_a_result_is_known(path):
    clock = Clock()
    async with SqliteStore(path, clock_ns=clock) as store:
        assert await store.oldest_submitted() is None
        await store.submitted(["a"])
        clock.moment += timedelta(seconds=60)
        await store.submitted(["b"])
        assert await store.oldest_submitted() == MOMENT
        await store.save(done("a"))
        assert await store.oldest_submitted() == MOMENT + timedelta(seconds=60)


async def test_what_settles_a_task_under_another_id_takes_both_off_the_submitted(store):
    await store.submitted(["own", "beside", "other"])
    await store.save(parked("beside"), Remains(b"{}"), settled_id="own")
    assert await store.known(["own", "other"]) == {"other": "submitted"}
