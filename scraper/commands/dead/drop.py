"""`dead drop`: let parked tasks go for good."""

from __future__ import annotations

from typing import Any

import click

from scraper.commands import read_settings
from scraper.commands.dead.selecting import ids_or_all, selection
from scraper.config import Settings
from scraper.event_loop import run
from scraper.ports import Selection


@click.command("drop")
@ids_or_all
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, yes: bool, **chosen: Any) -> None:
    """Forget parked tasks, with all they left behind. They can be submitted anew.

    \b
    Examples:
      scraper dead drop --reason page_gone --older-than 30d
      scraper dead drop 4f1c0a7e --yes
    """
    settings, selected = read_settings(), selection(**chosen)
    if not yes:
        count = run(count_parked(settings, selected))
        click.confirm(f"Forget {count} parked tasks for good?", abort=True, err=True)
    click.echo(f"{run(drop_parked(settings, selected))} forgotten", err=True)


async def count_parked(settings: Settings, selected: Selection) -> int:
    from scraper.app import open_workbench

    async with open_workbench(settings) as workbench:
        return sum((await workbench.counts(selected)).values())


async def drop_parked(settings: Settings, selected: Selection) -> int:
    from scraper.app import open_workbench

    async with open_workbench(settings) as workbench:
        return await workbench.drop(selected)
