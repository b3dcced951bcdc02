"""Several processes on one file, and what a killed one leaves behind."""

import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from scraper.store.sqlite import SqliteStore
from tests.store.results import query, rows_of


def writer(path, name, count):
    command = [sys.executable, "-m", "tests.store.writer", str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def assert_intact(path):
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    kept = query(path, "SELECT status, ifnull(reason, ''), n FROM results_counts WHERE n > 0")
    counted = query(path, "SELECT status, ifnull(reason, ''), count(*) FROM results_rows GROUP BY 1, 2")
    assert sorted(kept) == sorted(counted)
    half = """
    SELECT task_id FROM results_rows LEFT JOIN results_remains USING (seq)
    WHERE (status = 'parked') != (length(body) = 6000 AND page IS NOT NULL)
    """
    assert query(path, half) == []
    assert (
        query(path, "SELECT task_id FROM results_submitted WHERE task_id IN (SELECT task_id FROM results_rows)") == []
    )


async def test_four_processes_write_into_one_new_file(tmp_path):
    path = tmp_path / "results.db"
    with ExitStack() as stack:
        writers = [stack.enter_context(writer(path, f"writer{number}", 60)) for number in range(4)]
        said = [process.communicate(timeout=300)[0].split() for process in writers]
    assert [process.returncode for process in writers] == [0, 0, 0, 0]
    async with SqliteStore(path, create=False) as store:
        stored = [row.task_id for row in await rows_of(store)]
    assert sorted(stored) == sorted(task_id for each in said for task_id in each)
    assert len(stored) == 240
    assert_intact(path)


@pytest.mark.parametrize("saves_before_the_end", [1, 40, 150])
async def test_a_killed_writer_loses_nothing_that_it_had_saved_and_leaves_nothing_half(tmp_path, saves_before_the_end):
    path = tmp_path / "results.db"
    with writer(path, "killed", 1_000_000) as process, writer(path, "other", 60) as other:
        said = [process.stdout.readline().strip() for _ in range(saves_before_the_end)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().split()
        assert len(other.communicate(timeout=300)[0].split()) == 60
    assert_intact(path)
    async with SqliteStore(path, create=False) as store:
        known = await store.known(said)
        assert len(said) >= saves_before_the_end
        assert {task_id for task_id in said if known.get(task_id) not in {"done", "parked"}} == set()
        counts = await store.counts()
    assert sum(counts.values()) >= len(said) + 60


def test_a_disk_that_takes_no_more_is_unavailable_and_then_fine_again(tmp_path):
    """The operating system's own refusal, in a process of its own: a limit on the size of files."""
    script = f"""
import asyncio, resource
from scraper.errors import Unavailable
from scraper.store.sqlite import SqliteStore
from tests.store.results import done, rows_of

async def main():
    async with SqliteStore({str(tmp_path / "results.db")!r}) as store:
        await store.save(done("small"))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
        try:
            await store.save(done("large", data="x" * 500_000))
        except Unavailable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        print(len(await rows_of(store)))
        await store.save(done("large", data="x" * 500_000))
        print(len(await rows_of(store)))

asyncio.run(main())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert ran.stderr == ""
    error, between, after = ran.stdout.splitlines()
    assert "input/output error" in error or "disk full" in error
    assert (between, after) == ("1", "2")
    assert query(tmp_path / "results.db", "PRAGMA integrity_check") == [("ok",)]
