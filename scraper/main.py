"""The command line: arguments → Settings → run → exit code (0 fine, 1 failed, 2 wrong usage)."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import scraper.lean_imports  # noqa: F401 imported for what it does
from scraper import __version__
from scraper.config import Settings, load_settings
from scraper.errors import Misconfigured, ScraperError
from scraper.lifeline import EXIT_MISCONFIGURED

if TYPE_CHECKING:
    from scraper.export import Format
    from scraper.models import Priority

EXIT_WRONG_USAGE = 2


class _Group(click.Group):
    """Turns the service's own errors into one clear line and the right exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ScraperError as error:
            raise _Failure(str(error)) from error


class _Failure(click.ClickException):
    exit_code = 1


@click.group(cls=_Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--until-empty", is_flag=True, help="End when no task is left, waiting ones included.")
@click.version_option(__version__, prog_name="scraper")
@click.pass_context
def main(context: click.Context, *, until_empty: bool) -> None:
    """Turn web pages in a queue into validated data, with your own vLLM server and without ever flooding it.

    Without a command it runs the workers. Settings come from the environment and from .env (see .env.example).

    \b
    Examples:
      python -m scraper.main submit --schema product urls.txt
      python -m scraper.main --until-empty
      python -m scraper.main export --format csv -o results.csv
      python -m scraper.main 2>&1 | python scripts/monitor_throttling.py
    """
    if context.invoked_subcommand is None:
        context.invoke(run, until_empty=until_empty)
    elif until_empty:
        raise click.UsageError(f"--until-empty belongs to run, not to {context.invoked_subcommand}")


@main.command()
@click.option("--until-empty", is_flag=True, help="End when no task is left, waiting ones included.")
def run(*, until_empty: bool) -> None:
    """Run the workers (what happens without a command).

    The first ctrl-c or SIGTERM lets them finish what they have in hand (DRAIN_SECONDS), the second stops at once.

    \b
    Example:
      WORKERS=2 python -m scraper.main run --until-empty
    """
    from scraper.app import supervise

    worked, summary = asyncio.run(supervise(_settings(), until_empty=until_empty, say=partial(click.echo, err=True)))
    if until_empty and worked:
        click.echo(summary, err=True)
    sys.exit(0 if worked else 1)


@main.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE…")
@click.option("--schema", help="A JSON Schema file, a ready-made schema's name, or module:Model (pydantic).")
@click.option("--instructions", help="What to look for, in your own words.")
@click.option("--priority", type=click.Choice(["normal", "high"]), help="Before the others, or not.")
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"]), help="Not after this.")
@click.option("--again", is_flag=True, help="Run tasks anew that are done or waiting.")
def submit(
    sources: tuple[str, ...],
    *,
    schema: str | None,
    instructions: str | None,
    priority: Priority | None,
    expires_at: datetime | None,
    again: bool,
) -> None:
    """Put pages into the queue: lists of URLs, .jsonl files of tasks, folders of .html files, or - for stdin.

    A line that is no task is refused with its number, and the others go on; the exit code is then 1. Tasks that are
    done or waiting already are skipped.

    \b
    Examples:
      scraper submit --schema product urls.txt
      scraper submit --schema article.json --instructions "the main article" saved-pages/
      generate-urls | scraper submit --schema my.models:Product -
    """
    from scraper.app import submit_files
    from scraper.observability.submit_bar import submit_bar
    from scraper.task_files import total_bytes

    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.astimezone()  # a time without a zone is the user's own
    with submit_bar(total_bytes(sources)) as progress:
        counts = asyncio.run(
            submit_files(
                _settings(),
                sources,
                schema=schema,
                instructions=instructions,
                priority=priority,
                expires_at=expires_at,
                again=again,
                refused=lambda line: click.echo(str(line), err=True),
                progress=progress,
            )
        )
    click.echo(
        f"{counts.queued} queued, {counts.skipped} skipped (done or waiting already), {counts.refused} refused",
        err=True,
    )
    sys.exit(1 if counts.refused else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def status(*, as_json: bool) -> None:
    """What waits, what is done, and why what is parked is.

    \b
    Example:
      scraper status --json
    """
    from scraper.app import queue_status

    report = asyncio.run(queue_status(_settings()))
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


@main.command()
@click.option("--format", "format_", type=click.Choice(["jsonl", "csv", "parquet"]), default="jsonl", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file; stdout without.")
@click.option("--status", "statuses", type=click.Choice(["done", "parked"]), multiple=True, help="Only these.")
def export(*, format_: Format, output: Path | None, statuses: tuple[str, ...]) -> None:
    """Write results, done and parked alike, for other programs.

    \b
    Examples:
      scraper export | jq .data
      scraper export --format csv --status done -o products.csv
    """
    from scraper.app import export_results

    count = asyncio.run(export_results(_settings(), output, format=format_, statuses=statuses or ("done", "parked")))
    if output is not None:
        click.echo(f"{count} results in {output}", err=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def check(*, as_json: bool) -> None:
    """Is everything reachable and sanely set? Exit code 1 if not.

    \b
    Example:
      scraper check
    """
    from scraper.app import check as look_at_everything

    findings = asyncio.run(look_at_everything(_settings()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding.verdict]} {finding.what}: {finding.message}")
    sys.exit(1 if any(finding.verdict == "failed" for finding in findings) else 0)


_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


@main.command(hidden=True)
def worker() -> None:
    """One worker process, started by `run`."""
    from scraper.app import work

    try:
        asyncio.run(work(_settings()))
    except Misconfigured as error:
        click.echo(error, err=True)
        sys.exit(EXIT_MISCONFIGURED)


def _settings() -> Settings:
    try:
        return load_settings()
    except Misconfigured as error:
        click.echo(f"Settings:\n{error}", err=True)
        sys.exit(EXIT_WRONG_USAGE)


if __name__ == "__main__":
    main()
