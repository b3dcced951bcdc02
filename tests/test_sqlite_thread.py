import asyncio
import sqlite3
import threading

import pytest

from scraper.database import connected
from scraper.sqlite_thread import SqliteThread


@pytest.fixture
async def thread(tmp_path):
    path = tmp_path / "some.db"

    def connect():
        database = connected(path, busy_seconds=5)
        database.execute("CREATE TABLE IF NOT EXISTS numbers (n INTEGER CHECK (n < 1000))")
        return database

    thread = SqliteThread(connect, path=path)
    await thread.start()
    yield thread
    await thread.stop()


def insert(number):
    return lambda database: database.execute("INSERT INTO numbers VALUES (?)", (number,))


async def numbers(thread):
    return await thread.read(lambda database: [n for (n,) in database.execute("SELECT n FROM numbers ORDER BY n")])


async def held_up(thread):
    """Keep the thread busy until the event is set, so that what comes meanwhile waits together."""
    go = threading.Event()
    busy = asyncio.create_task(thread.read(lambda _: go.wait(30)))
    await asyncio.sleep(0)
    return go, busy


async def test_the_event_loop_goes_on_while_the_database_works(thread):
    go, busy = await held_up(thread)
    await asyncio.sleep(0)
    assert not busy.done()
    go.set()
    assert await busy


async def test_writes_that_wait_anyway_share_one_transaction(thread):
    statements = []
    await thread.read(lambda database: database.set_trace_callback(statements.append))
    go, busy = await held_up(thread)
    writes = [asyncio.create_task(thread.write(insert(number))) for number in range(20)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(busy, *writes)
    assert statements.count("COMMIT") == 1
    assert await numbers(thread) == list(range(20))


async def test_a_write_that_is_wrong_spoils_no_other(thread):
    go, busy = await held_up(thread)
    writes = [asyncio.create_task(thread.write(insert(number))) for number in (1, 5000, 2, object(), 3)]
    await asyncio.sleep(0)
    go.set()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    await busy
    assert [isinstance(outcome, sqlite3.Error) for outcome in outcomes] == [False, True, False, True, False]
    assert await numbers(thread) == [1, 2, 3]


async def test_a_write_that_fails_half_way_leaves_nothing(thread):
    def half(database):
        insert(1)(database)
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        await thread.write(half)
    assert await numbers(thread) == []


async def test_a_write_cancelled_before_its_turn_is_not_made(thread):
    go, busy = await held_up(thread)
    write = asyncio.create_task(thread.write(insert(1)))
    await asyncio.sleep(0)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    go.set()
    await busy
    assert write.cancelled()
    assert await numbers(thread) == []


async def test_what_was_asked_for_is_done_before_it_stops(tmp_path):
    path = tmp_path / "some.db"
    thread = SqliteThread(lambda: connected(path, busy_seconds=5), path=path)
    await thread.start()
    write = asyncio.create_task(thread.write(lambda database: database.execute("CREATE TABLE made (a)")))
    await asyncio.sleep(0)
    await thread.stop()
    await write
    database = sqlite3.connect(path)
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("made",)]
    database.close()
