"""`status`: what waits, what is done, what is parked."""

from __future__ import annotations

import asyncio
import json

import click

from scraper.commands import read_settings
from scraper.config import Settings
from scraper.models import Json


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, as_json: bool) -> None:
    """What waits, what is done, and why what is parked is.

    \b
    Example:
      scraper status --json
    """
    report = asyncio.run(queue_status(read_settings()))
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(f"tasks    {report['tasks']}")
    click.echo(f"waiting  {report['waiting']}   (for a host's turn, a retry, or the model server)")
    click.echo(f"done     {report['done']}")
    click.echo(f"parked   {report['parked']}")
    for reason, count in sorted(report["reasons"].items(), key=lambda item: -item[1]):
        click.echo(f"  {reason:20} {count}")
    if report["consumers"] is not None:
        click.echo(f"consumers {report['consumers']}")


async def queue_status(settings: Settings) -> dict[str, Json]:
    """What waits, what is done, and why what is parked is."""
    from scraper.app import open_broker, open_store
    from scraper.observability.logs import log_events

    observe = log_events(level=settings.log_level, style=settings.log_format)  # says what it waits for
    async with open_store(settings, create=False) as store, open_broker(settings, observe=observe) as broker:
        depth = await broker.depth()
        counts = await store.counts()
    parked = {str(reason): count for (status, reason), count in counts.items() if status == "parked"}
    return {
        "tasks": depth.tasks,
        "waiting": depth.waiting,
        "consumers": depth.consumers,
        "done": sum(count for (status, _), count in counts.items() if status == "done"),
        "parked": sum(parked.values()),
        "reasons": parked,
    }
