"""Whose turn it is at a web host: one delay per host, shared by every worker process of this machine.

A small SQLite table in the run directory holds, for each host, the moment from which the next request may start.
Taking a turn moves that moment on by the delay, in one write transaction, so two processes never get the same one. A
turn that was taken and not used (cancelled while waiting for it) is lost: the host rests a little longer, nothing else
happens.

All times are readings of the machine's monotonic clock, which its processes share and a reboot restarts; rows of
another boot are ignored. Everything here blocks: call it from a thread.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from scraper.errors import Misconfigured
from scraper.host import boot_id, own_folder
from scraper.write_ahead import use_write_ahead_log

MAX_PUSH_SECONDS = 3600.0
"""The longest a site's Retry-After keeps everyone away; longer ones are asked again after an hour."""
BUSY_SECONDS = 5.0
"""How long to wait for other processes' writes, each of which takes well under a millisecond."""
PRUNE_EVERY = 256
"""Turns taken by one process between two sweeps of moments that have passed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """`reserved`: start in `wait_seconds`. Otherwise nothing was reserved; ask again in `wait_seconds`."""

    wait_seconds: float
    reserved: bool


class HostTurns:
    """The table. Not for use by two threads at once."""

    def __init__(self, path: Path, *, clock: Callable[[], float], boot: str | None = None) -> None:
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._taken = 0
        own_folder(path.parent)
        try:
            with _alone(path.parent):
                self._db = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"RUN_DIR: the table of host turns {path} cannot be used: {error}") from error

    def take(self, host: str, *, delay_seconds: float, max_wait_seconds: float) -> Turn:
        """Reserve the host's next turn if it is at most `max_wait_seconds` away; the one after comes a delay later."""
        if delay_seconds <= 0:  # nothing to reserve: only stay away while the site asked for it
            wait = max(0.0, self._next_at(host, now := self._clock()) - now)
            return Turn(wait, reserved=wait <= max_wait_seconds)
        with self._transaction():
            now = self._clock()  # read inside the lock, or a wait for the lock would make the moment old
            starts_at = max(now, self._next_at(host, now))
            if starts_at - now > max_wait_seconds:
                return Turn(starts_at - now, reserved=False)
            self._set(host, starts_at + delay_seconds)
            self._prune(now)
        return Turn(starts_at - now, reserved=True)

    def push(self, host: str, *, seconds: float) -> None:
        """Nobody's turn at `host` comes sooner than in `seconds` (at most an hour): the site has said so."""
        with self._transaction():
            now = self._clock()
            until = now + min(max(0.0, seconds), MAX_PUSH_SECONDS)
            if until > self._next_at(host, now):
                self._set(host, until)

    def close(self) -> None:
        self._db.close()

    def _transaction(self) -> _Immediate:
        return _Immediate(self._db)

    def _next_at(self, host: str, now: float) -> float:
        """The moment of the next turn; long past where nothing (credible) is known."""
        row = self._db.execute(
            "SELECT next_at FROM host_turns WHERE host = ? AND boot = ?", (host, self._boot)
        ).fetchone()
        # Without a boot id, a moment further away than any push is one of another boot.
        return row[0] if row and row[0] <= now + 2 * MAX_PUSH_SECONDS else float("-inf")

    def _set(self, host: str, next_at: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO host_turns VALUES (?, ?, ?)", (host, next_at, self._boot))

    def _prune(self, now: float) -> None:
        self._taken += 1
        if self._taken % PRUNE_EVERY == 1:
            self._db.execute("DELETE FROM host_turns WHERE next_at < ? OR boot <> ?", (now, self._boot))


class _Immediate:
    """A write transaction from its first statement on, so that what was read is still true when it is written."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> Self:
        self._db.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._db.execute("COMMIT" if error is None else "ROLLBACK")
        finally:
            if (
                self._db.in_transaction
            ):  # a commit that failed, on a full disk say: the next turn must not stumble over it
                self._db.execute("ROLLBACK")


def _opened(path: Path) -> sqlite3.Connection:
    """A table that a power cut has damaged is made anew: the reboot voids every row anyway."""
    try:
        return _whole(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    return _whole(path)


def _whole(path: Path) -> sqlite3.Connection:
    """The table, opened and looked through. Raises sqlite3.Error."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        use_write_ahead_log(database, busy_seconds=BUSY_SECONDS)  # without one it is slower and as right
        database.execute("PRAGMA synchronous = OFF")  # worth nothing after a power cut: a reboot voids every row
        database.execute(
            "CREATE TABLE IF NOT EXISTS host_turns ("
            "host TEXT PRIMARY KEY, next_at REAL NOT NULL, boot TEXT NOT NULL) WITHOUT ROWID"
        )
        if (found := database.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            damaged = sqlite3.DatabaseError(*found)
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged
    except sqlite3.Error:
        database.close()
        raise
    return database


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of several processes that find it damaged, none removes what another has just made."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
