"""One connection to the file: transactions that are whole or nothing, and errors that say what they mean."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scraper.broker.sqlite_schema import away, opened, opening_error
from scraper.errors import Unavailable


class SharedFile:
    """For one thread. What fails after opening raises Unavailable and has changed nothing."""

    def __init__(self, path: Path, *, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._synchronous = ""
        self._commits = 0

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    @contextmanager
    def opening(self) -> Iterator[sqlite3.Connection]:
        """Open the file and do what else belongs to that in one transaction; Misconfigured says what is wrong."""
        self._connection = opened(self._path, busy_seconds=self._busy_seconds)
        try:
            self._identity = _identity(self._path)
            with _transaction(self._connection):
                yield self._connection
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise opening_error(self._path, error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise Unavailable(f"the queue in {self._path} is closed")
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise away(self._path, error) from error

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing. A durable one is on the disk then; others may be lost with power."""
        self._check_it_is_there()
        with self.reading() as db:
            synchronous = "FULL" if durable else "NORMAL"
            if synchronous != self._synchronous:
                # by executescript: a cached PRAGMA statement takes effect only when it is prepared anew
                db.executescript(f"PRAGMA synchronous = {synchronous}")
                self._synchronous = synchronous
            with _transaction(db):
                yield db
            self._commits += 1

    def version(self) -> tuple[int, int]:
        """Moves whenever anybody has written."""
        with self.reading() as db:
            (by_others,) = db.execute("PRAGMA data_version").fetchone()  # counts what other connections commit
        return by_others, self._commits

    def _check_it_is_there(self) -> None:
        """SQLite goes on writing to a file that was deleted; nobody would ever find those messages."""
        try:
            identity = _identity(self._path)
        except OSError as error:
            raise away(self._path, error) from error
        if identity != self._identity:
            raise Unavailable(f"the queue in {self._path} was replaced by another file: restart to use that one")


def _identity(path: Path) -> tuple[int, int]:
    stat = os.stat(path)  # noqa: PTH116 on the way of every message; Path.stat takes three times as long
    return stat.st_dev, stat.st_ino


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
