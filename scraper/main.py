"""The command line: arguments → Settings → run → exit code (0 fine, 1 failed, 2 wrong usage, 130 interrupted)."""

from __future__ import annotations

import click

import scraper.lean_imports
from scraper import __version__
from scraper.commands import Group


@click.group(cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
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
    if context.invoked_subcommand not in {None, "run", "worker"}:  # these have much to import before they begin
        scraper.lean_imports.started()
    if context.invoked_subcommand is None:
        from scraper.commands import run

        context.invoke(run.command, until_empty=until_empty)
    elif until_empty:
        raise click.UsageError(f"--until-empty belongs to run, not to {context.invoked_subcommand}")


if __name__ == "__main__":
    main()
