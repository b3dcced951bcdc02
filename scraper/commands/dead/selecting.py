"""Which parked tasks a command is about: the options that all of them share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import click

from scraper.commands.ages import Age, ago
from scraper.errors import Misconfigured
from scraper.models import ParkReason
from scraper.observability.view import number_of
from scraper.ports import Selection, Workbench

Command = TypeVar("Command", bound=Callable[..., Any])

OWN_ID_CHARS = 32  # of an id that was made from a task's content
_SHORTENED = re.compile(r"[0-9a-f]{8,31}")
_TOO_SHORT = re.compile(r"[0-9a-f]{1,7}")
_SHOWN = 5  # ids that begin alike

REASONS = click.Choice([reason.value for reason in ParkReason])


def filters(function: Command) -> Command:
    """The options `selection` understands."""
    for option in (
        click.option("--newer-than", type=Age(), help="Parked since then, as in 2h."),
        click.option("--older-than", type=Age(), help="Parked before then, as in 30d."),
        click.option("--schema", default="", help="With the schema of this title or name."),
        click.option("--host", "hosts", multiple=True, help="Of this host; * stands for anything."),
        click.option(
            "--reason", "reasons", type=REASONS, metavar="REASON", multiple=True, help="Parked for this reason."
        ),
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


async def in_full(task_id: str, workbench: Workbench) -> str | None:
    """The id of the parked task that is meant; None if there is none. Raises Misconfigured where several begin so.

    Ids that somebody chose are never shortened: `order-1` shall not drop `order-10`.
    """
    if await workbench.find(task_id) is not None:
        return task_id
    if not _SHORTENED.fullmatch(task_id):
        return None
    begun = await workbench.begun_with(task_id, length=OWN_ID_CHARS, most=_SHOWN)
    if len(begun) > 1:
        raise Misconfigured(f"several parked tasks begin with {task_id!r}: {', '.join(begun)}; give more of the one")
    return begun[0] if begun else None


async def named_in_full(selected: Selection, workbench: Workbench, *, unknown: Callable[[str], object]) -> Selection:
    """With every id in full; tells `unknown` of those that no parked task has. They stay: no id would mean all."""
    task_ids: dict[str, None] = {}
    for task_id in dict.fromkeys(selected.task_ids):
        found = await in_full(task_id, workbench)
        if found is None:
            unknown(not_parked(task_id))
        task_ids[found or task_id] = None
    return replace(selected, task_ids=tuple(task_ids))


def not_parked(task_id: str) -> str:
    """For whoever asked for it."""
    longer = " (of an id, give 8 characters or more)" if _TOO_SHORT.fullmatch(task_id) else ""
    return f"no task {task_id!r} is parked; `scraper dead list` shows which are{longer}"


def nothing_of_that_kind(waiting: int) -> str:
    """The end of that sentence where nothing was done, for `waiting` parked tasks that are in the queue again."""
    again = f"; {number_of('parked task', waiting)} {'waits' if waiting == 1 else 'wait'} in the queue again"
    return f": nothing of that kind is parked{again if waiting else ''}"


def how_many_missing(missing: int) -> str:
    """The end of the sentence that says what was done; nothing where nothing is amiss."""
    return f", {missing} of the named are not parked or wait already" if missing else ""
