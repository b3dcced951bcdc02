"""From what happened to a task to the row that stays of it."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from scraper.credentials import address_without_credentials
from scraper.models import Extraction, Park, Remains, Result, Task
from scraper.ports import Message
from scraper.trace import Trace


def body_id(body: bytes) -> str:
    """The id of a message that has none of its own, or whose own is taken."""
    return f"body-{sha256(body).hexdigest()[:16]}"


def done_row(task: Task, message: Message, extraction: Extraction, trace: Trace, *, finished_at: datetime) -> Result:
    return Result(
        task_id=task.task_id,
        status="done",
        content_sha256=task.content_sha256,
        submission=message.submission,
        finished_at=finished_at,
        url=_shown(trace.url or task.url),
        data=extraction.data,
        model=extraction.model,
        usage=trace.usage,
        calls=trace.calls,
        attempts=message.attempts + 1,
        fields=extraction.fields,
        unsupported=extraction.unsupported,
        cut=trace.cut,
        cached=trace.cached,
        timings=trace.timings(),
        metadata=task.metadata,
    )


def parked_row(
    row_id: str, task: Task | None, message: Message, park: Park, trace: Trace, *, finished_at: datetime
) -> tuple[Result, Remains]:
    """The row, and what is kept beside it. `task` is None where the body could not be read as one."""
    result = Result(
        task_id=row_id,
        status="parked",
        content_sha256=task.content_sha256 if task else sha256(message.body).hexdigest(),
        submission=message.submission,
        finished_at=finished_at,
        url=_shown(trace.url or (task.url if task else None)),
        reason=park.reason,
        error=park.error,
        model=trace.model,
        usage=trace.usage,
        calls=trace.calls,
        attempts=message.attempts + 1,
        cut=trace.cut,
        timings=trace.timings(),
        metadata=task.metadata if task else None,
    )
    page = trace.page if task is not None and task.url is not None else None
    return result, Remains(message.body, page, trace.answer, message.trail)


def _shown(url: str | None) -> str | None:
    return None if url is None else address_without_credentials(url)
