"""Worker processes under one supervisor.

A worker that ends unasked is started again, with backoff; one that refuses its configuration stops the run, unless
some worker has worked with the very same: then what it needs is away. How the two talk is in `lifeline`.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from scraper.events import Observe, WorkerRestarted
from scraper.lifeline import DRAIN, EXIT_MISCONFIGURED, NOW, READY, Stop

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 30.0
_HEALTHY_AFTER_SECONDS = 60.0
_KILL_AFTER_SECONDS = 10.0
_LONGEST_LINE = 1 << 20
_EXIT_NOT_STARTED = 71  # EX_OSERR of sysexits.h


@dataclass(slots=True)
class _Place:
    """One worker's place: the process changes, the place stays."""

    index: int
    process: Process | None = None


class Supervisor:
    """Keeps `workers` processes of `command` running until it is told to stop."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        workers: int,
        drain_seconds: float,
        observe: Observe,
        on_status: Callable[[int, bytes], None],
        on_log: Callable[[bytes], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`on_status` gets each line of a worker's standard output; with `on_log`, it gets their stderr by line.

        `environment` is added to this process' own.
        """
        self._command = command
        self._drain_seconds = drain_seconds
        self._observe = observe
        self._on_status = on_status
        self._on_log = on_log
        self._environment = {**os.environ, **(environment or {})}
        self._places = [_Place(index) for index in range(workers)]
        self._stopping = False
        self._change = b""
        self._proved = False  # a worker has opened all that it needs
        self.refused = False  # a worker found its configuration wrong

    async def run(self, stop: Stop) -> None:
        """Until told to `stop`, or until a worker refuses what no worker could work with; then until all have ended."""
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(place, stop.drain)) for place in self._places]
            waits = [group.create_task(event.wait()) for event in (stop.drain, stop.now)]
            either: list[asyncio.Task[Any]] = [*waits, *keepers]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            stop.drain.set()
            self._tell(NOW if stop.now.is_set() else DRAIN)
            await self._ended(keepers, stop.now)
            for wait in waits:
                wait.cancel()

    def change(self, word: bytes, *, environment: Mapping[str, str]) -> None:
        """Tell every worker `word`; those that are started from now on find `environment` too."""
        self._change = word
        self._environment |= environment
        self._tell(word)

    async def _ended(self, keepers: Sequence[asyncio.Task[None]], stop_now: asyncio.Event) -> None:
        """Drain politely, then at once when asked again, then by force when even that takes too long."""
        hurry = asyncio.create_task(stop_now.wait())
        try:
            limit = self._drain_seconds + _KILL_AFTER_SECONDS
            ended: asyncio.Future[Any] = asyncio.gather(*keepers)
            either: list[asyncio.Future[Any]] = [ended, hurry]
            await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._tell(NOW)
                await asyncio.wait([ended], timeout=_KILL_AFTER_SECONDS)
            for place in self._places:
                if place.process is not None and place.process.returncode is None:
                    place.process.kill()
            await ended
        finally:
            hurry.cancel()

    def _tell(self, word: bytes) -> None:
        for place in self._places:
            self._tell_one(place, word)

    def _tell_one(self, place: _Place, word: bytes) -> None:
        stdin = place.process.stdin if place.process is not None else None
        if stdin is not None and not stdin.is_closing():  # of one that has just ended; uvloop raises then
            with suppress(OSError):
                stdin.write(word)

    async def _keep(self, place: _Place, stop: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        backoff = _FIRST_BACKOFF_SECONDS
        while not self._stopping:
            started = clock()
            exit_code = await self._run_one(place)
            if exit_code == EXIT_MISCONFIGURED and not self._proved:
                self.refused = True
                stop.set()
                return
            if self._stopping:
                return
            if clock() - started >= _HEALTHY_AFTER_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            self._observe(WorkerRestarted(place.index, exit_code, backoff))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)

    async def _run_one(self, place: _Place) -> int:
        stderr = None if self._on_log is None else PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=stderr, limit=_LONGEST_LINE, env=self._environment
            )
        except OSError:  # no memory or no process left just now: as a worker that crashed at once
            return _EXIT_NOT_STARTED
        place.process = process
        if self._change:  # it may have been said while this one was being started
            self._tell_one(place, self._change)
        if self._stopping:  # all others were told while this one was being started
            self._tell_one(place, DRAIN)
        try:
            async with asyncio.TaskGroup() as readers:
                assert process.stdout is not None
                readers.create_task(_lines(process.stdout, partial(self._hear, place)))
                if process.stderr is not None and self._on_log is not None:
                    readers.create_task(_lines(process.stderr, self._on_log))
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _hear(self, place: _Place, line: bytes) -> None:
        if line == READY:
            self._proved = True
        else:
            self._on_status(place.index, line)


async def _lines(stream: asyncio.StreamReader, take: Callable[[bytes], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than any line of ours: left out
            continue
        if not line:
            return
        take(line)
