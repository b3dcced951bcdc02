"""`dead list`: how many are parked for which reason, and which ones."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from scraper.commands import read_settings
from scraper.commands.ages import spoken
from scraper.commands.dead.selecting import filters, selection
from scraper.config import Settings
from scraper.event_loop import run
from scraper.models import Json, ParkReason, Result
from scraper.ports import Selection
from scraper.terminal_text import in_one_line


@click.command("list")
@filters
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="Tasks to show; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, limit: int, as_json: bool, **chosen: Any) -> None:
    """Parked tasks, counted by reason, then the latest of them.

    \b
    Examples:
      scraper dead list
      scraper dead list --reason page_gone --host '*.example.org' --newer-than 1d
      scraper dead list --json --limit 0 | jq -r '.tasks[].url'
    """
    show = _ShowJson() if as_json else _ShowTable(datetime.now(UTC))
    run(list_parked(read_settings(), selection(**chosen), limit=limit, show=show))


async def list_parked(settings: Settings, selected: Selection, *, limit: int, show: _ShowJson | _ShowTable) -> None:
    from scraper.app import open_workbench

    async with open_workbench(settings) as workbench:
        counts = await workbench.counts(selected)
        show.begin(counts, await workbench.waiting())
        shown = 0
        async for result in workbench.newest(selected):
            show.task(result)
            shown += 1
            if shown == limit:
                break
    show.end(sum(counts.values()) - shown)


NARROW = 140
"""A terminal of fewer columns would show no errors in one line."""


def row(age: str, reason: str, task_id: str, url: str, error: str, *, width: int) -> list[str]:
    """A parked task in one line, or two on a narrow terminal; `width` 0: no terminal, and nothing is cut."""
    task, page = f"{age:>4}  {reason:<15}  {task_id:<32}", f"{url:<40}  {error}"
    lines = [task.rstrip(), f"      {page}"] if 0 < width < NARROW else [f"{task}  {page}"]
    return [line[:width] if width else line for line in lines]


class _ShowTable:
    """For a person; the texts of strangers are defused and cut to the width of the terminal."""

    def __init__(self, now: datetime, *, echo: Callable[[str], object] = click.echo) -> None:
        self._now = now
        self._echo = echo
        self._width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0

    def begin(self, counts: Mapping[ParkReason, int], waiting: int) -> None:
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            self._echo(f"{count:8}  {reason}")
        self._echo(
            f"{sum(counts.values()):8}  parked" + (f"; {waiting} more wait in the queue again" if waiting else "")
        )
        if counts:
            self._echo("")
            self._row("AGE", "REASON", "ID", "URL OR FILE", "ERROR")

    def task(self, result: Result) -> None:
        age = spoken(self._now - result.finished_at)
        url = in_one_line(result.url or _file(result), most=40 if self._width else 0)
        self._row(age, str(result.reason), in_one_line(result.task_id), url, in_one_line(result.error or ""))

    def _row(self, age: str, reason: str, task_id: str, url: str, error: str) -> None:
        for line in row(age, reason, task_id, url, error, width=self._width):
            self._echo(line)

    def end(self, left: int) -> None:
        if left > 0:
            click.echo(f"… and {left} more: --limit 0 shows all", err=True)


class _ShowJson:
    """One object, written piece by piece: a million tasks do not fit into memory."""

    def __init__(self, *, echo: Callable[..., object] = click.echo) -> None:
        self._echo = echo
        self._separator = ""

    def begin(self, counts: Mapping[ParkReason, int], waiting: int) -> None:
        head = json.dumps(
            {"counts": {str(reason): count for reason, count in counts.items()}, "waiting_again": waiting}
        )
        self._echo(f'{head[:-1]}, "tasks": [', nl=False)

    def task(self, result: Result) -> None:
        self._echo(f"{self._separator}\n{json.dumps(_summary(result))}", nl=False)
        self._separator = ","

    def end(self, left: int) -> None:
        self._echo(f'], "not_shown": {max(0, left)}}}')


def _summary(result: Result) -> dict[str, Json]:
    return {
        "task_id": result.task_id,
        "reason": result.reason,
        "error": result.error,
        "url": result.url,
        "attempts": result.attempts,
        "finished_at": result.finished_at.isoformat(),
    }


def _file(result: Result) -> str:
    """The name of the page's file: `submit` leaves it in the metadata of pages from a folder."""
    named = result.metadata.get("file") if isinstance(result.metadata, dict) else None
    return named if isinstance(named, str) else ""
