r"""Results in one SQLite file: what `RESULTS_URL=sqlite:///…` means, shared by all processes of a host.

Which of two results of one task id stays is decided by submission first, then by status:

| stored \ saved | done, same | parked, same | newer submission | done, older | parked, older |
|----------------|------------|--------------|------------------|-------------|---------------|
| done           | stored one | stored one   | saved one        | stored one  | stored one    |
| parked         | saved one  | saved one    | saved one        | saved one   | stored one    |

The row keeps its place when it is replaced, so that whoever pages through the rows meets each id exactly once.
Parked rows leave their task body, page and raw answer in a table of their own, which listing never touches. Bodies
are stored as they came, so that SQL can look into them: `json_extract(CAST(body AS TEXT), '$.schema.title')`.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit

from scraper.json_text import read_json, storable, write_json
from scraper.models import Json, Page, ParkReason, Remains, Result, Standing, Usage
from scraper.store.sqlite_file import open_database
from scraper.store.sqlite_thread import SqliteThread
from scraper.trail import from_text, to_text

Known: TypeAlias = Literal["done", "parked", "submitted"]

PAGE_ROWS = 256
PAGE_BYTES = 1 << 20  # of JSON; a page of rows ends at whichever comes first
MAX_INTEGER = 2**63 - 1  # a token count beyond it is a server's joke, and no reason to lose a result
IDS_AT_ONCE = 500  # SQLite takes 32,766 parameters, older builds 999


class SqliteStore:
    """Fulfils `scraper.ports.Store` with one file and one thread.

    `keep_pages="none"` keeps of a parked task its body alone, which a replay needs. `create=False` refuses to make a
    new file: for commands that read, where a mistyped path would look like an empty store.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        keep_pages: Literal["parked", "none"] = "parked",
        create: bool = True,
        busy_seconds: float = 5.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = Path(path).absolute()
        self._keeps_pages = keep_pages == "parked"
        self._clock_ns = clock_ns
        self._asked_ns = 0
        self._thread = SqliteThread(
            lambda: open_database(self._path, create=create, busy_seconds=busy_seconds), path=self._path
        )

    async def __aenter__(self) -> Self:
        """Open or create the file; raises Misconfigured naming RESULTS_URL, or Unavailable."""
        self._asked_ns = self._clock_ns()
        await self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._thread.stop()

    async def find(self, task_id: str) -> Standing | None:
        """What is stored of this id."""
        row = await self._thread.read(
            lambda database: database.execute(
                "SELECT status, content_sha256, submission FROM results_rows WHERE task_id = ?", (storable(task_id),)
            ).fetchone()
        )
        return None if row is None else Standing(*row)

    async def save(self, result: Result, remains: Remains | None = None) -> None:
        """Durable before it returns; which result stays is the table above.

        A parked row saved without `remains` keeps those it has; a done row has none.
        """

        def work(database: sqlite3.Connection) -> None:
            stays = database.execute(_SAVE, _row(result)).rowcount == 0
            if remains is not None and result.status == "parked" and not stays:
                database.execute(_SAVE_REMAINS, (*self._kept(remains), storable(result.task_id)))
            database.execute("DELETE FROM results_submitted WHERE task_id = ?", (storable(result.task_id),))

        await self._thread.write(work)

    async def submitted(self, task_ids: Sequence[str]) -> None:
        """Remember ids whose publish was confirmed, until a result is saved.

        A worker may be faster than this call: an id that is done, or was parked since `known` was last asked, is not
        waiting any more and is left out.
        """
        at_us = self._clock_ns() // 1000
        since_us = self._asked_ns // 1000

        def work(database: sqlite3.Connection) -> None:
            rows = ((storable(task_id), at_us, since_us) for task_id in task_ids)
            database.executemany(_SUBMITTED, rows)

        await self._thread.write(work)

    async def known(self, task_ids: Sequence[str]) -> dict[str, Known]:
        """Those of `task_ids` that are stored or remembered; a stored one that waits again is `submitted`."""
        self._asked_ns = self._clock_ns()
        asked = {storable(task_id): task_id for task_id in task_ids}
        ids = list(asked)

        def work(database: sqlite3.Connection) -> dict[str, Known]:
            found: dict[str, Known] = {}
            for at in range(0, len(ids), IDS_AT_ONCE):
                some = ids[at : at + IDS_AT_ONCE]
                marks = ",".join("?" * len(some))
                for query in _KNOWN:
                    found.update(database.execute(query.format(marks), some))
            return found

        found = await self._thread.read(work)
        return {asked[task_id]: status for task_id, status in found.items()}

    async def counts(self) -> dict[tuple[str, ParkReason | None], int]:
        """Rows by (status, reason); costs the same for ten rows and for ten million."""
        rows = await self._thread.read(
            lambda database: database.execute("SELECT status, reason, n FROM results_counts WHERE n > 0").fetchall()
        )
        return {(status, ParkReason(reason) if reason else None): n for status, reason, n in rows}

    async def results(self, *, statuses: Iterable[str] = ("done", "parked")) -> AsyncIterator[Result]:
        """Every row there is now, each once, in the order in which their ids first came, in constant memory."""
        wanted = sorted(set(statuses))
        if not wanted:
            return
        query = _PAGE.format(_WHERE[wanted[0]] if len(wanted) == 1 else "")
        after, last = 0, await self._thread.read(lambda database: int(database.execute(_LAST).fetchone()[0]))

        def next_page(database: sqlite3.Connection) -> list[tuple[int, Result]]:
            return list(_page(database.execute(query, (after, last, PAGE_ROWS))))

        while after < last:
            page = await self._thread.read(next_page)
            if not page:
                return
            for _, result in page:
                yield result
            after = page[-1][0]

    async def remains(self, task_id: str) -> Remains | None:
        """What a parked task left behind."""
        row = await self._thread.read(lambda database: database.execute(_REMAINS, (storable(task_id),)).fetchone())
        if row is None:
            return None
        return _remains(row)

    def _kept(self, remains: Remains) -> tuple[object, ...]:
        trail = to_text(remains.trail)
        if not self._keeps_pages:
            return remains.body, None, None, None, True, trail
        page = remains.page
        return (
            remains.body,
            None if page is None else zlib.compress(page.text.encode("utf-8", "surrogatepass"), 6),
            _text(remains.answer),
            None if page is None else _text(page.url),
            page is None or page.is_html,
            trail,
        )


_COLUMNS = (
    "task_id, status, content_sha256, submission, finished_at, host, url, reason, error, model, attempts, calls, "
    "cached, prompt_tokens, completion_tokens, cached_tokens, data, fields, unsupported, cut, timings, metadata"
)
_NAMES = _COLUMNS.split(", ")
_FIRST_JSON = _NAMES.index("data")
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name != "task_id")
_SAVE = f"""
INSERT INTO results_rows ({_COLUMNS}) VALUES ({", ".join("?" * len(_NAMES))})
ON CONFLICT (task_id) DO UPDATE SET {_REPLACED}
WHERE excluded.submission > results_rows.submission
   OR (results_rows.status = 'parked' AND (excluded.submission = results_rows.submission OR excluded.status = 'done'))
"""  # noqa: S608 made of constants
_SAVE_REMAINS = """
INSERT OR REPLACE INTO results_remains (body, page, answer, page_url, page_is_html, trail, seq)
SELECT ?, ?, ?, ?, ?, ?, seq FROM results_rows WHERE task_id = ?
"""
_REMAINS = """
SELECT body, page, answer, page_url, page_is_html, trail FROM results_remains JOIN results_rows USING (seq)
WHERE task_id = ?
"""
_SUBMITTED = """
INSERT OR REPLACE INTO results_submitted (task_id, submitted_at) SELECT ?1, ?2
WHERE NOT EXISTS (SELECT 1 FROM results_rows WHERE task_id = ?1 AND (status = 'done' OR finished_at >= ?3))
"""
_KNOWN = (
    "SELECT task_id, status FROM results_rows WHERE task_id IN ({})",
    "SELECT task_id, 'submitted' FROM results_submitted WHERE task_id IN ({})",
)
_LAST = "SELECT ifnull(max(seq), 0) FROM results_rows"
_PAGE = f"SELECT {_COLUMNS}, seq FROM results_rows WHERE {{}} seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 made of constants
_WHERE = {"done": "status = 'done' AND", "parked": "status = 'parked' AND"}  # spelt out, for the index of parked rows
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _row(result: Result) -> tuple[object, ...]:
    usage = result.usage
    return (
        storable(result.task_id),
        result.status,
        storable(result.content_sha256),
        result.submission,
        (result.finished_at - _EPOCH) // _MICROSECOND,
        _host(result.url),
        _text(result.url),
        None if result.reason is None else result.reason.value,
        _text(result.error),
        _text(result.model),
        result.attempts,
        result.calls,
        result.cached,
        min(usage.prompt_tokens, MAX_INTEGER),
        min(usage.completion_tokens, MAX_INTEGER),
        min(usage.cached_tokens, MAX_INTEGER),
        _json(result.data),
        _json(result.fields or None),
        _json(result.unsupported or None),
        _json(result.cut),
        _json(result.timings or None),
        _json(result.metadata),
    )


def _page(rows: Iterable[tuple[Json, ...]]) -> Iterator[tuple[int, Result]]:
    """Rows with their `seq`, until there are enough characters in memory."""
    room = PAGE_BYTES
    for row in rows:
        yield row[-1], _result(row)
        room -= sum(len(text) for text in row[_FIRST_JSON:-1] if text is not None)
        if room <= 0:
            return


def _result(row: tuple[Json, ...]) -> Result:
    task_id, status, content_sha256, submission, finished_at, _host, url, reason, error, model, *rest = row
    attempts, calls, cached, prompt, completion, from_cache, data, fields, unsupported, cut, timings, metadata, _ = rest
    return Result(
        task_id=task_id,
        status=status,
        content_sha256=content_sha256,
        submission=submission,
        finished_at=_EPOCH + finished_at * _MICROSECOND,
        url=url,
        data=_value(data),
        reason=None if reason is None else ParkReason(reason),
        error=error,
        model=model,
        usage=Usage(prompt, completion, from_cache),
        calls=calls,
        attempts=attempts,
        fields=_value(fields) or {},
        unsupported=tuple(_value(unsupported) or ()),
        cut=_value(cut),
        cached=bool(cached),
        timings=_value(timings) or {},
        metadata=_value(metadata),
    )


def _remains(row: tuple[Json, ...]) -> Remains:
    body, packed, answer, url, is_html, trail = row
    text = None if packed is None else zlib.decompress(packed).decode("utf-8", "surrogatepass")
    return Remains(body, None if text is None else Page(url, text, bool(is_html)), answer, from_text(trail))


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _host(url: str | None) -> str | None:
    if url is None:
        return None
    with suppress(ValueError):  # a URL that was parked because it is none
        return _text(urlsplit(url).hostname)
    return None


def _json(value: Json) -> str | None:
    return None if value is None else write_json(value)


def _value(text: str | None) -> Json:
    return None if text is None else read_json(text)
