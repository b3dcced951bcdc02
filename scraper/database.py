"""One connection to an SQLite file that several processes share, opened anew where that must be. For one thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scraper.errors import Misconfigured, Unavailable

_WAL_LIMIT_BYTES = 64 << 20  # what a burst leaves behind on disk at most


class Database(sqlite3.Connection):
    """In autocommit mode: nothing is written but between `begin` and COMMIT."""

    _synchronous = ""

    def begin(self, *, durable: bool) -> None:
        """A durable transaction is on the disk with its COMMIT; any other may be lost with power, whole, never in part.

        What is lost is always the end: a durable transaction takes all before it to the disk, whoever wrote them.
        """
        synchronous = "FULL" if durable else "NORMAL"
        if synchronous != self._synchronous:
            # by executescript: a cached PRAGMA statement takes effect only when it is prepared anew
            self.executescript(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        self.execute("BEGIN IMMEDIATE")


def connected(path: Path, *, busy_seconds: float) -> Database:
    """Raises sqlite3.Error; a file is made where there is none."""
    database = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, cached_statements=64, factory=Database)
    try:
        database.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk there
        database.execute("PRAGMA secure_delete = OFF")  # some builds overwrite what they delete: twice the writing
        database.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    except BaseException:
        database.close()
        raise
    return database


class DatabaseFile:
    """A connection that failed, or whose file was moved away or deleted, is replaced by a new one.

    SQLite goes on writing to a file that was deleted, and nobody would ever find what is in there.
    """

    def __init__(self, connect: Callable[[], Database], *, path: Path) -> None:
        self.path = path
        self._connect = connect
        self._connection: Database | None = None
        self._opened: tuple[int, int] | None = None

    def connection(self) -> Database:
        """Raises what `connect` raises; after the first time Unavailable where that was Misconfigured."""
        if self._connection is not None and self.moved():
            self.close()
        if self._connection is None:
            try:
                self._connection = self._connect()
            except Misconfigured as error:
                if self._opened is not None:  # it was right once: somebody is at work on it
                    raise Unavailable(str(error)) from error
                raise
            self._opened = self.identity()
        return self._connection

    def moved(self) -> bool:
        """Whether there is another file now, or none."""
        return self.identity() != self._opened

    def identity(self) -> tuple[int, int]:
        """Of the file that is there now; zeros where there is none."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 on the way of every task; Path.stat takes three times as long
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
