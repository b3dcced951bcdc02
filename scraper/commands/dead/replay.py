"""`dead replay`: run parked tasks again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from scraper.commands import read_settings
from scraper.commands.dead.selecting import how_many_missing, ids_or_all, named_in_full, nothing_of_that_kind, selection
from scraper.commands.reaching import reach_broker
from scraper.config import Settings
from scraper.event_loop import run
from scraper.models import Json
from scraper.ports import Selection
from scraper.terminal_text import in_one_line

if TYPE_CHECKING:
    from scraper.replay import ReplayCounts


@click.command("replay", short_help="Run parked tasks again, changed if you like.")
@ids_or_all
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="schema=FILE|name, instructions=…, …")
@click.option("--fetch", "fetch_again", is_flag=True, help="Fetch the page again, even where it is stored.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, settings: tuple[str, ...], fetch_again: bool, as_json: bool, **chosen: Any) -> None:
    """Put parked tasks into the queue again, under their own ids and with no attempt spent.

    A page that is stored is not fetched again: a new prompt reads the same page. --set changes schema, instructions,
    priority or expires_at on the way; an empty value takes the field away. A task that cannot be changed so stays
    parked, with a line on stderr, and the exit code is 1. Of an id that the program made, the beginning will do (8
    characters), if no other begins so.

    \b
    Examples:
      scraper dead replay --reason schema_invalid --set schema=product-v2.json
      scraper dead replay 4f1c0a7e --set instructions="the price without shipping"
      scraper dead replay --reason page_gone --host shop.example --fetch
    """
    counts, missing, waiting = run(
        replay_parked(
            read_settings(),
            selection(**chosen),
            changes=settings,
            fetch_again=fetch_again,
            refused=lambda task_id, why: click.echo(f"{in_one_line(task_id)}: {in_one_line(why)}", err=True),
        )
    )
    if as_json:
        click.echo(json.dumps({**asdict(counts), "not_parked": missing}))
    none = "" if counts.replayed or counts.refused or missing else nothing_of_that_kind(waiting)
    click.echo(
        f"{counts.replayed} in the queue again, {counts.refused} refused{how_many_missing(missing)}{none}",
        err=True,
    )
    sys.exit(1 if counts.refused or missing else 0)


async def replay_parked(
    settings: Settings,
    selected: Selection,
    *,
    changes: tuple[str, ...],
    fetch_again: bool,
    refused: Callable[[str, str], None],
) -> tuple[ReplayCounts, int, int]:
    """What was done, how many that were named it could not be done with, and how many wait in the queue by now."""
    from scraper.app import open_workbench, task_decoder
    from scraper.observability.logs import log_events
    from scraper.replay import replay

    parsed = _parsed(changes, settings)
    observe = log_events(level=settings.log_level, style=settings.log_format)  # says what it waits for
    async with open_workbench(settings) as workbench, AsyncExitStack() as stack:
        broker = await reach_broker(settings, stack, observe=observe)
        named = await named_in_full(selected, workbench, unknown=lambda why: click.echo(why, err=True))
        counts = await replay(
            named,
            workbench=workbench,
            broker=broker,
            decode=task_decoder(settings),
            changes=parsed,
            fetch_again=fetch_again,
            refused=refused,
            observe=observe,
        )
        waiting = await workbench.waiting()
    return counts, max(0, len(named.task_ids) - counts.replayed - counts.refused), waiting


def _parsed(changes: tuple[str, ...], settings: Settings) -> Mapping[str, Json]:
    """Field → value, None for an empty one; the schema is read and checked now, once for all tasks."""
    from scraper.pipeline.schema import compile_schema
    from scraper.replay import CHANGEABLE
    from scraper.schema_source import load_schema
    from scraper.schemas import named_schema

    found: dict[str, Json] = {}
    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or field not in CHANGEABLE:
            raise click.UsageError(f"--set {change}: give FIELD=VALUE with one of {', '.join(CHANGEABLE)}")
        found[field] = value or None
    if (schema := found.get("schema")) is not None:
        by_name = partial(named_schema, folder=settings.schemas_dir)
        found["schema"] = dict(load_schema(schema, named_schema=by_name, check_schema=compile_schema))
    return found
