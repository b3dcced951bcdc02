"""Cleaning pages, each where it can do no harm: most in this process, large or suspect ones in a child's.

Parsing runs in C and cannot be interrupted: a large page would keep the event loop from its leases and heartbeats, and
one that crashes a parser would take its neighbours along. A child has a limit on time and memory and no secrets in its
environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from scraper.errors import Held, Permanent
from scraper.models import Document, Page, ParkReason, Task
from scraper.pipeline.children import COMMAND, IDLE_SECONDS, ChildDied, Children
from scraper.pipeline.clean import clean, clean_text
from scraper.pipeline.nesting import crowded, multiplies, tags_of, too_deep
from scraper.pipeline.schema import compile_schema
from scraper.pipeline.structured.plan import sources_for

LARGE_CHARS: Final = 256 * 1024
MANY_TAGS: Final = 20_000  # the worst that fewer can do to the parser is about half a second
CHILDREN: Final = 2  # at once; a machine's processors also run workers
CHILD_SECONDS: Final = 30.0  # on the wall; of processor time, see clean_process
NO_CHILD_SECONDS: Final = 15.0  # until a page is looked at again that no process could be started for
TRIES: Final = 2


def needs_child(html: str) -> bool:
    """Whether parsing `html` could take noticeably long, or much memory."""
    if len(html) > LARGE_CHARS:
        return True
    tags = tags_of(html)
    return tags > MANY_TAGS or crowded(html) or too_deep(html, tags=tags) or multiplies(html, tags=tags)


class Cleaner:
    """From pages to documents, at most `children` of them in child processes at once, which end with it."""

    def __init__(
        self,
        *,
        read_data: bool = False,
        children: int = CHILDREN,
        seconds: float = CHILD_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`read_data`: also read what the page says about itself for machines, as far as the schema asks for such."""
        self._read_data = read_data
        self._children = Children(most=children, seconds=seconds, idle_seconds=idle_seconds, command=command)

    async def __aenter__(self) -> Self:
        await self._children.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._children.__aexit__(kind, error, traceback)

    async def __call__(self, page: Page, task: Task, *, suspect: bool) -> Document:
        """The document that `page` holds. `suspect`: workers have died holding this task, so it gets a child.

        Raises Permanent(BAD_SCHEMA) where the schema is none, so that nothing is cleaned in vain, and
        Permanent(CRASH_LOOP) where the page kills its child, twice or by what it takes. Raises Held where no child can
        be started just now.
        """
        schema = compile_schema(task.schema)
        if not page.is_html:
            return clean_text(page.text)
        data_from = sources_for(schema) if self._read_data else ()
        if suspect or needs_child(page.text):
            return await self._in_child(page, keep_links=schema.wants_links, data_from=data_from)
        return clean(page.text, base_url=page.url, keep_links=schema.wants_links, data_from=data_from, is_flat=True)

    async def _in_child(self, page: Page, *, keep_links: bool, data_from: Sequence[str]) -> Document:
        html = page.text.encode("utf-8", "replace")
        options = {"base_url": page.url, "keep_links": keep_links, "data_from": data_from}
        deaths: list[ChildDied] = []
        while not deaths or (deaths[-1].again and len(deaths) < TRIES):
            try:
                return await self._children.clean(html, options)
            except ChildDied as death:
                deaths.append(death)
            except OSError as error:  # no memory, process or file left just now: the machine's fault, not the page's
                raise Held(
                    f"no process to clean a page could be started: {error}", after_seconds=NO_CHILD_SECONDS
                ) from error
        tried = f", {len(deaths)} times" if len(deaths) > 1 else ""
        raise Permanent(ParkReason.CRASH_LOOP, f"cleaning the page {deaths[-1]}, in a process of its own{tried}")
