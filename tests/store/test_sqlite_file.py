import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scraper.errors import Misconfigured, Unavailable
from scraper.models import Page, ParkReason, Remains
from scraper.store.sqlite import SqliteStore
from tests.store.results import done, query, rows_of


async def opened(path, **options):
    async with SqliteStore(path, **options):
        pass


async def test_missing_folders_are_made(tmp_path):
    await opened(tmp_path / "a" / "b" / "results.db")
    assert (tmp_path / "a" / "b" / "results.db").exists()


async def test_a_store_to_read_from_is_not_made(tmp_path):
    with pytest.raises(Misconfigured, match=r"RESULTS_URL: there is no database .*typo.db"):
        await opened(tmp_path / "typo.db", create=False)
    assert list(tmp_path.iterdir()) == []


async def test_the_log_is_written_ahead_and_fully_synced(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        read = store.thread.read
        await store.save(done())
        assert await read(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
        assert await read(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (2,)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "results.db"
    path.write_bytes(b"task_id,status\n" * 100)
    with pytest.raises(Misconfigured, match=r"RESULTS_URL: .*results.db is not an SQLite database; name another file"):
        await opened(path)
    assert path.read_bytes() == b"task_id,status\n" * 100


async def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match=r"RESULTS_URL: .* cannot be opened; it must be a file"):
        await opened(tmp_path)


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"RESULTS_URL: the folder of .* cannot be created"):
        await opened(tmp_path / "file" / "results.db")


async def test_a_database_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "results.db"
    await opened(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE results_meta SET value = 99 WHERE key = 'schema_version'")
    with pytest.raises(Misconfigured, match=r"RESULTS_URL: .*newer scraper \(version 99, this one knows 3\)"):
        await opened(path)


async def test_a_database_of_version_1_keeps_everything_and_learns_the_rest(tmp_path):
    """The file was written by version 1 itself."""
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((Path(__file__).parent / "version_1.sql").read_text())
    for _ in range(2):  # the second opening finds nothing to do
        async with SqliteStore(path) as store:
            assert [(row.task_id, row.status) for row in await rows_of(store)] == [
                ("done-one", "done"),
                ("parked-one", "parked"),
            ]
            assert await store.remains("parked-one") == Remains(
                b'{"url":"https://a.example/2","schema":"product"}',
                page=Page("https://a.example/2", "<p>Grüße</p>"),
                answer='{"na',
            )
            assert await store.known(["waiting-one"]) == {"waiting-one": "submitted"}
            assert await store.counts() == {("done", None): 1, ("parked", ParkReason.PAGE_GONE): 1}
    assert query(path, "SELECT value FROM results_meta") == [(3,)]


async def test_a_program_of_version_1_goes_on_while_the_database_is_upgraded(tmp_path):
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript((Path(__file__).parent / "version_1.sql").read_text())
        save = "INSERT OR REPLACE INTO results_remains (body, page, answer, seq) VALUES (?, NULL, NULL, 2)"
        old.execute(save, (b"before",))
        async with SqliteStore(path) as store:
            old.execute(save, (b"after",))
            assert await store.remains("parked-one") == Remains(b"after")


async def test_an_upgrade_that_cannot_finish_changes_nothing(tmp_path):
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((Path(__file__).parent / "version_1.sql").read_text())
        database.execute("CREATE TABLE results_answers (somebody, elses)")
    with pytest.raises(Misconfigured, match="RESULTS_URL"):
        await opened(path)
    assert query(path, "SELECT value FROM results_meta") == [(1,)]
    assert "page_url" not in query(path, "SELECT sql FROM sqlite_master WHERE name = 'results_remains'")[0][0]


async def test_a_file_shared_with_other_tables_is_fine(tmp_path):
    path = tmp_path / "scraper.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE queue_tasks (a)")
        database.execute("INSERT INTO queue_tasks VALUES (1)")
    async with SqliteStore(path) as store:
        await store.save(done())
    assert query(path, "SELECT a FROM queue_tasks") == [(1,)]


async def test_many_stores_open_a_new_file_at_once(tmp_path):
    await asyncio.gather(*(opened(tmp_path / "results.db") for _ in range(12)))
    assert query(tmp_path / "results.db", "SELECT key, value FROM results_meta") == [("schema_version", 3)]


async def test_a_lock_that_lasts_is_unavailable_and_then_fine_again(tmp_path):
    path = tmp_path / "results.db"
    async with SqliteStore(path, busy_seconds=0.01) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match=r"results.db: locked by another process"):
                await store.save(done())
            other.execute("ROLLBACK")
        assert await rows_of(store) == []
        await store.save(done())
        assert await rows_of(store) == [done()]


async def test_a_locked_new_file_is_unavailable_not_misconfigured(tmp_path):
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked by another process"):
            await opened(path, busy_seconds=0.01)


async def test_reading_goes_on_while_another_process_writes(tmp_path):
    path = tmp_path / "results.db"
    async with SqliteStore(path, busy_seconds=0.01) as store:
        await store.save(done())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await rows_of(store) == [done()]


async def test_a_full_disk_is_unavailable_and_then_fine_again(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        pages = await store.thread.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store.thread.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
        await store.submitted(["one", "two"])
        saves = [store.save(done(name, data="x" * 50_000)) for name in ("one", "two")]
        errors = await asyncio.gather(*saves, return_exceptions=True)
        assert [type(error) for error in errors] == [Unavailable, Unavailable]
        assert "disk full" in str(errors[0])
        assert await rows_of(store) == []
        assert await store.known(["one", "two"]) == {"one": "submitted", "two": "submitted"}
        await store.thread.read(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
        await store.save(done("one", data="x" * 50_000))
        assert len(await rows_of(store)) == 1
        assert await store.counts() == {("done", None): 1}


async def test_a_file_deleted_under_a_store_is_said_and_a_new_one_begun(tmp_path):
    path = tmp_path / "results.db"
    async with SqliteStore(path) as store:
        await store.save(done("one"))
        for each in tmp_path.iterdir():
            each.unlink()
        await store.save(done("two"))
        assert await rows_of(store) == [done("two")]
    assert query(path, "SELECT task_id FROM results_rows") == [("two",)]


async def test_a_file_deleted_in_the_middle_of_a_write_takes_nothing_with_it(tmp_path):
    path = tmp_path / "results.db"
    async with SqliteStore(path) as store:

        def delete(database):
            database.execute("INSERT INTO results_submitted (task_id, submitted_at) VALUES ('one', 1)")
            path.unlink()

        with pytest.raises(Unavailable, match="moved or deleted while in use"):
            await store.thread.write(delete)
        await store.save(done("two"))
    assert query(path, "SELECT task_id FROM results_rows") == [("two",)]


async def test_a_file_replaced_by_something_else_is_unavailable_until_it_is_back(tmp_path):
    path, aside = tmp_path / "results.db", tmp_path / "aside"
    aside.mkdir()
    async with SqliteStore(path) as store:
        await store.save(done("one"))
        for each in tmp_path.glob("results.db*"):
            each.rename(aside / each.name)
        path.write_bytes(b"not a database, and long enough to be seen as something else" * 20)
        with pytest.raises(Unavailable, match="not an SQLite database"):
            await store.save(done("two"))
        for each in aside.iterdir():
            each.replace(tmp_path / each.name)
        await store.save(done("two"))
        assert [row.task_id for row in await rows_of(store)] == ["one", "two"]


async def test_a_closed_store_says_so(tmp_path):
    async with SqliteStore(tmp_path / "results.db") as store:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await store.save(done())
