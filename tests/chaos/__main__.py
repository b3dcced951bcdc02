"""The chaos suite by hand, as hard and as long as one likes; `make chaos` runs it.

Every row once, or again and again with other seeds until the time is over; then the table of what was seen.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tests.chaos.rows import ROWS, RUNS, Kind, Row, Run, run_rows
from tests.chaos.world import BROKER_PASSWORD
from tests.rabbitmq import PrivateNode, server_script

MOST_SHOWN = 20  # breaches of one run; all of them are in its folder
NAMES = [row.name for row in ROWS]


@click.command(context_settings={"show_default": True})
@click.option("--tasks", default=2000, type=click.IntRange(20), help="Tasks in each run.")
@click.option(
    "--seconds", default=0.0, type=click.FloatRange(0), help="Begin rows for so long, over and over; 0: each once."
)
@click.option("--row", "names", multiple=True, type=click.Choice(NAMES), help="Only this one; may be repeated.")
@click.option("--on", default=None, type=click.Choice(["embedded", "rabbitmq"]), help="Only on this broker.")
@click.option("--lanes", default=1, type=click.IntRange(1), help="Runs at a time.")
@click.option("--seed", default=1, help="Of everything that is drawn.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each run, as it ends.")
def main(
    *, tasks: int, seconds: float, names: tuple[str, ...], on: str | None, seed: int, lanes: int, as_json: bool
) -> None:
    """Break things while tasks run, and count what became of each task.

    \b
    Examples:
      python -m tests.chaos --row worker-killed --tasks 200
      python -m tests.chaos --seconds 3600 --json > chaos.jsonl
    """  # noqa: D301 click reads the escape
    wanted = [(row, kind) for row, kind in RUNS if (not names or row.name in names) and on in (None, kind)]
    runs: list[Run] = []
    until = time.monotonic() + seconds if seconds else math.inf

    def ended(run: Run) -> None:
        runs.append(run)
        click.echo(
            f"{run.row} on {run.kind}: {run.count.done} done, {run.count.parked} parked, {run.seconds} s", err=True
        )
        click.echo("".join(f"  {breach}\n" for breach in run.breaches[:MOST_SHOWN]), err=True, nl=False)
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(run)))

    with PrivateNode(password=BROKER_PASSWORD) as node:
        again = True
        while again:
            asyncio.run(_all(wanted, ended, tasks=tasks, seed=seed, node=node, lanes=lanes, until=until))
            again = bool(seconds) and time.monotonic() < until
            seed += 1
    if not as_json:
        Console(width=None if sys.stdout.isatty() else 200).print(_table(runs))
    sys.exit(any(run.breaches for run in runs))


async def _all(wanted: list[tuple[Row, Kind]], ended: Callable[[Run], None], **how: Any) -> None:
    async for run in run_rows(wanted, **how):
        ended(run)


def _table(runs: list[Run]) -> Table:
    table = Table(title=f"broker: {server_script().parent.parent.name}", title_justify="left")
    for name in ("fault", "broker", "what happened"):
        table.add_column(name)
    for name in ("tasks", "lost", "twice", "parked = poison", "in flight", "in a minute", "ahead", "gap", "seconds"):
        table.add_column(name, justify="right")
    for run in runs:
        count = run.count
        parked = f"{count.parked} = {count.poison}" + (
            f", {count.wrongly_parked} wrong" if count.wrongly_parked else ""
        )
        table.add_row(
            run.row,
            run.kind,
            ", ".join(f"{what}: {times:g}" for what, times in run.happened.items()),
            str(count.tasks),
            str(count.lost),
            str(count.twice),
            parked,
            str(count.max_in_flight),
            str(count.most_in_a_minute),
            f"{count.ahead:.2f}",
            "" if count.smallest_gap is None else f"{count.smallest_gap * 1000:.0f} ms",
            f"{run.seconds:.0f}",
            style="red" if run.breaches else None,
        )
    return table


if __name__ == "__main__":
    main()
