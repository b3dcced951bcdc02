"""`worker`: one worker process, started by `run`."""

from __future__ import annotations

import sys

import click

from scraper.commands import read_settings
from scraper.errors import Misconfigured
from scraper.lifeline import EXIT_MISCONFIGURED


@click.command("worker", hidden=True)
def command() -> None:
    """One worker process, started by `run`."""
    from scraper.app import work
    from scraper.event_loop import run

    try:
        run(work(read_settings()))
    except Misconfigured as error:
        click.echo(error, err=True)
        sys.exit(EXIT_MISCONFIGURED)
