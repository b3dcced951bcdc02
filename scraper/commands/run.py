"""`run`: the workers under their supervisor, what happens without a command."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import click

from scraper.commands import read_settings


@click.command("run")
@click.option("--until-empty", is_flag=True, help="End when no task is left, waiting ones included.")
def command(*, until_empty: bool) -> None:
    """Run the workers (what happens without a command).

    The first ctrl-c or SIGTERM lets them finish what they have in hand (DRAIN_SECONDS), the second stops at once.

    \b
    Example:
      WORKERS=2 python -m scraper.main run --until-empty
    """
    from scraper.app import supervise

    worked, summary = asyncio.run(
        supervise(read_settings(), until_empty=until_empty, say=partial(click.echo, err=True))
    )
    if until_empty and worked:
        click.echo(summary, err=True)
    sys.exit(0 if worked else 1)
