"""`dead show`: one parked task, with all that is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from scraper.commands import read_settings
from scraper.commands.dead.export import as_object
from scraper.commands.dead.selecting import in_full, not_parked
from scraper.config import Settings
from scraper.credentials import address_without_credentials
from scraper.errors import Misconfigured, Permanent
from scraper.event_loop import run
from scraper.models import Json, Page, Remains, Task
from scraper.observability.view import seconds_text
from scraper.terminal_text import defused, in_one_line

LONGEST_FIELD = 2000  # characters of what is shown unasked


@click.command("show", short_help="One parked task: errors, answer, what was asked.")
@click.argument("task_id", metavar="ID")
@click.option("--input", "with_input", is_flag=True, help="Also what the model gets to read of the page.")
@click.option("--page", "with_page", is_flag=True, help="Also the page as it was fetched or submitted.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, task_id: str, with_input: bool, with_page: bool, as_json: bool) -> None:
    """One parked task: what was asked, every error over its attempts, the model's last answer, where the time went.

    What stands on the page is shown on demand only. Control characters of hostile pages are spelt out. Of an id that
    the program made, the beginning will do (8 characters), if no other begins so.

    \b
    Examples:
      scraper dead show 4f1c0a7e
      scraper dead show 4f1c0a7e --input | less
    """
    story = run(tell(read_settings(), task_id, with_input=with_input, with_page=with_page))
    if as_json:
        click.echo(json.dumps(story))
    else:
        for line in _lines(story):
            click.echo(line)


async def tell(settings: Settings, task_id: str, *, with_input: bool, with_page: bool) -> dict[str, Json]:
    """All that is known of a parked task. Raises Misconfigured where there is none of this id."""
    from scraper.app import open_workbench, task_decoder

    async with open_workbench(settings) as workbench:
        found = await workbench.find(await in_full(task_id, workbench) or task_id)
    if found is None:
        raise Misconfigured(not_parked(task_id))
    result, remains, waits = found
    try:
        task: Task | None = task_decoder(settings)(remains.body)
    except Permanent:
        task = None
    page = _page(remains, task)
    story = as_object(result, remains, page=False) | {
        "waits_again": waits,
        "page_chars": None if page is None else len(page.text),
    }
    if with_page:
        story["page"] = None if page is None else page.text
    if with_input:
        story["input"] = await _input(page, task)
    return story


def _page(remains: Remains, task: Task | None) -> Page | None:
    if remains.page is not None or task is None or task.url is not None:
        return remains.page
    return Page(task.base_url, task.html or task.text or "", is_html=task.html is not None)


async def _input(page: Page | None, task: Task | None) -> str | None:
    """The page as this version of the program cleans it, in a process of its own: it may be what killed another."""
    from scraper.pipeline.isolation import Cleaner

    if page is None or task is None:
        return None
    try:
        async with Cleaner() as clean:
            return (await clean(page, task, suspect=True)).text
    except Permanent as error:
        return f"({error})"


def _lines(story: dict[str, Json]) -> Iterator[str]:
    yield f"{in_one_line(story['task_id'])}: parked, {story['reason']}" + (
        " (waits in the queue again)" if story["waits_again"] else ""
    )
    for name in ("url", "finished_at", "model", "calls", "attempts", "cut"):
        if story[name]:
            yield f"  {name:<12} {_value(story[name])}"
    if story["calls"]:
        usage = story["usage"]
        yield f"  {'tokens':<12} {usage['prompt_tokens']:,} read, {usage['completion_tokens']:,} written"
    if story["timings"]:
        longest = sorted(story["timings"].items(), key=lambda item: -item[1])
        yield f"  {'time':<12} {', '.join(f'{phase} {seconds_text(spent)}' for phase, spent in longest)}"
    yield "errors"
    for failure in story["errors"]:
        yield f"  {failure['at'][:19]}  attempt {failure['attempt']}: {in_one_line(failure['error'])}"
    yield "task"
    yield from _task_lines(story)
    for name, title in (("answer", "the model's last answer"), ("input", "input, as cleaned now"), ("page", "page")):
        if story.get(name) is not None:
            yield title
            yield from (f"  {line}" for line in defused(story[name]).splitlines())
        elif name in story and name != "answer":
            yield f"{title}: not stored"
    if "page" not in story and story["page_chars"] is not None:
        yield f"page: {story['page_chars']} characters; --input shows what the model reads of it, --page all"


def _task_lines(story: dict[str, Json]) -> Iterator[str]:
    task = story["task"]
    if not isinstance(task, dict):
        shown: Any = story.get("body_base64", task)
        yield f"  no JSON object: {in_one_line(str(shown), most=LONGEST_FIELD)}"
        return
    for name, value in task.items():
        if name in {"html", "text"} and isinstance(value, str):
            yield f"  {name:<12} ({len(value)} characters: --page)"
        elif name == "schema" and isinstance(value, dict):
            yield f"  {name:<12} {in_one_line(_in_short(value), most=LONGEST_FIELD)}"
        else:
            yield f"  {in_one_line(str(name), most=60):<12} {_value(value)}"


def _in_short(schema: dict[str, Json]) -> str:
    """What it is called and what it asks for; a whole one fills the screen."""
    asked = schema.get("properties")
    properties = ", ".join(map(str, asked)) if isinstance(asked, dict) and asked else json.dumps(schema.get("type"))
    return f"{schema.get('title') or 'without a title'}: {properties}   (--json has it whole)"


def _value(value: Json) -> str:
    text = address_without_credentials(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return in_one_line(text, most=LONGEST_FIELD)
