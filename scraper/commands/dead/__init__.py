"""`dead`: what could not be done, and what becomes of it. One module a command, as in the folder above."""

from __future__ import annotations

from typing import Final

import click

from scraper.commands import Group

COMMANDS: Final = ("list", "show", "replay", "drop", "export")


@click.group("dead", cls=Group, package=__name__, names=COMMANDS)
def command() -> None:
    """Look at parked tasks, run them again, or let them go.

    Works on the results store while workers run. Tasks that were put into the queue again wait there and are left
    alone until they are done or parked anew.

    \b
    Examples:
      scraper dead list --reason schema_invalid
      scraper dead show TASK_ID
      scraper dead replay --reason schema_invalid --set instructions="prices are in EUR"
      scraper dead drop --reason page_gone --older-than 30d
    """
