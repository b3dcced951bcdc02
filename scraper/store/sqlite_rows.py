"""Results and remains as rows of the file, and back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from scraper.json_text import read_json, storable, write_json
from scraper.models import Json, Page, ParkReason, Remains, Result, Usage
from scraper.trail import from_text, to_text

PAGE_ROWS: Final = 256
PAGE_BYTES: Final = 1 << 20  # of JSON; a page of rows ends at whichever comes first
MAX_INTEGER: Final = 2**63 - 1  # a token count beyond it is a server's joke, and no reason to lose a result

COLUMNS: Final = (
    "task_id, status, content_sha256, submission, finished_at, host, url, reason, error, model, attempts, calls, "
    "cached, prompt_tokens, completion_tokens, cached_tokens, data, fields, unsupported, cut, timings, metadata"
)
NAMES: Final = COLUMNS.split(", ")
REMAINS: Final = "body, page, answer, page_url, page_is_html, trail"
IS_WAITING: Final = "EXISTS (SELECT 1 FROM results_submitted AS waits WHERE waits.task_id = results_rows.task_id)"
_FIRST_JSON = NAMES.index("data")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Since 1970, as stored."""
    return (moment - _EPOCH) // _MICROSECOND


def row_of(result: Result) -> tuple[object, ...]:
    usage = result.usage
    return (
        storable(result.task_id),
        result.status,
        storable(result.content_sha256),
        result.submission,
        microseconds(result.finished_at),
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


def page_of(rows: Iterable[tuple[Json, ...]]) -> Iterator[tuple[int, Result]]:
    """Rows with their `seq`, until there are enough characters in memory."""
    room = PAGE_BYTES
    for row in rows:
        yield row[-1], result_of(row)
        room -= sum(len(text) for text in row[_FIRST_JSON:-1] if text is not None)
        if room <= 0:
            return


def result_of(row: tuple[Json, ...]) -> Result:
    """From a row that begins with `COLUMNS`."""
    task_id, status, content_sha256, submission, finished_at, _host, url, reason, error, model, *rest = row
    attempts, calls, cached, prompt, completion, from_cache, *rest = rest
    data, fields, unsupported, cut, timings, metadata, *_ = rest
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


def packed(remains: Remains, *, keep_page: bool) -> tuple[object, ...]:
    """The values of `REMAINS`; without page and answer where those are not to be kept."""
    page = remains.page if keep_page else None
    return (
        remains.body,
        None if page is None else zlib.compress(page.text.encode("utf-8", "surrogatepass"), 6),
        _text(remains.answer) if keep_page else None,
        None if page is None else _text(page.url),
        page is None or page.is_html,
        to_text(remains.trail),
    )


def remains_of(row: tuple[Json, ...]) -> Remains:
    """From a row of `REMAINS`."""
    body, compressed, answer, url, is_html, trail = row
    text = None if compressed is None else zlib.decompress(compressed).decode("utf-8", "surrogatepass")
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
