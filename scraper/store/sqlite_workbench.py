"""The parked rows of the results file, for their owner: counting, listing, handing out for a replay, dropping.

Works while workers write to the same file, in constant memory and in small transactions. A parked task that was put
into the queue again is not touched: it is somebody's work already.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from scraper.json_text import storable
from scraper.models import Json, ParkReason, Remains, Result
from scraper.ports import Selection
from scraper.sqlite_thread import LET_OTHERS_WRITE_SECONDS
from scraper.store.sqlite_file import ExistingResults
from scraper.store.sqlite_rows import (
    COLUMNS,
    IS_WAITING,
    NAMES,
    PAGE_ROWS,
    REMAINS,
    microseconds,
    page_of,
    remains_of,
    result_of,
)

HANDED_OUT_BYTES: Final = 16 << 20  # of bodies, pages and answers in memory at once; a single one may be larger
DROPPED_AT_ONCE: Final = 500  # rows, in one transaction: workers wait for it


class SqliteWorkbench(ExistingResults):
    """Fulfils `scraper.ports.Workbench`."""

    def __init__(
        self, path: Path | str, *, busy_seconds: float = 5.0, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        super().__init__(path, busy_seconds=busy_seconds)
        self._clock_ns = clock_ns

    async def counts(self, selection: Selection) -> dict[ParkReason, int]:
        where, values = _where(selection)
        query = f"SELECT reason, count(*) FROM results_rows WHERE {where} GROUP BY reason"  # noqa: S608 made of constants
        rows = await self._thread.read(lambda database: database.execute(query, values).fetchall())
        return {ParkReason(reason): count for reason, count in rows}

    async def waiting(self) -> int:
        return await self._thread.read(lambda database: int(database.execute(_WAITING).fetchone()[0]))

    async def newest(self, selection: Selection) -> AsyncIterator[Result]:
        where, values = _where(selection)
        query = f"SELECT {COLUMNS}, seq FROM {_PARKED} WHERE {where} AND seq < ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 made of constants
        before = await self._last() + 1

        def next_page(database: sqlite3.Connection) -> list[tuple[int, Result]]:
            return list(page_of(database.execute(query, (*values, before, PAGE_ROWS))))

        while page := await self._thread.read(next_page):
            for _, result in page:
                yield result
            before = page[-1][0]

    async def handed_out(
        self, selection: Selection, *, pages: bool = False
    ) -> AsyncIterator[list[tuple[Result, Remains]]]:
        where, values = _where(selection)
        remains = REMAINS if pages else "body, NULL, answer, NULL, 1, trail"
        query = (
            f"SELECT {COLUMNS}, {remains}, seq FROM {_PARKED} JOIN results_remains USING (seq) "  # noqa: S608 made of constants
            f"WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        )
        after, last = 0, await self._last()

        def next_batch(database: sqlite3.Connection) -> list[tuple[Json, ...]]:
            return list(_up_to_size(database.execute(query, (*values, after, last, PAGE_ROWS))))

        while batch := await self._thread.read(next_batch):
            yield [(result_of(row), remains_of(row[len(NAMES) : -1])) for row in batch]
            after = batch[-1][-1]

    async def find(self, task_id: str) -> tuple[Result, Remains, bool] | None:
        row = await self._thread.read(lambda database: database.execute(_FIND, (storable(task_id),)).fetchone())
        if row is None:
            return None
        return result_of(row), remains_of(row[len(NAMES) : -1]), bool(row[-1])

    async def begun_with(self, start: str, *, length: int, most: int) -> list[str]:
        values = (storable(start), length, most)
        rows = await self._thread.read(lambda database: database.execute(_BEGUN_WITH, values).fetchall())
        return [task_id for (task_id,) in rows]

    async def replayed(self, submissions: Sequence[tuple[str, int]]) -> None:
        at_us = self._clock_ns() // 1000
        rows = [(at_us, storable(task_id), submission) for task_id, submission in submissions]
        await self._thread.write(lambda database: database.executemany(_REPLAYED, rows))

    async def lend_pages(self, rows: Sequence[tuple[str, str]]) -> list[str]:
        """A row that did not get the place is told by what lies there: another body."""

        def work(database: sqlite3.Connection) -> list[str]:
            refused = []
            for parked, done in rows:
                stored = (storable(parked), storable(done))
                if database.execute(_LENDS_ANOTHER, stored).fetchone():
                    refused.append(parked)
                else:
                    database.execute(_LEND_PAGE, stored)
            return refused

        return await self._thread.write(work)

    async def handed_on(self, submissions: Sequence[tuple[str, int]]) -> None:
        rows = [(storable(task_id), submission) for task_id, submission in submissions]
        await self._thread.write(lambda database: database.executemany(_HANDED_ON, rows))

    async def drop(self, selection: Selection) -> int:
        where, values = _where(selection)
        query = f"SELECT seq FROM {_PARKED} WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq LIMIT {DROPPED_AT_ONCE}"  # noqa: S608 made of constants
        after, last = 0, await self._last()
        dropped = 0

        def drop_some(database: sqlite3.Connection) -> list[int]:
            rows = [seq for (seq,) in database.execute(query, (*values, after, last))]
            database.execute("DELETE FROM results_rows WHERE seq IN (SELECT value FROM json_each(?))", (_json(rows),))
            return rows

        while rows := await self._thread.write(drop_some):
            dropped += len(rows)
            after = rows[-1]
            await asyncio.sleep(LET_OTHERS_WRITE_SECONDS)
        return dropped

    async def _last(self) -> int:
        return await self._thread.read(
            lambda database: int(database.execute("SELECT ifnull(max(seq), 0) FROM results_rows").fetchone()[0])
        )


_PARKED = "results_rows INDEXED BY results_parked"  # in the order of seq, or every page would sort them all
_WAITING = f"SELECT count(*) FROM {_PARKED} WHERE status = 'parked' AND {IS_WAITING}"  # noqa: S608 made of constants
_FIND = f"""
SELECT {COLUMNS}, {REMAINS}, {IS_WAITING} FROM results_rows JOIN results_remains USING (seq)
WHERE task_id = ? AND status = 'parked'
"""  # noqa: S608 made of constants
# The + keeps it from reading every parked row by their own index.
_BEGUN_WITH = """
SELECT task_id FROM results_rows WHERE task_id >= ?1 AND task_id < ?1 || char(0x10FFFF)
AND length(task_id) = ?2 AND +status = 'parked' ORDER BY task_id LIMIT ?3
"""
_REPLAYED = """
INSERT OR REPLACE INTO results_submitted (task_id, submitted_at)
SELECT task_id, ? FROM results_rows WHERE task_id = ? AND status = 'parked' AND submission = ?
"""
_LENDS_ANOTHER = """
SELECT 1 FROM results_rows AS own JOIN results_remains AS lent USING (seq)
WHERE own.task_id = ?2 AND own.status = 'done'
    AND lent.body IS NOT (SELECT body FROM results_remains JOIN results_rows USING (seq) WHERE task_id = ?1)
"""
_LEND_PAGE = """
INSERT OR REPLACE INTO results_remains (seq, body, page, page_url, page_is_html)
SELECT own.seq, lent.body, lent.page, lent.page_url, lent.page_is_html
FROM results_rows AS parked JOIN results_remains AS lent USING (seq) JOIN results_rows AS own ON own.task_id = ?2
WHERE parked.task_id = ?1 AND parked.status = 'parked' AND own.status = 'done' AND lent.page IS NOT NULL
"""
_HANDED_ON = "DELETE FROM results_rows WHERE task_id = ? AND status = 'parked' AND submission = ?"
_SCHEMA_IS = """
EXISTS (SELECT 1 FROM results_remains AS asked WHERE asked.seq = results_rows.seq AND
    CASE WHEN json_valid(CAST(asked.body AS TEXT)) THEN lower(coalesce(
        json_extract(CAST(asked.body AS TEXT), '$.schema.title'), json_extract(CAST(asked.body AS TEXT), '$.schema')))
    END = lower(?))
"""


def _where(selection: Selection) -> tuple[str, list[object]]:
    """The condition, and the values of its parameters."""
    conditions = ["status = 'parked'", f"NOT {IS_WAITING}"]
    values: list[object] = []

    def add(condition: str, *more: object) -> None:
        conditions.append(condition)
        values.extend(more)

    if selection.task_ids:
        add("task_id IN (SELECT value FROM json_each(?))", _json([storable(each) for each in selection.task_ids]))
    if selection.reasons:
        add("reason IN (SELECT value FROM json_each(?))", _json([reason.value for reason in selection.reasons]))
    if selection.hosts:
        add("EXISTS (SELECT 1 FROM json_each(?) WHERE host GLOB value)", _json([h.lower() for h in selection.hosts]))
    if selection.schema:
        add(_SCHEMA_IS, selection.schema)
    if selection.before is not None:
        add("finished_at < ?", microseconds(selection.before))
    if selection.after is not None:
        add("finished_at >= ?", microseconds(selection.after))
    return " AND ".join(conditions), values


def _up_to_size(rows: Iterator[tuple[Json, ...]]) -> Iterator[tuple[Json, ...]]:
    room = HANDED_OUT_BYTES
    for row in rows:
        yield row
        room -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if room <= 0:
            return


def _json(values: Sequence[object]) -> str:
    return json.dumps(values)
