"""Processes that clean pages, kept for the next page while such pages come: to start one takes 50 ms.

A child is killed as soon as it is in doubt: its page took too long or was cancelled, or its answer is none. One that
nobody needed for a while is let go, and all with the worker; a child of a worker that was killed sees its input end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import scraper
from scraper.models import Document, Json
from scraper.pipeline.clean_process import ANSWER, MEMORY_BYTES, OUT_OF_MEMORY, QUESTION, cpu_seconds

COMMAND: Final = (sys.executable, "-P", "-m", "scraper.pipeline.clean_process")
IDLE_SECONDS: Final = 60.0  # about 30 MB are kept for so long after the last large page
MAX_ANSWER_BYTES: Final = 64 << 20  # a broken child must not fill this process's memory
_PASSED_ON: Final = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT")


class ChildDied(Exception):
    """A child ended, or had to be ended, over a page: the message says how."""

    def __init__(self, how: str, *, again: bool = True) -> None:
        """`again`: another one may do better."""
        super().__init__(how)
        self.again = again


class Children:
    """At most `most` processes that clean, each one page at a time. Nothing of them stays behind its `async with`."""

    def __init__(self, *, most: int, seconds: float, idle_seconds: float, command: Sequence[str]) -> None:
        self._turn = asyncio.Semaphore(most)
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._command = command
        self._idle: list[_Child] = []  # the one used last is the last
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._idle:
            self._let_go(self._idle[-1])
        if self._ending:
            await asyncio.wait(self._ending)

    async def clean(self, html: bytes, options: Mapping[str, Json]) -> Document:
        """Raises ChildDied, or OSError where none can be started just now."""
        async with self._turn, self._child() as child:
            try:
                async with asyncio.timeout(self._seconds):
                    return await child.answer(html, options)
            except TimeoutError:
                raise ChildDied(f"took more than {self._seconds:g} s") from None

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        """One that waits for a page, or a new one; it is kept if all went well."""
        child = self._take() or await _start(self._command)
        went_well = False
        try:
            yield child
            went_well = child.may_go_on
        finally:
            if not went_well:
                await child.end()
        if went_well:
            child.let_go = asyncio.get_running_loop().call_later(self._idle_seconds, self._let_go, child)
            self._idle.append(child)

    def _take(self) -> _Child | None:
        while self._idle:
            child = self._idle.pop()
            assert child.let_go is not None
            child.let_go.cancel()
            if child.is_there:
                return child
            self._end(child)
        return None

    def _let_go(self, child: _Child) -> None:
        assert child.let_go is not None
        child.let_go.cancel()
        self._idle.remove(child)
        self._end(child)

    def _end(self, child: _Child) -> None:
        ending = asyncio.create_task(child.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Child:
    """One process. `may_go_on` once it has answered, until it is asked again."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._questions, self._answers = process.stdin, process.stdout
        self.may_go_on = False
        self.let_go: asyncio.TimerHandle | None = None

    @property
    def is_there(self) -> bool:
        return self._process.returncode is None and not self._answers.at_eof()

    async def answer(self, html: bytes, options: Mapping[str, Json]) -> Document:
        self.may_go_on = False
        told = json.dumps(options).encode()
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # how it ended says more
                self._questions.writelines([QUESTION.pack(len(told), len(html)), told, html])
                await self._questions.drain()
            is_last, size = ANSWER.unpack(await self._answers.readexactly(ANSWER.size))
            if size > MAX_ANSWER_BYTES:
                raise ChildDied(f"gave more than {MAX_ANSWER_BYTES} bytes")
            document = _document(await self._answers.readexactly(size))
        except asyncio.IncompleteReadError:
            raise _end_of(await self._process.wait(), page_bytes=len(html)) from None
        self.may_go_on = not is_last
        return document

    async def end(self) -> None:
        """Leave neither a running child, a dead one nor a pipe, also when cancelled: once killed, it ends at once."""
        self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 asyncio has no other way to let go of a pipe
        await asyncio.shield(self._process.wait())


async def _start(command: Sequence[str]) -> _Child:
    return _Child(
        await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # ctrl-c is for the worker, which knows what to do with it
        )
    )


def _end_of(code: int, *, page_bytes: int) -> ChildDied:
    """Why a child ended without an answer, from its exit code."""
    if code == -signal.SIGXCPU:
        most = f"{cpu_seconds(page_bytes)} s of processor time"
        return ChildDied(f"took more than {most}, the most for a page of {page_bytes} bytes", again=False)
    if code == OUT_OF_MEMORY:
        return ChildDied(f"took more than {MEMORY_BYTES >> 20} MiB of memory", again=False)
    return ChildDied(f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}")


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
    raise ChildDied("ended with nonsense")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {"PYTHONPATH": str(Path(scraper.__file__).parent.parent)}
