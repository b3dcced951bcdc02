"""One SQLite connection on a thread of its own, so that waiting for a disk or a lock never stops the event loop.

Results and the embedded queue share it where they share a file: two connections of one process would wait for each
other's locks and read again what the other has just written.

Whatever writes are waiting when the thread gets to them share one transaction and so one fsync: the busier the
callers, the cheaper each write. A write that fails for a reason of its own is taken out and the rest committed; where
the database itself fails, nothing of the group is written and every one of them hears `Unavailable`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar, cast

from scraper.database import Database, DatabaseFile
from scraper.errors import Unavailable

T = TypeVar("T")
Work: TypeAlias = Callable[[Database], T]
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

    `connect` is called on the thread; what it raises at the first opening is raised by `start`.
    """

    def __init__(self, connect: Callable[[], Database], *, path: Path) -> None:
        self.file = DatabaseFile(connect, path=path)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._stopping = True

    async def start(self) -> None:
        """Open the database; raises what `connect` raises."""
        self._loop = asyncio.get_running_loop()
        self._stopping = opened = False
        threading.Thread(target=self._run, name=f"sqlite {self.file.path.name}", daemon=True).start()
        try:
            await self.read(lambda _: None)
            opened = True
        finally:
            if not opened:
                await self.stop()

    async def stop(self) -> None:
        """Finish what was asked for, close, end the thread."""
        self.take_no_more()
        await asyncio.shield(self._closed)

    def take_no_more(self) -> None:
        """The file is closed and the thread ends when what was asked for is done."""
        if not self._stopping:
            self._closed = self.run(self.file.close)
            self._stopping = True
            self._jobs.put(None)

    async def read(self, work: Work[T]) -> T:
        """What `work` returns. It sees everything committed before it runs."""
        return await self.run(lambda: work(self.file.connection()))

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """What `work` returns, once its changes are committed: on the disk, if `durable`.

        `work` may run more than once and must only change the database. Cancelled: written or not, never half.
        """
        return cast("T", await self._asked(_Job(work, self._loop.create_future(), writes=True, durable=durable)))

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """What `job` returns, in its turn. It sees to its transactions itself; cancelled before that it is not run."""
        return self._asked(_Job(job, self._loop.create_future()))

    def _asked(self, job: _Job) -> asyncio.Future[Any]:
        if self._stopping:
            raise Unavailable(f"database {self.file.path}: closed")
        self._jobs.put(job)
        return job.future

    def _run(self) -> None:
        going = True
        while going:
            jobs, going = self._next_jobs()
            if jobs:
                self._report(self._work_off(jobs))

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
                outcomes.append((job, job.work(), None))
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
                database = self.file.connection()
                database.begin(durable=any(job.durable for job in remaining))
                done: list[_Outcome] = []
                for job in remaining:
                    done.append((job, job.work(database), None))  # noqa: PERF401 so that it is known which failed
                job = None
                if self.file.moved():
                    raise Unavailable(f"database {self.file.path}: moved or deleted while in use")  # noqa: TRY301
                database.execute("COMMIT")
                return spoilt + done
            except Exception as error:  # noqa: BLE001 raised where it was asked for
                failure = self._rolled_back(error)
                if job is None and not isinstance(failure, Unavailable):  # a commit refused for no reason we know
                    failure = Unavailable(f"database {self.file.path}: {failure}")
                if isinstance(failure, Unavailable):
                    return spoilt + [(each, None, Unavailable(str(failure))) for each in remaining]
                assert job is not None
                spoilt.append((job, None, failure))
                remaining.remove(job)
        return spoilt

    def _rolled_back(self, error: Exception) -> Exception:
        self.file.roll_back()
        return self._translated(error)

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        failure = unavailable(error, self.file.path)
        if failure is None:
            return error
        if primary_code(error) not in _SAME_CONNECTION_WILL_DO:
            self.file.close()
        failure.__cause__ = error
        return failure

    def _report(self, outcomes: Sequence[_Outcome]) -> None:
        with suppress(RuntimeError):  # the loop was closed without waiting for us
            self._loop.call_soon_threadsafe(_settle, outcomes)


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[..., Any]
    future: asyncio.Future[Any]
    writes: bool = False  # in a transaction that it shares: it is given the connection
    durable: bool = False


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for job, value, error in outcomes:
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(value)
        else:
            job.future.set_exception(error)
