"""`export`: results for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scraper.commands import read_settings
from scraper.config import Settings
from scraper.event_loop import run
from scraper.observability.view import number_of

if TYPE_CHECKING:
    from scraper.export import Format


@click.command("export")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    help="By default as the file's name ends; jsonl without an ending.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout without, or with -."
)
@click.option("--status", "statuses", type=click.Choice(["done", "parked"]), multiple=True, help="Only these.")
def command(*, format_: Format | None, output: Path | None, statuses: tuple[str, ...]) -> None:
    """Write results, done and parked alike, for other programs.

    \b
    Examples:
      scraper export | jq .data
      scraper export --status done -o products.csv
      scraper export --format csv | head
    """
    if output == Path("-"):
        output = None
    chosen = format_ or format_of(output)
    count = run(export_results(read_settings(), output, format=chosen, statuses=statuses or ("done", "parked")))
    if output is not None:
        click.echo(f"{number_of('result', count)} in {output}", err=True)


def format_of(output: Path | None) -> Format:
    """The format that a file's name promises."""
    match "" if output is None else output.suffix.lower():
        case ".csv":
            return "csv"
        case ".parquet":
            return "parquet"
        case "" | ".jsonl" | ".ndjson":
            return "jsonl"
        case ending:
            raise click.BadParameter(
                f"{output}: no format for {ending}; let it end in .jsonl, .csv or .parquet, or name one with --format",
                param_hint="-o",
            )


async def export_results(
    settings: Settings,
    out: Path | None,
    *,
    format: Format,  # noqa: A002 the option's name
    statuses: Sequence[str],
) -> int:
    from scraper.app import open_store
    from scraper.export import export

    async with open_store(settings, create=False) as store:
        return await export(store, out or sys.stdout.buffer, format=format, statuses=statuses)
