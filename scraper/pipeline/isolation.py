"""Cleaning pages, each where it can do no harm: most in this process, large or suspect ones in a child's.

Parsing runs in C and cannot be interrupted: a large page would keep the event loop from its leases and heartbeats, and
one that crashes a parser would take its neighbours along. A child has a limit on time and memory and no secrets in its
environment; it is killed when its task is cancelled, and nothing of it stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import scraper
from scraper.errors import Held, Permanent
from scraper.models import Document, Page, ParkReason, Task
from scraper.pipeline.clean import clean, clean_text
from scraper.pipeline.nesting import crowded, multiplies, tags_of, too_deep
from scraper.pipeline.schema import compile_schema
from scraper.pipeline.structured.plan import sources_for

LARGE_CHARS: Final = 256 * 1024
MANY_TAGS: Final = 20_000  # the worst that fewer can do to the parser is about half a second
CHILDREN: Final = 2  # at once; a machine's processors also run workers
CHILD_SECONDS: Final = 30.0  # on the wall; ten of processor time, see clean_process
NO_CHILD_SECONDS: Final = 15.0  # until a page is looked at again that no process could be started for
TRIES: Final = 2
MAX_ANSWER_BYTES: Final = 64 << 20  # a broken child must not fill this process's memory
_PASSED_ON: Final = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT")
_COMMAND: Final = (sys.executable, "-P", "-m", "scraper.pipeline.clean_process")


def needs_child(html: str) -> bool:
    """Whether parsing `html` could take noticeably long, or much memory."""
    if len(html) > LARGE_CHARS:
        return True
    tags = tags_of(html)
    return tags > MANY_TAGS or crowded(html) or too_deep(html, tags=tags) or multiplies(html, tags=tags)


class Cleaner:
    """From pages to documents, at most `children` of them in child processes at once."""

    def __init__(
        self,
        *,
        read_data: bool = False,
        children: int = CHILDREN,
        seconds: float = CHILD_SECONDS,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """`read_data`: also read what the page says about itself for machines, as far as the schema asks for such."""
        self._read_data = read_data
        self._turn = asyncio.Semaphore(children)
        self._seconds = seconds
        self._command = command

    async def __call__(self, page: Page, task: Task, *, suspect: bool) -> Document:
        """The document that `page` holds. `suspect`: workers have died holding this task, so it gets a child.

        Raises Permanent(BAD_SCHEMA) where the schema is none, so that nothing is cleaned in vain, and
        Permanent(CRASH_LOOP) where the page kills its child twice. Raises Held where no child can be started just now.
        """
        schema = compile_schema(task.schema)
        if not page.is_html:
            return clean_text(page.text)
        data_from = sources_for(schema) if self._read_data else ()
        if suspect or needs_child(page.text):
            return await self._in_child(page, keep_links=schema.wants_links, data_from=data_from)
        return clean(page.text, base_url=page.url, keep_links=schema.wants_links, data_from=data_from, is_flat=True)

    async def _in_child(self, page: Page, *, keep_links: bool, data_from: Sequence[str]) -> Document:
        question = {
            "html": page.text,
            "base_url": page.url,
            "keep_links": keep_links,
            "data_from": data_from,
        }
        body = json.dumps(question).encode()
        died = ""
        async with self._turn:
            for _ in range(TRIES):
                try:
                    return _document(await self._ask_child(body))
                except _ChildDied as error:
                    died = str(error)
        raise Permanent(ParkReason.CRASH_LOOP, f"cleaning the page {died}, in a process of its own, {TRIES} times")

    async def _ask_child(self, body: bytes) -> bytes:
        try:
            child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # ctrl-c is for the worker, which knows what to do with it
            )
        except OSError as error:  # no memory, process or file left just now: the machine's fault, not the page's
            raise Held(
                f"no process to clean a page could be started: {error}", after_seconds=NO_CHILD_SECONDS
            ) from error
        try:
            async with asyncio.timeout(self._seconds):
                answer = await _exchange(child, body)
                if len(answer) > MAX_ANSWER_BYTES:
                    raise _ChildDied(f"gave more than {MAX_ANSWER_BYTES} bytes")
                code = await child.wait()
        except TimeoutError:
            raise _ChildDied(f"took more than {self._seconds:g} s") from None
        finally:
            await _bury(child)
        if code != 0:
            raise _ChildDied(f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}")
        return answer


def _document(answer: bytes) -> Document:
    with suppress(ValueError):
        match json.loads(answer):
            case {
                "text": str(text),
                "title": str(title),
                "dropped": dict(dropped),
                "structured": list(structured),
                "outline": str(outline),
            }:
                return Document(text, title, dropped, tuple(structured), outline)
    raise _ChildDied("ended with nonsense")


class _ChildDied(Exception):
    pass


async def _exchange(child: asyncio.subprocess.Process, body: bytes) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(_read(child.stdout))
        tasks.create_task(_write(child.stdin, body))
    return answer.result()


async def _write(stream: asyncio.StreamWriter, body: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # its exit code says more
        stream.write(body)
        await stream.drain()
        stream.close()
        await stream.wait_closed()


async def _read(stream: asyncio.StreamReader) -> bytes:
    parts = []
    size = 0
    while size <= MAX_ANSWER_BYTES and (part := await stream.read(1 << 16)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def _bury(child: asyncio.subprocess.Process) -> None:
    """Leave neither a running child nor a dead one nor a pipe, also when cancelled: once killed, it ends at once."""
    child._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 asyncio has no other way to let go of a pipe
    await asyncio.shield(child.wait())


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {"PYTHONPATH": str(Path(scraper.__file__).parent.parent)}
