"""`dead drop`: let parked tasks go for good."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click

from scraper.commands import read_settings
from scraper.commands.dead.selecting import how_many_missing, ids_or_all, named_in_full, nothing_of_that_kind, selection
from scraper.config import Settings
from scraper.event_loop import run
from scraper.observability.view import number_of
from scraper.ports import Selection


@click.command("drop")
@ids_or_all
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, yes: bool, **chosen: Any) -> None:
    """Forget parked tasks, with all they left behind. They can be submitted anew.

    Of an id that the program made, the beginning will do (8 characters), if no other begins so.

    \b
    Examples:
      scraper dead drop --reason page_gone --older-than 30d
      scraper dead drop 4f1c0a7e --yes
    """
    settings = read_settings()
    selected, count, waiting = run(count_parked(settings, selection(**chosen)))
    if count and not yes:
        click.confirm(f"Forget {number_of('parked task', count)} for good?", abort=True, err=True)
    dropped = run(drop_parked(settings, selected)) if count else 0
    missing = max(0, len(selected.task_ids) - dropped)
    none = "" if dropped or missing else nothing_of_that_kind(waiting)
    click.echo(f"{dropped} forgotten{how_many_missing(missing)}{none}", err=True)
    sys.exit(1 if missing else 0)


async def count_parked(settings: Settings, selected: Selection) -> tuple[Selection, int, int]:
    """What is meant of all that is parked by now, how many that are, and how many wait in the queue again.

    By now: workers park more while a question stands.
    """
    from scraper.app import open_workbench

    now = datetime.now(UTC)
    selected = replace(selected, before=min(selected.before or now, now))
    async with open_workbench(settings) as workbench:
        named = await named_in_full(selected, workbench, unknown=lambda why: click.echo(why, err=True))
        return named, sum((await workbench.counts(named)).values()), await workbench.waiting()


async def drop_parked(settings: Settings, selected: Selection) -> int:
    from scraper.app import open_workbench

    async with open_workbench(settings) as workbench:
        return await workbench.drop(selected)
