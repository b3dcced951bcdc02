"""Switching an SQLite file to write-ahead logging, in which readers and one writer do not hinder each other."""

from __future__ import annotations

import sqlite3
import time

_AGAIN_SECONDS = 0.02
_PRIMARY = 0xFF  # an extended result code carries its primary one in the low byte


def use_write_ahead_log(connection: sqlite3.Connection, *, busy_seconds: float) -> bool:
    """Whether the file now has a write-ahead log; False where its file system cannot share memory.

    The switch is made once per file. While several processes make it together, SQLite says "locked" without the wait
    that its busy timeout promises, so this tries again for `busy_seconds`. Raises sqlite3.Error as SQLite does.
    """
    give_up = time.monotonic() + busy_seconds
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & _PRIMARY) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(_AGAIN_SECONDS)
        else:
            return bool(mode == "wal")
