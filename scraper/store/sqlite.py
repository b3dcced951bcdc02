r"""Results in one SQLite file: what `RESULTS_URL=sqlite:///…` means, shared by all processes of a host.

Which of two results of one task id stays:

| stored \ saved | done                  | parked                  |
|----------------|-----------------------|-------------------------|
| done           | the newer submission  | the stored one          |
| parked         | the saved one         | the saved, unless older |

Of two done results of one submission the stored one stays. The row keeps its place when it is replaced, so that whoever
pages through the rows meets each id exactly once. Parked rows leave their task body, page and raw answer in a table of
their own, which listing never touches. Bodies are stored as they came, so that SQL can look into them:
`json_extract(CAST(body AS TEXT), '$.schema.title')`.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from scraper.json_text import read_json, storable
from scraper.models import ParkReason, Remains, Result, Standing, Usage
from scraper.sqlite_thread import SqliteThread
from scraper.store.sqlite_answers import SqliteAnswers
from scraper.store.sqlite_file import open_database
from scraper.store.sqlite_rows import COLUMNS, NAMES, PAGE_ROWS, REMAINS, packed, page_of, remains_of, result_of, row_of

Known: TypeAlias = Literal["done", "parked", "submitted"]

_TIME_SPENT = "SELECT timings FROM results_rows WHERE timings IS NOT NULL ORDER BY seq DESC LIMIT ?"

_TOKENS_SPENT = """
    SELECT ifnull(sum(prompt_tokens), 0), ifnull(sum(completion_tokens), 0), ifnull(sum(cached_tokens), 0),
        ifnull(sum(calls), 0)
    FROM (SELECT prompt_tokens, completion_tokens, cached_tokens, calls FROM results_rows ORDER BY seq DESC LIMIT ?)
"""

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
        acks_follow: bool = False,
        busy_seconds: float = 5.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`acks_follow`: the queue is in this file, so that the ack of a task takes its result to the disk.

        Then a result has no sync of its own. What a loss of power takes of it is the end of the file: a result goes
        only together with its ack, and its task is run again.
        """
        self._path = Path(path).absolute()
        self._keeps_pages = keep_pages == "parked"
        self._clock_ns = clock_ns
        self._asked_ns = 0
        self._acks_follow = acks_follow
        self.thread = SqliteThread(
            lambda: open_database(self._path, create=create, busy_seconds=busy_seconds), path=self._path
        )
        self._answers = SqliteAnswers(self.thread, clock_ns=clock_ns)

    @property
    def answers(self) -> SqliteAnswers:
        return self._answers

    async def __aenter__(self) -> Self:
        """Open or create the file; raises Misconfigured naming RESULTS_URL, or Unavailable."""
        self._asked_ns = self._clock_ns()
        await self.thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.thread.stop()

    async def find(self, task_id: str) -> Standing | None:
        """What is stored of this id."""
        row = await self.thread.read(
            lambda database: database.execute(
                "SELECT status, content_sha256, submission FROM results_rows WHERE task_id = ?", (storable(task_id),)
            ).fetchone()
        )
        return None if row is None else Standing(*row)

    async def result(self, task_id: str) -> Result | None:
        """All that is stored of this id."""
        row = await self.thread.read(lambda database: database.execute(_ROW, (storable(task_id),)).fetchone())
        return None if row is None else result_of(row)

    async def save(self, result: Result, remains: Remains | None = None, *, settled_id: str = "") -> bool:
        """Durable before it returns, or with `acks_follow` before its ack is. Returns whether this one stays.

        A parked row saved without `remains` keeps those it has; a done row has none, but for a page that was lent to it
        for a replay, until that ends. New answers go with it.
        """
        answers = self._answers.to_write()

        def work(database: sqlite3.Connection) -> bool:
            stays = database.execute(_SAVE, row_of(result)).rowcount == 0
            if remains is not None and result.status == "parked" and not stays:
                database.execute(
                    _SAVE_REMAINS, (*packed(remains, keep_page=self._keeps_pages), storable(result.task_id))
                )
            for task_id in {result.task_id, settled_id or result.task_id}:
                database.execute("DELETE FROM results_submitted WHERE task_id = ?", (storable(task_id),))
            if settled_id and settled_id != result.task_id:
                database.execute(_TAKE_BACK_PAGE, (storable(settled_id),))
            self._answers.write(database, answers)
            return not stays

        saved = await self.thread.write(work, durable=not self._acks_follow)
        self._answers.written(answers)
        return saved

    async def submitted(self, task_ids: Sequence[str], contents: Mapping[str, str] = {}) -> None:
        """Remember ids whose publish was confirmed, until a result is saved.

        A worker may be faster than this call: an id that is done, or was parked since `known` was last asked, is not
        waiting any more and is left out.
        """
        at_us = self._clock_ns() // 1000
        since_us = self._asked_ns // 1000

        def work(database: sqlite3.Connection) -> None:
            rows = ((storable(task_id), at_us, since_us, contents.get(task_id, "")) for task_id in task_ids)
            database.executemany(_SUBMITTED, rows)

        await self.thread.write(work)

    async def known(self, task_ids: Sequence[str]) -> dict[str, Known]:
        """Those of `task_ids` that are stored or remembered; a stored one that waits again is `submitted`."""
        self._asked_ns = self._clock_ns()
        return await self._by_id(_KNOWN, task_ids)

    async def taken(self, contents: Mapping[str, str]) -> set[str]:
        """Those ids that are done or submitted already, and asked for other content than `contents` says."""
        found = await self._by_id(_CONTENTS, list(contents))
        return {task_id for task_id, content in found.items() if content not in {"", contents[task_id]}}

    async def _by_id(self, queries: Sequence[str], task_ids: Sequence[str]) -> dict[str, Any]:
        """What `queries` say of each id, the last that says something."""
        asked = {storable(task_id): task_id for task_id in task_ids}
        ids = list(asked)

        def work(database: sqlite3.Connection) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for at in range(0, len(ids), IDS_AT_ONCE):
                some = ids[at : at + IDS_AT_ONCE]
                marks = ",".join("?" * len(some))
                for query in queries:
                    found.update(database.execute(query.format(marks), some))
            return found

        found = await self.thread.read(work)
        return {asked[task_id]: value for task_id, value in found.items()}

    async def counts(self) -> dict[tuple[str, ParkReason | None], int]:
        """Rows by (status, reason); costs the same for ten rows and for ten million."""
        rows = await self.thread.read(
            lambda database: database.execute("SELECT status, reason, n FROM results_counts WHERE n > 0").fetchall()
        )
        return {(status, ParkReason(reason) if reason else None): n for status, reason, n in rows}

    async def oldest_submitted(self) -> datetime | None:
        """When the oldest task that has no result yet was submitted, of those that `submitted` was told of."""
        row = await self.thread.read(
            lambda database: database.execute("SELECT min(submitted_at) FROM results_submitted").fetchone()
        )
        return None if row[0] is None else datetime.fromtimestamp(row[0] / 1e6, UTC)

    async def time_spent(self, rows: int) -> dict[str, float]:
        """Seconds by phase of the newest `rows` results together."""
        found = await self.thread.read(lambda database: database.execute(_TIME_SPENT, (rows,)).fetchall())
        spent: Counter[str] = Counter()
        for (timings,) in found:
            spent.update(read_json(timings))
        return dict(spent)

    async def tokens_spent(self, rows: int) -> tuple[Usage, int]:
        """Tokens and calls of the newest `rows` results together."""
        *tokens, calls = await self.thread.read(lambda database: database.execute(_TOKENS_SPENT, (rows,)).fetchone())
        return Usage(*tokens), calls

    async def results(self, *, statuses: Iterable[str] = ("done", "parked")) -> AsyncIterator[Result]:
        """Every row there is now, each once, in the order in which their ids first came, in constant memory."""
        wanted = sorted(set(statuses))
        if not wanted:
            return
        query = _PAGE.format(_WHERE[wanted[0]] if len(wanted) == 1 else "")
        after, last = 0, await self.thread.read(lambda database: int(database.execute(_LAST).fetchone()[0]))

        def next_page(database: sqlite3.Connection) -> list[tuple[int, Result]]:
            return list(page_of(database.execute(query, (after, last, PAGE_ROWS))))

        while after < last:
            page = await self.thread.read(next_page)
            if not page:
                return
            for _, result in page:
                yield result
            after = page[-1][0]

    async def remains(self, task_id: str) -> Remains | None:
        """What a parked task left behind."""
        row = await self.thread.read(lambda database: database.execute(_REMAINS, (storable(task_id),)).fetchone())
        if row is None:
            return None
        return remains_of(row)


_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in NAMES if name != "task_id")
_SAVE = f"""
INSERT INTO results_rows ({COLUMNS}) VALUES ({", ".join("?" * len(NAMES))})
ON CONFLICT (task_id) DO UPDATE SET {_REPLACED}
WHERE (results_rows.status = 'parked' AND (excluded.status = 'done' OR excluded.submission >= results_rows.submission))
   OR (excluded.status = 'done' AND excluded.submission > results_rows.submission)
"""  # noqa: S608 made of constants
_SAVE_REMAINS = f"""
INSERT OR REPLACE INTO results_remains ({REMAINS}, seq) SELECT ?, ?, ?, ?, ?, ?, seq FROM results_rows WHERE task_id = ?
"""  # noqa: S608 made of constants
_TAKE_BACK_PAGE = """
DELETE FROM results_remains WHERE seq = (SELECT seq FROM results_rows WHERE task_id = ? AND status = 'done')
"""
_REMAINS = f"SELECT {REMAINS} FROM results_remains JOIN results_rows USING (seq) WHERE task_id = ?"  # noqa: S608 made of constants
_SUBMITTED = """
INSERT OR REPLACE INTO results_submitted (task_id, submitted_at, content_sha256) SELECT ?1, ?2, ?4
WHERE NOT EXISTS (SELECT 1 FROM results_rows WHERE task_id = ?1 AND (status = 'done' OR finished_at >= ?3))
"""
_KNOWN = (
    "SELECT task_id, status FROM results_rows WHERE task_id IN ({})",
    "SELECT task_id, 'submitted' FROM results_submitted WHERE task_id IN ({})",
)
_CONTENTS = (
    "SELECT task_id, content_sha256 FROM results_rows WHERE status = 'done' AND task_id IN ({})",
    "SELECT task_id, content_sha256 FROM results_submitted WHERE task_id IN ({})",  # '': not known
)
_ROW = f"SELECT {COLUMNS} FROM results_rows WHERE task_id = ?"  # noqa: S608 made of constants
_LAST = "SELECT ifnull(max(seq), 0) FROM results_rows"
_PAGE = f"SELECT {COLUMNS}, seq FROM results_rows WHERE {{}} seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 made of constants
_WHERE = {"done": "status = 'done' AND", "parked": "status = 'parked' AND"}  # spelt out, for the index of parked rows
