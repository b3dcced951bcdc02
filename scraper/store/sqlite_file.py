"""The file behind the results store: opening it, creating its tables, refusing what it cannot work with.

The tables begin with `results_` and have their version in a table of their own, so that the embedded queue can live
in the same file. Counts are kept by triggers: a progress panel asks for them every second, and counting a million
rows takes longer than that. Whoever deletes rows, by SQL too, leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self

from scraper.database import Database, connected
from scraper.errors import Misconfigured, Unavailable
from scraper.sqlite_thread import SqliteThread, primary_code, unavailable
from scraper.write_ahead import use_write_ahead_log

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE results_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE results_rows (
    seq INTEGER PRIMARY KEY,               -- order of first arrival; kept when the row is replaced
    task_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('done', 'parked')),
    content_sha256 TEXT NOT NULL,
    submission INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,          -- microseconds since 1970, UTC
    host TEXT,
    url TEXT,
    reason TEXT,
    error TEXT,
    model TEXT,
    attempts INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    data TEXT,                             -- JSON from here on; NULL for null and for empty
    fields TEXT,
    unsupported TEXT,
    cut TEXT,
    timings TEXT,
    metadata TEXT
);
-- Age for pruning; the others cover parked rows alone, which are few and are what people search.
CREATE INDEX results_by_age ON results_rows (finished_at);
CREATE INDEX results_parked ON results_rows (status) WHERE status = 'parked';
CREATE INDEX results_parked_by_reason ON results_rows (reason, finished_at) WHERE status = 'parked';
CREATE INDEX results_parked_by_host ON results_rows (host, finished_at) WHERE status = 'parked';

CREATE TABLE results_remains (
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    page BLOB,                             -- zlib
    answer TEXT,
    page_url TEXT,                         -- after redirects
    page_is_html INTEGER NOT NULL DEFAULT 1,
    trail TEXT NOT NULL DEFAULT ''
);

CREATE TABLE results_submitted (
    task_id TEXT PRIMARY KEY,
    submitted_at INTEGER NOT NULL,         -- microseconds since 1970, UTC
    content_sha256 TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE results_answers (
    seq INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,              -- SHA-256 of everything that decides the answer
    kept_at INTEGER NOT NULL,              -- microseconds since 1970, UTC
    answer TEXT NOT NULL                   -- JSON
);
CREATE INDEX results_answers_by_age ON results_answers (kept_at);

CREATE TABLE results_counts (status TEXT, reason TEXT, n INTEGER NOT NULL, PRIMARY KEY (status, reason)) WITHOUT ROWID;

CREATE TRIGGER results_row_added AFTER INSERT ON results_rows BEGIN
    INSERT INTO results_counts VALUES (new.status, ifnull(new.reason, ''), 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER results_row_replaced AFTER UPDATE OF status, reason ON results_rows BEGIN
    UPDATE results_counts SET n = n - 1 WHERE status = old.status AND reason = ifnull(old.reason, '');
    INSERT INTO results_counts VALUES (new.status, ifnull(new.reason, ''), 1) ON CONFLICT DO UPDATE SET n = n + 1;
    DELETE FROM results_remains WHERE new.status = 'done' AND seq = new.seq;
END;
CREATE TRIGGER results_row_removed AFTER DELETE ON results_rows BEGIN
    UPDATE results_counts SET n = n - 1 WHERE status = old.status AND reason = ifnull(old.reason, '');
    DELETE FROM results_remains WHERE seq = old.seq;
END;
"""

_UPGRADES = {  # from this version to the next; programs of the old one that run meanwhile go on undisturbed
    1: """
ALTER TABLE results_remains ADD COLUMN page_url TEXT;
ALTER TABLE results_remains ADD COLUMN page_is_html INTEGER NOT NULL DEFAULT 1;
ALTER TABLE results_remains ADD COLUMN trail TEXT NOT NULL DEFAULT '';
UPDATE results_remains SET page_url = (SELECT url FROM results_rows WHERE results_rows.seq = results_remains.seq);
CREATE TABLE results_answers (
    seq INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, kept_at INTEGER NOT NULL, answer TEXT NOT NULL
);
CREATE INDEX results_answers_by_age ON results_answers (kept_at);
""",
    2: "ALTER TABLE results_submitted ADD COLUMN content_sha256 TEXT NOT NULL DEFAULT '';",
}

_FIX = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore it from a backup, or rescue it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; it must be a file in a folder that this user may write to",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user write permission for the file and its folder",
    sqlite3.SQLITE_PERM: "cannot be written; give this user write permission for the file and its folder",
    sqlite3.SQLITE_AUTH: "cannot be written; give this user write permission for the file and its folder",
}


class ExistingResults:
    """The results file for those who make none: a mistyped path would look empty. Entered once."""

    def __init__(self, path: Path | str, *, busy_seconds: float = 5.0) -> None:
        self._path = Path(path).absolute()
        self._thread = SqliteThread(
            lambda: open_database(self._path, create=False, busy_seconds=busy_seconds), path=self._path
        )

    async def __aenter__(self) -> Self:
        await self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._thread.stop()


def open_database(path: Path, *, create: bool, busy_seconds: float) -> Database:
    """A connection that is ready to work: write-ahead log, tables as this version knows them.

    Raises Misconfigured, naming RESULTS_URL, for what only the owner can put right; Unavailable for what passes.
    """
    _check_place(path, create=create)
    try:
        connection = connected(path, busy_seconds=busy_seconds)
        try:
            _write_ahead(connection, path, busy_seconds=busy_seconds)
            _prepare_tables(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _at_the_door(error, path) from error
    return connection


def _check_place(path: Path, *, create: bool) -> None:
    if not create and not path.exists():
        raise Misconfigured(
            f"RESULTS_URL: there is no database {path}; run a worker first, or go to the folder of your "
            ".env and data: a relative path starts where you are"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = f"the folder of {path} cannot be created ({error.strerror}); create it, or name another path"
        raise Misconfigured(f"RESULTS_URL: {fix}") from error


def _write_ahead(connection: sqlite3.Connection, path: Path, *, busy_seconds: float) -> None:
    if not use_write_ahead_log(connection, busy_seconds=busy_seconds):
        fix = "its file system has no shared memory for a write-ahead log; put it on a local disk"
        raise Misconfigured(f"RESULTS_URL: {path}: {fix}")


def _prepare_tables(connection: Database, path: Path) -> None:
    if _version(connection) < SCHEMA_VERSION:
        connection.begin(durable=True)
        try:
            _bring_up_to_date(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    if (version := _version(connection)) > SCHEMA_VERSION:
        fix = f"was written by a newer scraper (version {version}, this one knows {SCHEMA_VERSION}); update scraper, or name another file"  # noqa: E501
        raise Misconfigured(f"RESULTS_URL: {path} {fix}")


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables, or those of an older version into this one's; another process may have been faster."""
    version = _version(connection)
    if version >= SCHEMA_VERSION:
        return
    scripts = [_UPGRADES[step] for step in range(version, SCHEMA_VERSION)] if version else [_SCHEMA]
    for script in scripts:
        for statement in _statements(script):
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO results_meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))


def _version(connection: sqlite3.Connection) -> int:
    """0 where there are no tables yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'results_meta'").fetchone():
        return 0
    row = connection.execute("SELECT value FROM results_meta WHERE key = 'schema_version'").fetchone()
    return 0 if row is None else int(row[0])


def _statements(script: str) -> list[str]:
    """`script` cut where a statement is complete: `executescript` would commit the transaction it runs in."""
    statements, start = [], 0
    for end, character in enumerate(script, 1):
        if character == ";" and sqlite3.complete_statement(script[start:end]):
            statements.append(script[start:end])
            start = end
    return statements


def _at_the_door(error: sqlite3.Error, path: Path) -> Misconfigured | Unavailable:
    fix = _FIX.get(primary_code(error))
    if fix is not None:
        return Misconfigured(f"RESULTS_URL: {path} {fix} ({error})")
    return unavailable(error, path) or Misconfigured(f"RESULTS_URL: {path}: {error}")
