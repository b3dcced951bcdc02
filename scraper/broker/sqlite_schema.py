"""The tables of the embedded queue, and how its file is opened.

A message is one small row that changes hands, and beside it the body, which is written once and never touched again.
Three partial indexes, one per state, hold exactly the rows that somebody looks for, so that taking one of a million
costs no more than taking one of a thousand. Depths are kept by triggers, never counted.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from scraper.database import Database, connected
from scraper.errors import Misconfigured, ScraperError, Unavailable
from scraper.write_ahead import use_write_ahead_log

SCHEMA_VERSION = 3

READY, WAITING, LEASED = 0, 1, 2

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS queue_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue_names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dead_letters INTEGER            -- the queue for what was delivered too often
);
CREATE TABLE IF NOT EXISTS queue_messages (
    id INTEGER PRIMARY KEY,         -- its place: the smaller, the older
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,         -- 0 ready, 1 waiting, 2 leased
    urgency INTEGER NOT NULL,       -- 0 high, 1 normal
    attempts INTEGER NOT NULL,
    returns INTEGER NOT NULL DEFAULT 0,
    submission INTEGER NOT NULL,
    due REAL,                       -- waiting: until then, on the queue's clock
    owner BLOB,                     -- leased: by whom
    token BLOB,                     -- leased: which of its leases
    task_id TEXT NOT NULL,
    stored_page INTEGER NOT NULL DEFAULT 0,  -- a replay: the page is in the results store
    trail TEXT NOT NULL DEFAULT '',
    traceparent TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS queue_ready ON queue_messages (queue, urgency, id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS queue_waiting ON queue_messages (due) WHERE state = 1;
CREATE INDEX IF NOT EXISTS queue_leased ON queue_messages (owner) WHERE state = 2;
CREATE TABLE IF NOT EXISTS queue_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS queue_depths (
    queue INTEGER NOT NULL, state INTEGER NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (queue, state)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue_owners (
    owner BLOB PRIMARY KEY,         -- one per broker object of a process
    queue INTEGER NOT NULL,         -- the tasks queue its consumers are on
    consumers INTEGER NOT NULL,
    until REAL NOT NULL,            -- all its leases run until then, on the queue's clock
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    pid_namespace TEXT NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS queue_message_came AFTER INSERT ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages + 1 WHERE queue = new.queue AND state = new.state;
END;
CREATE TRIGGER IF NOT EXISTS queue_message_moved AFTER UPDATE OF queue, state ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages - 1 WHERE queue = old.queue AND state = old.state;
    UPDATE queue_depths SET messages = messages + 1 WHERE queue = new.queue AND state = new.state;
END;
CREATE TRIGGER IF NOT EXISTS queue_message_went AFTER DELETE ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages - 1 WHERE queue = old.queue AND state = old.state;
    DELETE FROM queue_bodies WHERE id = old.id;
END;
INSERT OR IGNORE INTO queue_meta VALUES ('schema_version', {version});
COMMIT;
"""
_UPGRADES = {  # from this version to the next; programs of the old one that run meanwhile go on undisturbed
    1: (
        "ALTER TABLE queue_messages ADD COLUMN stored_page INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE queue_messages ADD COLUMN trail TEXT NOT NULL DEFAULT ''",
    ),
    2: ("ALTER TABLE queue_messages ADD COLUMN traceparent TEXT NOT NULL DEFAULT ''",),
}

_SMALLEST_DATABASE_BYTES = 512  # SQLite takes a shorter file for an empty one and writes over it
_COMES_AND_GOES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}


def opened(path: Path, *, busy_seconds: float) -> Database:
    """A connection to the file in `path`, made where it does not exist, which may have no queue yet.

    Raises Misconfigured for what the owner has to put right and Unavailable for what passes by itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _misconfigured(path, f"its folder cannot be made ({error.strerror})") from error
    if path.is_dir():
        raise _misconfigured(path, "it is a folder")
    if path.exists() and 0 < path.stat().st_size < _SMALLEST_DATABASE_BYTES:
        raise _misconfigured(path, "the file is not an SQLite database")
    try:
        connection = connected(path, busy_seconds=busy_seconds)
        try:
            _check_version(path, connection)
            _write_ahead(path, connection, busy_seconds=busy_seconds)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise opening_error(path, error) from error
    return connection


def _write_ahead(path: Path, connection: sqlite3.Connection, *, busy_seconds: float) -> None:
    if not use_write_ahead_log(connection, busy_seconds=busy_seconds):
        raise _misconfigured(path, "its file system has no shared memory for a write-ahead log")


def prepare(path: Path, connection: sqlite3.Connection) -> None:
    """Make the queue's tables, or bring them up to this version. Raises Misconfigured, or sqlite3.Error."""
    _check_version(path, connection)
    _create(connection)
    _upgrade(connection)
    _check_version(path, connection)  # another process may have been first


def readable(stored: bytes) -> str | bytes:
    """One text of another program that is no UTF-8 would let nobody take anything any more."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def opening_error(path: Path, error: sqlite3.Error | OSError) -> ScraperError:
    """What an error at start-up means to the owner."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _COMES_AND_GOES:
        return away(path, error)
    if code == sqlite3.SQLITE_NOTADB:
        return _misconfigured(path, "the file is not an SQLite database")
    return _misconfigured(path, str(error))


def away(path: Path, error: sqlite3.Error | OSError) -> Unavailable:
    """What an error later means: nothing has changed, and trying again may help."""
    return Unavailable(f"the queue in {path} cannot be used now: {error}")


def _misconfigured(path: Path, why: str) -> Misconfigured:
    return Misconfigured(
        f"the queue in {path} cannot be opened: {why}. Set BROKER_URL=sqlite:///PATH to a file on a local disk that "
        "this user may write (a new one is made where there is none), or to amqp://… for RabbitMQ"
    )


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    if (version := _version(connection)) > SCHEMA_VERSION:
        raise Misconfigured(
            f"the queue in {path} was written by a newer scraper (queue version {version}, this one knows "
            f"{SCHEMA_VERSION}). Upgrade scraper, or set BROKER_URL=sqlite:///PATH to another file; nothing was changed"
        )


def _version(connection: sqlite3.Connection) -> int:
    """0 where there is no queue yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'queue_meta'").fetchone():
        return 0
    row = connection.execute("SELECT value FROM queue_meta WHERE key = 'schema_version'").fetchone()
    return 0 if row is None else int(row[0])


def _create(connection: sqlite3.Connection) -> None:
    try:
        connection.executescript(_TABLES.format(version=SCHEMA_VERSION))
    finally:
        if connection.in_transaction:
            connection.rollback()


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a file of an older version up to this one, wholly or not at all."""
    if _version(connection) >= SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(_version(connection), SCHEMA_VERSION):
            for statement in _UPGRADES[version]:
                connection.execute(statement)
            connection.execute("UPDATE queue_meta SET value = ? WHERE key = 'schema_version'", (version + 1,))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.rollback()
