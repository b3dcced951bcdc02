"""Results for other programs: one JSON object a line, a table for a spreadsheet, or Parquet.

A file appears whole or not at all: it is written under another name beside its place and renamed at the end. Whatever
the number of rows, memory stays the same; a table's columns come from a first pass over the results, its rows from a
second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from scraper.errors import Misconfigured
from scraper.export.file import Output, destination, say_nothing_more
from scraper.export.tables import Rows, stamp, write_csv, write_parquet
from scraper.json_text import write_json
from scraper.models import Json, Result
from scraper.ports import Store
from scraper.terminal_text import harmless_json

Format: TypeAlias = Literal["jsonl", "csv", "parquet"]


def as_object(result: Result) -> dict[str, Json]:
    """The public part of a result, in the order of its contract; always all keys, so that lines have one shape."""
    return {
        "task_id": result.task_id,
        "status": result.status,
        "url": result.url,
        "data": result.data,
        "reason": result.reason,
        "error": result.error,
        "model": result.model,
        "usage": {
            "prompt_tokens": result.usage.prompt_tokens,
            "completion_tokens": result.usage.completion_tokens,
            "cached_tokens": result.usage.cached_tokens,
        },
        "calls": result.calls,
        "attempts": result.attempts,
        "fields": result.fields,
        "unsupported": result.unsupported,
        "cut": result.cut,
        "cached": result.cached,
        "timings": result.timings,
        "content_sha256": result.content_sha256,
        "finished_at": stamp(result.finished_at),
        "metadata": result.metadata,
    }


def as_line(result: Result) -> bytes:
    """A result as one line of JSON, fit for a terminal, without its end: for `export` and the results queue."""
    return harmless_json(write_json(as_object(result))).encode()


async def export(
    store: Store,
    out: Path | BinaryIO,
    *,
    format: Format,  # noqa: A002 what the option is called
    statuses: Iterable[str] = ("done", "parked"),
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write the results with these statuses, oldest first; returns how many.

    A reader that stops reading (`| head`) ends it quietly. `progress` hears rows written, now and then. Raises
    Misconfigured for a place or a format that cannot work, Unavailable where the disk or the store fails.
    """
    wanted = tuple(statuses)
    count = 0

    async def rows() -> AsyncGenerator[Result, None]:
        nonlocal count
        count = 0
        results = store.results(statuses=wanted)
        try:
            async for result in results:
                yield result
                count += 1
                if not count & 0xFF:
                    progress(count)
        finally:
            if isinstance(results, AsyncGenerator):
                await results.aclose()

    write = {"jsonl": _write_jsonl, "csv": write_csv, "parquet": write_parquet}[format]
    if format == "parquet" and _is_terminal(out):
        raise Misconfigured("parquet is not for a terminal; name a file with -o FILE")
    try:
        with destination(out) as file:
            await write(file, rows)
            file.flush()
    except BrokenPipeError:
        say_nothing_more(out)
    return count


async def _write_jsonl(file: Output, rows: Rows) -> None:
    async with aclosing(rows()) as results:
        async for result in results:
            file.write(as_line(result) + b"\n")


def _is_terminal(out: Path | BinaryIO) -> bool:
    return not isinstance(out, Path) and out.isatty()
