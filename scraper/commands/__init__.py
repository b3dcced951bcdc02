"""The commands, one module each: `NAME.py` holds the click command `command` and how it is put together.

A module is imported only when its command is asked for; what a command needs it imports where it runs.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from scraper.config import ENV_FILE, Settings, load_settings
from scraper.errors import Misconfigured, ScraperError
from scraper.standard_output import prepare_standard_output, standard_output
from scraper.terminal_text import defused

EXIT_WRONG_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
"""As a shell says it of whatever ctrl-c ended."""
COMMANDS: Final = (
    "run",
    "submit",
    "status",
    "export",
    "check",
    "schema",
    "throttle",
    "dead",
    "prune",
    "dashboard",
    "worker",
)
"""In the order in which a newcomer meets them."""


class Group(click.Group):
    """Finds commands by their module, and turns the service's own errors into one clear line and exit code 1."""

    def __init__(
        self, *arguments: Any, package: str = __name__, names: Sequence[str] = COMMANDS, **options: Any
    ) -> None:
        """Each of `names` is a module of `package`."""
        super().__init__(*arguments, **options)
        self._package = package
        self._names = names

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(self._names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in self._names:
            return None
        found: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := difflib.get_close_matches(args[0], self._names, n=1):
                raise click.UsageError(f"{error.message} Did you mean {near[0]}?", ctx) from error
            raise

    def main(self, *arguments: Any, **options: Any) -> Any:
        prepare_standard_output()
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _errors_in_one_line():  # --help and --version write here
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_in_one_line():
            return super().invoke(ctx)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        with standard_output():
            yield
    except ScraperError as error:
        raise click.ClickException(defused(str(error))) from error  # it may quote a file's name, or a broker


def read_settings(env_file: Path = ENV_FILE) -> Settings:
    """The settings, or exit code 2 with a line for each mistake."""
    try:
        return load_settings(env_file)
    except Misconfigured as error:
        click.echo(f"Settings:\n{defused(str(error))}", err=True)
        sys.exit(EXIT_WRONG_USAGE)
