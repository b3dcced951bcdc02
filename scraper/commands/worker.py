"""`worker`: one worker process, started by `run`."""

from __future__ import annotations

import sys

import click

from scraper.commands import read_settings
from scraper.config import ENV_FILE, NO_ENV_FILE
from scraper.errors import Misconfigured
from scraper.lifeline import EXIT_MISCONFIGURED


@click.command("worker", hidden=True)
@click.option("--no-env-file", is_flag=True, help="Settings from the environment alone.")
def command(*, no_env_file: bool) -> None:
    """One worker process, started by `run`."""
    from scraper.app import work
    from scraper.event_loop import run

    try:
        run(work(read_settings(NO_ENV_FILE if no_env_file else ENV_FILE)))
    except Misconfigured as error:
        click.echo(error, err=True)
        sys.exit(EXIT_MISCONFIGURED)
