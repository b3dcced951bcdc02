"""Which parked tasks a command is about: the options that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from scraper.commands.ages import Age, ago
from scraper.models import ParkReason
from scraper.ports import Selection

Command = TypeVar("Command", bound=Callable[..., Any])

REASONS = click.Choice([reason.value for reason in ParkReason])


def filters(function: Command) -> Command:
    """The options `selection` understands."""
    for option in (
        click.option("--newer-than", type=Age(), help="Parked since then, as in 2h."),
        click.option("--older-than", type=Age(), help="Parked before then, as in 30d."),
        click.option("--schema", default="", help="With the schema of this title or name."),
        click.option("--host", "hosts", multiple=True, help="Of this host; * stands for anything."),
        click.option("--reason", "reasons", type=REASONS, multiple=True, help="Parked for this reason."),
    ):
        function = option(function)
    return function


def ids_or_all(function: Command) -> Command:
    """For what changes something: the tasks are named, filtered, or all of them are meant."""
    function = click.option("--all", "everything", is_flag=True, help="All that are parked.")(function)
    function = filters(function)
    return click.argument("task_ids", nargs=-1, metavar="[ID…]")(function)


def selection(
    *,
    reasons: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
    schema: str = "",
    older_than: timedelta | None = None,
    newer_than: timedelta | None = None,
    task_ids: tuple[str, ...] = (),
    everything: bool | None = None,
) -> Selection:
    """What the options select. Where `everything` may be said, nothing is selected without a word."""
    selected = Selection(
        task_ids=task_ids,
        reasons=tuple(ParkReason(reason) for reason in reasons),
        hosts=hosts,
        schema=schema,
        before=None if older_than is None else ago(older_than),
        after=None if newer_than is None else ago(newer_than),
    )
    if everything is not None and everything == (selected != Selection()):
        raise click.UsageError("name tasks by ID or by options, or say --all" + (", not both" if everything else ""))
    return selected
