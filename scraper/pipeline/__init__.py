"""The steps of a task on one screen: decode → fetch → clean → extract (answered before? else ask, validate, repair)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.models import Document, Extraction, Page, ParkReason, Task
from scraper.trace import Trace

HIDDEN: Final = frozenset(
    {"hidden", "transparent", "zero_size", "off_screen", "same_colour", "zero_width", "smuggled", "bidi", "control"}
)
"""The ways in which a page hides elements and characters; what else is dropped are scripts, comments and such."""


class Fetch(Protocol):
    async def fetch(self, url: str, *, trace: Trace) -> Page: ...


class Clean(Protocol):
    async def __call__(self, page: Page, task: Task, *, suspect: bool) -> Document: ...


class Extract(Protocol):
    async def extract(self, document: Document, task: Task, *, deadline: Deadline, trace: Trace) -> Extraction: ...


class PagePipeline:
    """Each step takes what the step before it made; every error says by its kind what to do about the task."""

    def __init__(self, *, decode: Callable[[bytes], Task], fetch: Fetch, clean: Clean, extract: Extract) -> None:
        self._decode = decode
        self._fetch = fetch
        self._clean = clean
        self._extract = extract

    def decode(self, body: bytes) -> Task:
        """The task that a queue body asks for; raises Permanent."""
        return self._decode(body)

    async def run(
        self, task: Task, *, deadline: Deadline, trace: Trace, suspect: bool, page: Page | None = None
    ) -> Extraction:
        """Data that satisfies the task's schema; what it cost and left behind is in `trace`.

        With `page`, which was fetched before, nothing is fetched.
        """
        if page is None:
            page = await self._page(task, trace)
        else:
            trace.url = page.url
        trace.page = page
        trace.enter("clean")
        document = await self._clean(page, task, suspect=suspect)
        trace.hidden = {kind: count for kind, count in document.dropped.items() if kind in HIDDEN}
        if not document.text.strip():
            raise Permanent(ParkReason.NOT_HTML, "the page shows no text: nothing for a model to read")
        extraction = await self._extract.extract(document, task, deadline=deadline, trace=trace)
        trace.unsupported = len(extraction.unsupported)
        return extraction

    async def _page(self, task: Task, trace: Trace) -> Page:
        if task.url is not None:
            return await self._fetch.fetch(task.url, trace=trace)
        if task.html is not None:
            return Page(url=task.base_url, text=task.html)
        assert task.text is not None  # checked where the task was decoded
        return Page(url=None, text=task.text, is_html=False)
