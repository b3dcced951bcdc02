"""`schema`: what answers look like. One module a command, as in the folder above."""

from __future__ import annotations

from typing import Final

import click

from scraper.commands import Group

COMMANDS: Final = ("check", "list")


@click.group(
    "schema", cls=Group, package=__name__, names=COMMANDS, short_help="Look at JSON Schemas before a run does."
)
def command() -> None:
    """Look at JSON Schemas before a run does.

    \b
    Examples:
      scraper schema list
      scraper schema check product.json
    """
