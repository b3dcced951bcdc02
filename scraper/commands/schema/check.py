"""`schema check`: what a schema asks for, what a model's grammar can hold it to, and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click

from scraper.commands import read_settings
from scraper.errors import Permanent
from scraper.terminal_text import in_one_line

if TYPE_CHECKING:
    from scraper.config import Settings
    from scraper.pipeline.schema_advice import Advice

_MARKS = {"refused": "REFUSED ", "loose": "loose   ", "hint": "hint    ", "data": "data    "}


@click.command("check", short_help="What the model server cannot hold an answer to.")
@click.argument("schema", metavar="FILE|NAME|module:Model")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(schema: str, *, as_json: bool) -> None:
    """Say in plain words what a schema asks for that the model server's grammar cannot hold an answer to.

    \b
    refused  no task can be run with it; exit code 1
    loose    the model may break it; an answer that does is sent back once, and parked if it is still wrong
    hint     what would make answers better or cheaper
    data     a page's own data may answer it, without the model

    \b
    Examples:
      scraper schema check product.json
      scraper schema check shop.models:Product --json
    """
    found = check(read_settings(), schema)
    refused = any(each.verdict == "refused" for each in found)
    if as_json:
        click.echo(json.dumps({"schema": schema, "usable": not refused, "findings": [asdict(each) for each in found]}))
    else:
        for each in found:
            click.echo(in_one_line(f"{_MARKS[each.verdict]} {each.path}: {each.message}"))
        click.echo(f"{schema}: {'no task can be run with it' if refused else 'usable'}", err=True)
    sys.exit(1 if refused else 0)


def check(settings: Settings, source: str) -> list[Advice]:
    """All that is to be said about the schema that `source` means. Raises Misconfigured where there is none."""
    from scraper.pipeline.schema import compile_schema
    from scraper.pipeline.schema_advice import Advice, advice
    from scraper.schema_source import load_schema
    from scraper.schemas import named_schema

    schema = load_schema(source, named_schema=partial(named_schema, folder=settings.schemas_dir), option="")
    try:
        return advice(compile_schema(schema))
    except Permanent as error:
        path, _, message = str(error).removeprefix("schema ").partition(": ")
        return [Advice(path, "refused", message)]
