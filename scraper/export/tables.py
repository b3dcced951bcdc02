"""Results as tables: CSV for spreadsheets, Parquet for everything that computes."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from io import StringIO
from typing import TypeAlias

from scraper.errors import Misconfigured
from scraper.export.file import CHUNK_BYTES, Output
from scraper.json_text import storable, write_json
from scraper.models import Json, Result
from scraper.terminal_text import harmless_json, without_controls

Rows: TypeAlias = Callable[[], AsyncGenerator[Result, None]]
"""The results from the first on, at every call."""

MOST_DATA_COLUMNS = 1000
"""Data whose field names are data themselves would make a column of every value; spreadsheets end at 16,384."""

GROUP_ROWS = 5_000
GROUP_CHARACTERS = 16 << 20  # a row group is what a writer, and later a reader, holds in memory


async def write_csv(file: Output, rows: Rows) -> None:
    """RFC 4180. Each field of `data` has its column; `data` itself holds what has none.

    Rows that come between the two passes may bring fields that have no column: they lose nothing either.
    """
    fields = await _data_fields(rows)
    lines = StringIO()
    table = csv.writer(lines)
    named = (without_controls(f"data.{name}") for name in fields)
    table.writerow([*_BEFORE_DATA, *named, "data", *_AFTER_DATA])
    async with aclosing(rows()) as results:
        async for result in results:
            before, data, after = _columns(result)
            own = data if isinstance(data, dict) else {}
            rest = {name: value for name, value in own.items() if name not in fields} or None if own else data
            table.writerow([_cell(value) for value in (*before, *(own.get(name) for name in fields), rest, *after)])
            if lines.tell() >= CHUNK_BYTES:
                _pour(lines, file)
    _pour(lines, file)


async def _data_fields(rows: Rows) -> dict[str, None]:
    """Names of top-level fields of the data, in the order in which they first came."""
    fields: dict[str, None] = {}
    async with aclosing(rows()) as results:
        async for result in results:
            if isinstance(result.data, dict):
                fields.update(dict.fromkeys(result.data))
                if len(fields) >= MOST_DATA_COLUMNS:
                    return dict.fromkeys(list(fields)[:MOST_DATA_COLUMNS])
    return fields


async def write_parquet(file: Output, rows: Rows) -> None:
    """Timestamps and numbers typed; whatever is nested is JSON text, because no two schemas nest alike."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 an extra, and 100 MB
        import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured("parquet needs pyarrow: pip install pyarrow") from error
    types = {"int": pa.int64(), "bool": pa.bool_(), "time": pa.timestamp("us", tz="UTC")}
    names = [*_BEFORE_DATA, "data", *_AFTER_DATA]
    schema = pa.schema([(name, types.get(_KINDS.get(name, ""), pa.string())) for name in names])

    def group(rows: Sequence[Sequence[Json]]) -> pa.Table:
        return pa.Table.from_arrays(
            [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), schema.types, strict=True)],
            schema=schema,
        )

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        waiting: list[Sequence[Json]] = []
        characters = 0
        async with aclosing(rows()) as results:
            async for result in results:
                before, data, after = _columns(result, moment=result.finished_at)
                row = [_typed(name, value) for name, value in zip(names, (*before, data, *after), strict=True)]
                characters += sum(len(value) for value in row if isinstance(value, str))
                waiting.append(row)
                if len(waiting) >= GROUP_ROWS or characters >= GROUP_CHARACTERS:
                    writer.write_table(group(waiting))
                    waiting, characters = [], 0
        if waiting:
            writer.write_table(group(waiting))


_BEFORE_DATA = ("task_id", "status", "url")
_AFTER_DATA = (
    "reason",
    "error",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "calls",
    "attempts",
    "fields",
    "unsupported",
    "cut",
    "cached",
    "timings",
    "content_sha256",
    "finished_at",
    "metadata",
)
_KINDS = (
    dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "calls", "attempts"), "int")
    | dict.fromkeys(("data", "fields", "unsupported", "cut", "timings", "metadata"), "json")
    | {"cached": "bool", "finished_at": "time"}
)  # the others are text


def _columns(result: Result, *, moment: Json = None) -> tuple[tuple[Json, ...], Json, tuple[Json, ...]]:
    """What a table has before the data, the data, and what it has after."""
    after = (
        result.reason,
        result.error,
        result.model,
        result.usage.prompt_tokens,
        result.usage.completion_tokens,
        result.usage.cached_tokens,
        result.calls,
        result.attempts,
        result.fields or None,
        result.unsupported or None,
        result.cut,
        result.cached,
        result.timings or None,
        result.content_sha256,
        moment or stamp(result.finished_at),
        result.metadata,
    )
    return (result.task_id, result.status, result.url), result.data, after


def _cell(value: Json) -> str:
    match value:
        case None:
            return ""
        case str():
            text = without_controls(value)  # no spreadsheet shows them, and a terminal obeys them
            return "'" + text if text.startswith(_STARTS_A_FORMULA) else text
        case _:
            return harmless_json(write_json(value))


_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet would run such text; the pages it comes from are strangers'. The list is OWASP's, «CSV Injection»."""


def _typed(name: str, value: Json) -> Json:
    match _KINDS.get(name):
        case None:
            return None if value is None else storable(value)
        case "json":
            return None if value is None else write_json(value)
        case _:
            return value


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pour(lines: StringIO, file: Output) -> None:
    file.write(storable(lines.getvalue()).encode())
    lines.seek(0)
    lines.truncate()
