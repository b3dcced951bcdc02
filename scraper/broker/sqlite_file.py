"""The queue's hold on its file: transactions that are whole or nothing, and errors that say what they mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from scraper.broker.sqlite_schema import away, opening_error, prepare, readable
from scraper.database import Database, DatabaseFile
from scraper.errors import Unavailable


class SharedFile:
    """For the thread of `file`. What fails after opening raises Unavailable and has changed nothing.

    The file that was opened is the one to work with: in another one of its name nobody's messages would be found.
    """

    def __init__(self, file: DatabaseFile) -> None:
        self._file = file
        self._identity = (0, 0)
        self._known: Database | None = None
        self._commits = 0

    @contextmanager
    def opening(self) -> Iterator[Database]:
        """Make the queue's tables; what else belongs to that is one transaction. Misconfigured says what is wrong."""
        path = self._file.path
        try:
            db = self._connection()
            prepare(path, db)
            with _transaction(db, durable=True):
                yield db
        except (sqlite3.Error, OSError) as error:
            raise opening_error(path, error) from error
        self._identity = self._file.identity()

    @contextmanager
    def reading(self) -> Iterator[Database]:
        self._check_it_is_there()
        try:
            yield self._connection()
        except sqlite3.Error as error:
            raise away(self._file.path, error) from error

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Database]:
        """One transaction: all of it or nothing. A durable one is on the disk then; others may be lost with power."""
        with self.reading() as db:
            with _transaction(db, durable=durable):
                yield db
            self._commits += 1

    def version(self) -> tuple[int, int]:
        """Moves whenever anybody has written."""
        with self.reading() as db:
            (by_others,) = db.execute("PRAGMA data_version").fetchone()  # counts what other connections commit
        return by_others, self._commits

    def _connection(self) -> Database:
        db = self._file.connection()
        if db is not self._known:
            db.text_factory = readable
            self._known = db
            self._commits += 1  # it counts anew what others commit
        return db

    def _check_it_is_there(self) -> None:
        if (identity := self._file.identity()) != self._identity:
            where = f"the queue in {self._file.path}"
            raise Unavailable(
                f"{where} was replaced by another file: restart to use that one"
                if any(identity)
                else f"{where} is away: its file was moved or deleted"
            )


@contextmanager
def _transaction(connection: Database, *, durable: bool) -> Iterator[None]:
    connection.begin(durable=durable)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
