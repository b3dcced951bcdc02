"""One SQLite connection on a thread of its own, so that waiting for a disk or a lock never stops the event loop.

Whatever writes are waiting when the thread gets to them share one transaction and so one fsync: the busier the
callers, the cheaper each write. A write that fails for a reason of its own is taken out and the rest committed; where
the database itself fails, nothing of the group is written and every one of them hears `Unavailable`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar, cast

from scraper.errors import Misconfigured, Unavailable

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]
_Outcome: TypeAlias = tuple["_Job", object, BaseException | None]

LET_OTHERS_WRITE_SECONDS = 0.1
"""Pause between many writes in a row: whoever waits for SQLite's lock looks after it no more often than that."""
MOST_WRITES_IN_ONE_TRANSACTION = 256  # bounds how long one commit holds the file against other processes

_GONE_WRONG = {
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked by another process",
    sqlite3.SQLITE_PROTOCOL: "locked by another process",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_READONLY: "not writable",
    sqlite3.SQLITE_PERM: "not writable",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "not a database any more",
}
_SAME_CONNECTION_WILL_DO = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where Python's own checks raised."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def unavailable(error: sqlite3.Error, path: Path) -> Unavailable | None:
    """What the failure of the database is called, or None where the statement alone was wrong."""
    trouble = _GONE_WRONG.get(primary_code(error))
    return None if trouble is None else Unavailable(f"database {path}: {trouble} ({error})")


class SqliteThread:
    """Runs functions of a connection on one thread, in the order they were asked for, writes of a batch first.

    `connect` is called on the thread; what it raises at the first opening is raised by `start`. A connection that
    failed, or whose file was moved away or deleted, is replaced by a new one: a write into a deleted file would be
    lost without a word.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, path: Path) -> None:
        self._connect = connect
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._stopping = True

    async def start(self) -> None:
        """Open the database; raises what `connect` raises."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._stopping = opened = False
        threading.Thread(target=self._run, name=f"sqlite {self._path.name}", daemon=True).start()
        try:
            await self.read(lambda _: None)
            opened = True
        finally:
            if not opened:
                await self.stop()

    async def stop(self) -> None:
        """Finish what was asked for, close, end the thread."""
        self._stopping = True
        self._jobs.put(None)
        await self._ended.wait()

    async def read(self, work: Work[T]) -> T:
        """What `work` returns. It sees everything committed before it runs."""
        return await self._do(work, writes=False)

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, once its changes are on the disk.

        `work` may run more than once and must only change the database. Cancelled: written or not, never half.
        """
        return await self._do(work, writes=True)

    async def _do(self, work: Work[T], *, writes: bool) -> T:
        if self._stopping:
            raise Unavailable(f"database {self._path}: closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(work, writes, future))
        return cast("T", await future)

    def _run(self) -> None:
        going = True
        while going:
            jobs, going = self._next_jobs()
            if jobs:
                self._report(self._work_off(jobs))
        self._close()
        with suppress(RuntimeError):  # the loop was closed without waiting for us
            self._loop.call_soon_threadsafe(self._ended.set)

    def _next_jobs(self) -> tuple[list[_Job], bool]:
        """Wait for work and take all there is; False after the last."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        with suppress(Empty):
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST_WRITES_IN_ONE_TRANSACTION:
                    return jobs, True
                job = self._jobs.get_nowait()
            return jobs, False
        return jobs, True

    def _work_off(self, jobs: Sequence[_Job]) -> list[_Outcome]:
        wanted = [job for job in jobs if not job.future.cancelled()]
        writes = [job for job in wanted if job.writes]
        reads = [job for job in wanted if not job.writes]
        outcomes = self._commit(writes) if writes else []
        for job in reads:
            try:
                outcomes.append((job, job.work(self._database()), None))
            except Exception as error:  # noqa: BLE001 raised where it was asked for
                outcomes.append((job, None, self._translated(error)))
        return outcomes

    def _commit(self, jobs: Sequence[_Job]) -> list[_Outcome]:
        """All of `jobs` in one transaction, without those that fail for a reason of their own."""
        spoilt: list[_Outcome] = []
        remaining = list(jobs)
        while remaining:
            job: _Job | None = None
            try:
                database = self._database()
                database.execute("BEGIN IMMEDIATE")
                done: list[_Outcome] = []
                for job in remaining:
                    done.append((job, job.work(database), None))  # noqa: PERF401 so that it is known which failed
                job = None
                if self._moved():
                    raise Unavailable(f"database {self._path}: moved or deleted while in use")  # noqa: TRY301
                database.execute("COMMIT")
                return spoilt + done
            except Exception as error:  # noqa: BLE001 raised where it was asked for
                failure = self._rolled_back(error)
                if job is None and not isinstance(failure, Unavailable):  # a commit refused for no reason we know
                    failure = Unavailable(f"database {self._path}: {failure}")
                if isinstance(failure, Unavailable):
                    return spoilt + [(each, None, Unavailable(str(failure))) for each in remaining]
                assert job is not None
                spoilt.append((job, None, failure))
                remaining.remove(job)
        return spoilt

    def _rolled_back(self, error: Exception) -> Exception:
        if self._connection is not None and self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        return self._translated(error)

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        failure = unavailable(error, self._path)
        if failure is None:
            return error
        if primary_code(error) not in _SAME_CONNECTION_WILL_DO:
            self._close()
        failure.__cause__ = error
        return failure

    def _database(self) -> sqlite3.Connection:
        if self._connection is not None and self._moved():
            self._close()
        if self._connection is None:
            reopening = self._file is not None
            try:
                self._connection = self._connect()
            except Misconfigured as error:
                if reopening:  # it was right once: somebody is at work on it
                    raise Unavailable(str(error)) from error
                raise
            self._file = self._identity()
        return self._connection

    def _moved(self) -> bool:
        return self._identity() != self._file

    def _identity(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)  # noqa: PTH116 half the price of Path.stat, once per write
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _report(self, outcomes: Sequence[_Outcome]) -> None:
        with suppress(RuntimeError):  # the loop was closed without waiting for us
            self._loop.call_soon_threadsafe(_settle, outcomes)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Work[Any]
    writes: bool
    future: asyncio.Future[Any]


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for job, value, error in outcomes:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(value)
        else:
            job.future.set_exception(error)
