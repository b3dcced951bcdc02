"""`prune`: let old things go, so that nothing grows without end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from scraper.commands import read_settings
from scraper.commands.ages import Age, ago
from scraper.config import Settings
from scraper.errors import ScraperError
from scraper.event_loop import run
from scraper.events import ignore

if TYPE_CHECKING:
    from scraper.ports import Freed, Prunable

BROKER_SECONDS: Final = 10.0
_TITLES: Final = {
    "cache": "remembered answers",
    "pages": "pages and raw answers of parked tasks",
    "results": "results",
    "submitted": "ids remembered as waiting",
}


@click.command("prune", short_help="Let go of remembered answers, old pages, results.")
@click.option("--older-than", type=Age(), required=True, help="What is older than this: 45m, 12h, 30d, 8w.")
@click.option("--results", is_flag=True, help="Results, too. Parked tasks stay: `scraper dead drop` is for them.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, older_than: timedelta, results: bool, dry_run: bool, as_json: bool) -> None:
    """Let go of remembered answers, and of the pages and raw answers of parked tasks; of results if asked.

    Works while workers run. Where the queue is empty, ids that are still remembered as waiting are forgotten as well:
    their tasks are gone. The file does not shrink; what is freed is used again.

    \b
    Examples:
      scraper prune --older-than 30d --dry-run
      scraper prune --older-than 90d --results
    """
    freed = run(prune(read_settings(), before=ago(older_than), results=results, dry_run=dry_run))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run} | {what: asdict(each) for what, each in freed.items()}))
        return
    for what, each in freed.items():
        click.echo(f"{each.count:10}  {_size(each.bytes):>10}  {_TITLES[what]}")
    if "submitted" not in freed:
        click.echo("ids remembered as waiting stay: the queue is not empty, or could not be asked", err=True)
    if dry_run:
        click.echo("nothing was changed", err=True)


async def prune(settings: Settings, *, before: datetime, results: bool, dry_run: bool) -> Mapping[Prunable, Freed]:
    from scraper.app import open_pruner

    async with open_pruner(settings) as pruner:
        return {
            what: await pruner.prune(what, before=before, dry_run=dry_run)
            async for what in _what(settings, results=results)
        }


async def _what(settings: Settings, *, results: bool) -> AsyncIterator[Prunable]:
    yield "cache"
    yield "pages"
    if results:
        yield "results"
    if await _queue_is_empty(settings):
        yield "submitted"


async def _queue_is_empty(settings: Settings) -> bool:
    """Only if that is known. What a worker of RabbitMQ has in hand does not count: forgotten, it is still done."""
    from scraper.app import open_broker

    try:
        async with asyncio.timeout(BROKER_SECONDS), open_broker(settings, observe=ignore) as broker:
            depth = await broker.depth()
    except (TimeoutError, ScraperError):
        return False
    return depth.tasks + depth.waiting + depth.parked + (depth.in_hand or 0) == 0


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
