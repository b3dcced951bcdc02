"""Answers that were given once, so that the same question costs no second call.

A new answer is written in the transaction of the next result, which is the one it led to and comes within
milliseconds: on its own it would cost a write to the disk for every task. What that misses is asked again one day.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from scraper.json_text import read_json, write_json
from scraper.models import Json
from scraper.sqlite_thread import SqliteThread


class SqliteAnswers:
    """Fulfils `scraper.ports.Answers` within a store."""

    def __init__(self, thread: SqliteThread, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._thread = thread
        self._clock_ns = clock_ns
        self._unwritten: dict[bytes, str] = {}

    async def find(self, key: bytes) -> Json | None:
        if (text := self._unwritten.get(key)) is None:
            row = await self._thread.read(lambda database: database.execute(_FIND, (key,)).fetchone())
            if row is None:
                return None
            text = row[0]
        return read_json(text)

    async def keep(self, key: bytes, answer: Json) -> None:
        self._unwritten[key] = write_json(answer)

    def to_write(self) -> dict[bytes, str]:
        """What the next transaction shall write."""
        return dict(self._unwritten)

    def write(self, database: sqlite3.Connection, answers: dict[bytes, str]) -> None:
        """Within a transaction, on the database's thread."""
        at_us = self._clock_ns() // 1000
        database.executemany(_KEEP, [(key, at_us, text) for key, text in answers.items()])

    def written(self, answers: dict[bytes, str]) -> None:
        """They are on the disk."""
        for key, text in answers.items():
            if self._unwritten.get(key) is text:
                del self._unwritten[key]


_FIND = "SELECT answer FROM results_answers WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO results_answers (key, kept_at, answer) VALUES (?, ?, ?)"
