"""`dead export`: parked tasks with all they left behind, for other programs."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from scraper.commands import read_settings
from scraper.commands.dead.selecting import filters, selection
from scraper.config import Settings
from scraper.event_loop import run
from scraper.json_text import read_strict
from scraper.models import Failure, Json, Remains, Result
from scraper.observability.view import number_of
from scraper.ports import Selection


@click.command("export", short_help="Write parked tasks as JSON, one a line.")
@filters
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout without, or with -."
)
@click.option("--pages", is_flag=True, help="With the stored pages, as they were fetched.")
def command(*, output: Path | None, pages: bool, **chosen: Any) -> None:
    """Write parked tasks as JSON, one a line: the task, its errors, the model's last answer.

    What stands under `task` can be submitted again.

    \b
    Examples:
      scraper dead export --reason schema_invalid | jq '{error, answer}'
      scraper dead export -o parked.jsonl --pages
    """
    if output == Path("-"):
        output = None
    count = run(export_parked(read_settings(), selection(**chosen), output, pages=pages))
    if output is not None:
        click.echo(f"{number_of('parked task', count)} in {output}", err=True)


async def export_parked(settings: Settings, selected: Selection, out: Path | None, *, pages: bool) -> int:
    """How many were written; a file appears whole or not at all."""
    from scraper.app import open_workbench
    from scraper.export.file import destination

    count = 0
    async with open_workbench(settings) as workbench:
        with destination(out or sys.stdout.buffer) as file:
            async for batch in workbench.handed_out(selected, pages=pages):
                for result, remains in batch:
                    line = json.dumps(as_object(result, remains, page=pages))  # ASCII: fit for a terminal, too
                    file.write(f"{line}\n".encode())
                count += len(batch)
            file.flush()
    return count


def as_object(result: Result, remains: Remains, *, page: bool) -> dict[str, Json]:
    """All that is known of a parked task; its page on demand."""
    return {
        "task_id": result.task_id,
        "reason": result.reason,
        "error": result.error,
        "errors": [*map(_failure, remains.trail), _failure(_last(result))],
        "url": result.url,
        "attempts": result.attempts,
        "finished_at": result.finished_at.isoformat(),
        "model": result.model,
        "calls": result.calls,
        "usage": {"prompt_tokens": result.usage.prompt_tokens, "completion_tokens": result.usage.completion_tokens},
        "cut": result.cut,
        "timings": dict(result.timings),
        "answer": remains.answer,
        **_task(remains.body),
        **({"page": None if remains.page is None else remains.page.text} if page else {}),
    }


def _last(result: Result) -> Failure:
    return Failure(result.attempts, result.error or "", result.finished_at)


def _failure(failure: Failure) -> dict[str, Json]:
    return {"attempt": failure.attempt, "at": failure.at.isoformat(), "error": failure.error}


def _task(body: bytes) -> dict[str, Json]:
    """The task as it was queued; what is no JSON in base64."""
    try:
        return {"task": read_strict(body.decode("utf-8-sig"))}
    except (ValueError, RecursionError):
        return {"task": None, "body_base64": base64.b64encode(body).decode()}
