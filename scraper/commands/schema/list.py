"""`schema list`: the schemas that a task may name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from scraper.commands import read_settings
from scraper.config import surprises
from scraper.errors import Permanent
from scraper.models import Json
from scraper.terminal_text import in_one_line


@click.command("list", short_help="The ready-made schemas, and yours.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, as_json: bool) -> None:
    """The schemas that a task may name: those that come with the service, and yours in SCHEMAS_DIR.

    \b
    Examples:
      scraper schema list
      scraper submit --schema recipe urls.txt
    """
    settings = read_settings()
    for setting, message in surprises(settings):
        if setting == "SCHEMAS_DIR":
            click.echo(f"{setting}: {message}", err=True)
    listed = list(_listed(settings.schemas_dir))
    if as_json:
        click.echo(json.dumps(listed, ensure_ascii=False))
        return
    width = max(len(each["name"]) for each in listed)
    for each in listed:
        click.echo(f"{each['name']:{width}}  {in_one_line(each['description'])}")


def _listed(folder: Path | None) -> list[dict[str, Json]]:
    from scraper.schemas import named_schema, schema_names

    by_name = partial(named_schema, folder=folder)
    return [
        {"name": name, "file": str(path), "description": _description(name, by_name)}
        for name, path in schema_names(folder=folder).items()
    ]


def _description(name: str, by_name: partial[Json]) -> str:
    try:
        told = by_name(name).get("description")
    except Permanent as error:
        return str(error)
    return told if isinstance(told, str) else ""
