"""`submit`: pages into the queue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Self

import click

from scraper.commands import EXIT_INTERRUPTED, read_settings
from scraper.commands.reaching import reach_broker
from scraper.config import Settings
from scraper.event_loop import run
from scraper.events import Back, Event, Observe, WaitingFor
from scraper.models import Priority
from scraper.terminal_text import in_one_line

if TYPE_CHECKING:
    from scraper.submit import SubmitCounts
    from scraper.task_files import Refused


class Refusals:
    """Says what is refused, and of lines on end with the same mistake the first and how far it goes."""

    def __init__(self, echo: Callable[[str], object]) -> None:
        self._echo = echo
        self._last: Refused | None = None
        self._first_line = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def tell(self, refused: Refused) -> None:
        if not self._goes_on(refused):
            self._end()
            self._first_line = refused.line or 0
            self._echo(str(refused))
        self._last = refused

    def _goes_on(self, refused: Refused) -> bool:
        last = self._last
        return last is not None and last.line is not None and refused == replace(last, line=last.line + 1)

    def _end(self) -> None:
        last = self._last
        if last is None or last.line is None or last.line == self._first_line:
            return
        more = self._first_line + 1
        self._echo(f"{last.source} line{f's {more} to' if last.line > more else ''} {last.line}: the same")


class Waits:
    """Says in words what a submission waits for, once until that is back; whatever else happens goes to `log`."""

    def __init__(self, say: Callable[[str], object], *, log: Observe) -> None:
        self._say = say
        self._log = log
        self._away: set[str] = set()
        self.patient = False  # nobody gives up by itself any more

    def hear(self, event: Event) -> None:
        match event:
            case WaitingFor(what=what) if self.patient:
                if what not in self._away:
                    self._away.add(what)
                    self._say(
                        f"waiting for the {_NAMES.get(what, what)}: {event.error}; it goes on by itself as soon as "
                        "that is better, and ctrl-c ends it"
                    )
            case Back(what=what) if what in self._away:
                self._away.remove(what)
                self._say(f"the {_NAMES.get(what, what)} is back after {event.after_s:.0f} s: it goes on")
            case _:
                self._log(event)


_NAMES = {"broker": "queue", "store": "results store"}


@click.command("submit", short_help="Put pages into the queue: URLs, tasks, saved pages.")
@click.argument("sources", nargs=-1, required=True, metavar="FILE…")
@click.option("--schema", help="A JSON Schema file, a ready-made schema's name, or module:Model (pydantic).")
@click.option("--instructions", help="What to look for, in your own words.")
@click.option("--priority", type=click.Choice(["normal", "high"]), help="high: before the others.")
@click.option(
    "--expires-at",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"]),
    help="Park it if not begun by then.",
)
@click.option("--again", is_flag=True, help="Run tasks anew that are done or waiting.")
def command(
    sources: tuple[str, ...],
    *,
    schema: str | None,
    instructions: str | None,
    priority: Priority | None,
    expires_at: datetime | None,
    again: bool,
) -> None:
    """Put pages into the queue: lists of URLs, one a line, .jsonl files of tasks, folders of .html files, - for stdin.

    A line that is no task is refused with its number, and the others go on; the exit code is then 1. Tasks that are
    done or waiting already are skipped.

    \b
    Examples:
      scraper submit --schema product urls.txt
      scraper submit --schema article.json --instructions "the main article" saved-pages/
      generate-urls | scraper submit --schema my.models:Product -
    """
    from scraper.observability.submit_bar import submit_bar
    from scraper.task_files import total_bytes

    if expires_at is not None and expires_at.tzinfo is None:
        try:
            expires_at = expires_at.astimezone()  # a time without a zone is the user's own
        except (ValueError, OverflowError, OSError) as error:
            raise click.BadParameter("beyond the years that can be reckoned with", param_hint="--expires-at") from error
    from scraper.submit import SubmitCounts

    def say(line: str) -> None:
        click.echo(in_one_line(line), err=True)  # a file may be called anything

    counts = SubmitCounts()

    def count(so_far: SubmitCounts) -> None:
        nonlocal counts
        counts = so_far
        progress(so_far)

    interrupted = ""
    try:
        with submit_bar(total_bytes(sources)) as progress, Refusals(say) as refusals:
            run(
                submit_files(
                    read_settings(),
                    sources,
                    schema=schema,
                    instructions=instructions,
                    priority=priority,
                    expires_at=expires_at,
                    again=again,
                    refused=refusals.tell,
                    progress=count,
                    say=say,
                )
            )
    except KeyboardInterrupt:
        interrupted = "; interrupted: submit the same once more, without --again, and what is in is skipped"
    totals = f"{counts.queued} queued, {counts.skipped} skipped (done or waiting already), {counts.refused} refused"
    say(totals + interrupted)
    sys.exit(EXIT_INTERRUPTED if interrupted else 1 if counts.refused else 0)


async def submit_files(
    settings: Settings,
    sources: Sequence[str],
    *,
    schema: str | None,
    instructions: str | None,
    priority: Priority | None,
    expires_at: datetime | None,
    again: bool,
    refused: Callable[[Refused], None],
    progress: Callable[[SubmitCounts], None],
    say: Callable[[str], None],
) -> SubmitCounts:
    """Put what `sources` hold into the queue; `say` gets in words what it has to wait for meanwhile."""
    from scraper.app import open_store, open_traces, task_decoder
    from scraper.observability.logs import log_events
    from scraper.pipeline.charset import decode as decode_page
    from scraper.pipeline.fetch_address import refuse_hopeless
    from scraper.pipeline.schema import compile_schema
    from scraper.schema_source import load_schema
    from scraper.schemas import named_schema
    from scraper.submit import submit, untraced
    from scraper.task_files import Defaults, TaskReader, check_sources

    check_sources(sources)
    waits = Waits(say, log=log_events(level=settings.log_level, style=settings.log_format))
    by_name = partial(named_schema, folder=settings.schemas_dir)
    defaults = Defaults(
        schema=load_schema(schema, named_schema=by_name, check_schema=compile_schema) if schema else None,
        instructions=instructions,
        priority=priority,
        expires_at=expires_at,
    )
    reader = TaskReader(
        decode=task_decoder(settings),
        named_schema=by_name,
        check_schema=compile_schema,
        check_url=refuse_hopeless,
        defaults=defaults,
        max_task_bytes=settings.task_max_bytes,
        decode_page=partial(decode_page, header_charset=None),
    )
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        broker = await reach_broker(settings, stack, observe=waits.hear)
        waits.patient = True
        return await submit(
            reader.read(sources),
            broker=broker,
            store=store,
            again=again,
            refused=refused,
            progress=progress,
            trace=open_traces(stack).submitted if settings.traces else untraced,
            observe=waits.hear,
        )
