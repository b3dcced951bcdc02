"""`status`: what waits, what is done, what is parked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import click

from scraper.commands import read_settings
from scraper.commands.reaching import reach_broker
from scraper.config import Settings
from scraper.errors import Unavailable
from scraper.event_loop import run
from scraper.events import ignore
from scraper.models import Json, Usage
from scraper.ports import Depth


@click.command("status", short_help="What waits, is done, is parked; where time went.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, as_json: bool) -> None:
    """What waits, what is done, why what is parked is, and where tokens and time went.

    Tokens and time are those of the results that are stored: what was spent on one that a later run replaced is not
    counted. With the broker away it says that, and what the results hold; the exit code is then 1.

    \b
    Example:
      scraper status --json
    """
    report = run(queue_status(read_settings()))
    for line in [json.dumps(report)] if as_json else _lines(report):
        click.echo(line)
    sys.exit(1 if report["away"] else 0)


def _lines(report: dict[str, Json]) -> Iterator[str]:
    if report["away"]:
        yield f"queue    away: {report['away']}"
    else:
        yield f"tasks    {report['tasks']}   (ready for a worker)"
        yield f"waiting  {report['waiting']}   (for a host's turn, a retry, or the model server)"
        yield f"in hand  {report['in_hand']}   (workers are at them)"
    if report["parking"]:
        yield f"parking  {report['parking']}   (given up, and not in the results yet)"
    yield f"done     {report['done']}"
    again = f"   ({report['waiting_again']} in the queue again)" if report["waiting_again"] else ""
    yield f"parked   {report['parked']}{again}"
    for reason, count in sorted(report["reasons"].items(), key=lambda item: -item[1]):
        yield f"  {reason:20} {count}"
    if report["parked"]:
        yield "  (scraper dead list says why, scraper dead replay runs them again)"
    if report["consumers"] is not None:
        yield f"consumers {report['consumers']}"
    yield from _tokens_time_and_run(report)


def _tokens_time_and_run(report: dict[str, Json]) -> Iterator[str]:
    from scraper.observability import time_spent

    if (tokens := report["tokens_spent"])["calls"]:
        cached = f"{tokens['cached_share']:.0%} of them from the server's prefix cache"
        if not tokens["cached"]:
            cached = "none of them from a prefix cache as far as the server tells"
        yield f"tokens   {tokens['prompt']:,} read, {cached}"
        calls = f"{tokens['calls']:,} {'call' if tokens['calls'] == 1 else 'calls'}"
        yield f"         {tokens['completion']:,} written, in {calls}; {_covered(report)}"
    if report["time"]:
        yield f"time     {_covered(report)}"
        yield from time_spent.lines(report["time"])
    running = report["running"]
    if running is None:
        left = not report["away"] and report["tasks"] + report["waiting"] + report["in_hand"]
        yield f"workers  none is running here{'; scraper --until-empty does what is left' if left else ''}"
        return
    yield f"workers  {running['workers']} running; limited by {running['limited_by']}"
    yield f"GPU      {running['gpu']}"
    yield from time_spent.lines(running["recent_seconds"])


def _covered(report: dict[str, Json]) -> str:
    """Whose tokens and time these are: a result that a later run replaced has taken its own along."""
    stored = report["done"] + report["parked"]
    return (
        f"of the {stored} stored results" if stored <= RESULTS_LOOKED_AT else f"of the last {RESULTS_LOOKED_AT} results"
    )


RESULTS_LOOKED_AT = 10_000


async def queue_status(settings: Settings) -> dict[str, Json]:
    """What waits, what is done, and why what is parked is."""
    from scraper.app import open_store, open_workbench
    from scraper.commands.attached import host_picture
    from scraper.observability.view import Queue

    async with open_store(settings, create=False) as store:
        depth, away = await _depth(settings)
        counts = await store.counts()
        spent = await store.time_spent(RESULTS_LOOKED_AT)
        tokens, calls = await store.tokens_spent(RESULTS_LOOKED_AT)
    parked = {str(reason): count for (status, reason), count in counts.items() if status == "parked"}
    waiting_again = 0
    if parked:
        async with open_workbench(settings) as workbench:
            waiting_again = await workbench.waiting()
    picture = await host_picture(settings)
    in_hand = None
    if depth is not None:
        in_hand = picture.total().in_hand if depth.in_hand is None else depth.in_hand  # RabbitMQ does not say
        picture.queue_says(Queue(depth.tasks + depth.parked, depth.waiting, in_hand), at=time.time())
    view = picture.view(time.time())
    return {
        "away": away,
        "tasks": depth and depth.tasks,
        "waiting": depth and depth.waiting,
        "in_hand": in_hand,
        "parking": depth and depth.parked,
        "consumers": depth and depth.consumers,
        "done": sum(count for (status, _), count in counts.items() if status == "done"),
        "parked": sum(parked.values()),
        "waiting_again": waiting_again,
        "reasons": parked,
        "tokens_spent": _tokens_spent(tokens, calls),
        "time": {phase: round(seconds, 3) for phase, seconds in spent.items()},
        "running": view.plain() if view.workers else None,
    }


async def _depth(settings: Settings) -> tuple[Depth | None, str]:
    """What the broker counts, or why it is away."""
    async with AsyncExitStack() as stack:
        try:
            return await (await reach_broker(settings, stack, observe=ignore)).depth(), ""
        except Unavailable as error:
            return None, str(error)


def _tokens_spent(tokens: Usage, calls: int) -> dict[str, Json]:
    return {
        "prompt": tokens.prompt_tokens,
        "cached": tokens.cached_tokens,
        "cached_share": round(tokens.cached_tokens / max(1, tokens.prompt_tokens), 3),
        "completion": tokens.completion_tokens,
        "calls": calls,
    }
