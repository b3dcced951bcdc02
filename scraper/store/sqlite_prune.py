"""Letting old things in the results file go, in small transactions, so that workers go on meanwhile.

The page of a parked task that waits in the queue again stays: it is what the task will read.
What is freed is used again by what comes next; the file itself does not shrink.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scraper.models import Json
from scraper.ports import Freed, Prunable
from scraper.sqlite_thread import LET_OTHERS_WRITE_SECONDS
from scraper.store.sqlite_file import ExistingResults
from scraper.store.sqlite_rows import IS_WAITING, microseconds

ROWS_AT_ONCE: Final = 250  # in one transaction: workers wait for it
BYTES_AT_ONCE: Final = 8 << 20  # and what is deleted must be written to the log first


class SqlitePruner(ExistingResults):
    """Fulfils `scraper.ports.Pruner`."""

    async def prune(self, what: Prunable, *, before: datetime, dry_run: bool = False) -> Freed:
        kind = _KINDS[what]
        freed = Freed()
        async for batch in self._batches(kind, before, dry_run=dry_run):
            freed = Freed(freed.count + len(batch), freed.bytes + sum(size for *_, size in batch))
        return freed

    async def _batches(self, kind: _Kind, before: datetime, *, dry_run: bool) -> AsyncIterator[list[_Old]]:
        before_us = microseconds(before)
        after: tuple[Json, ...] = kind.first

        def work(database: sqlite3.Connection) -> list[_Old]:
            batch = _up_to_size(database.execute(kind.find, (before_us, *after, ROWS_AT_ONCE)))
            if not dry_run:
                database.execute(kind.forget, (json.dumps([key for *_, key, _ in batch]),))
            return batch

        do = self._thread.read if dry_run else self._thread.write
        while batch := await do(work):
            yield batch
            after = batch[-1][:-1]
            if not dry_run:
                await asyncio.sleep(LET_OTHERS_WRITE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Kind:
    """`find`: what is older than a time, from a place on, in the order of its places; (…place, bytes) each.

    `forget`: those with the last part of their place in a JSON array.
    """

    find: str
    forget: str
    first: tuple[Json, ...]


_Old = tuple[Json, ...]
_ROW_BYTES = " + ".join(
    f"ifnull(length(CAST({name} AS BLOB)), 0)" for name in ("data", "fields", "metadata", "url", "timings", "task_id")
)
_KINDS: dict[Prunable, _Kind] = {
    "cache": _Kind(
        """
        SELECT kept_at, seq, length(CAST(answer AS BLOB)) FROM results_answers INDEXED BY results_answers_by_age
        WHERE kept_at < ? AND (kept_at, seq) > (?, ?) ORDER BY kept_at, seq LIMIT ?
        """,
        "DELETE FROM results_answers WHERE seq IN (SELECT value FROM json_each(?))",
        (0, 0),
    ),
    "pages": _Kind(
        f"""
        SELECT seq, ifnull(length(page), 0) + ifnull(length(CAST(answer AS BLOB)), 0)
        FROM results_rows INDEXED BY results_parked JOIN results_remains USING (seq)
        WHERE status = 'parked' AND finished_at < ? AND seq > ? AND (page IS NOT NULL OR answer IS NOT NULL)
            AND NOT {IS_WAITING}
        ORDER BY seq LIMIT ?
        """,  # noqa: S608 made of constants
        "UPDATE results_remains SET page = NULL, answer = NULL WHERE seq IN (SELECT value FROM json_each(?))",
        (0,),
    ),
    "results": _Kind(
        f"""
        SELECT finished_at, seq, {_ROW_BYTES} FROM results_rows INDEXED BY results_by_age
        WHERE finished_at < ? AND (finished_at, seq) > (?, ?) AND status = 'done' ORDER BY finished_at, seq LIMIT ?
        """,  # noqa: S608 made of constants
        "DELETE FROM results_rows WHERE status = 'done' AND seq IN (SELECT value FROM json_each(?))",
        (0, 0),
    ),
    "submitted": _Kind(
        """
        SELECT task_id, length(CAST(task_id AS BLOB)) FROM results_submitted
        WHERE submitted_at < ? AND task_id > ? ORDER BY task_id LIMIT ?
        """,
        "DELETE FROM results_submitted WHERE task_id IN (SELECT value FROM json_each(?))",
        ("",),
    ),
}


def _up_to_size(rows: sqlite3.Cursor) -> list[_Old]:
    room = BYTES_AT_ONCE
    batch: list[_Old] = []
    for row in rows:
        batch.append(row)
        room -= row[-1]
        if room <= 0:
            break
    return batch
