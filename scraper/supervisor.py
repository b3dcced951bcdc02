"""Worker processes under one supervisor.

A worker that ends unasked is started again, with backoff; one that refuses its configuration stops the run, unless
some worker has worked with the very same: then what it needs is away. How the two talk is in `lifeline`.

| ended before it was ready, MOST_FAILED_STARTS times in a row | a run that ends by itself | a service            |
|--------------------------------------------------------------|---------------------------|----------------------|
| at one place                                                 | is given up               | goes on, every 5 min |
| at all of them, and no worker was ever ready                 | the run has failed        | the run has failed   |
| at all of them, although one was ready before                | the run has failed        | goes on, every 5 min |
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

from scraper.events import Observe, WorkerCannotStart, WorkerRestarted
from scraper.exit_codes import EXIT_NOT_STARTED, exit_in_words, usual_cause
from scraper.lifeline import DRAIN, EXIT_MISCONFIGURED, NOW, READY, Stop

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 30.0
_LONGEST_START_BACKOFF_SECONDS = 300.0  # what has not started so often will hardly do so within half a minute
_HEALTHY_AFTER_SECONDS = 60.0
_KILL_AFTER_SECONDS = 10.0
_LONGEST_LINE = 1 << 20
MOST_FAILED_STARTS = 6
"""In a row, and with the backoff between them half a minute: what is wrong then does not pass by itself."""


@dataclass(slots=True)
class _Place:
    """One worker's place: the process changes, the place stays."""

    index: int
    process: Process | None = None
    ready: bool = False  # this process has opened all that it needs
    failed_starts: int = 0  # in a row


class Supervisor:
    """Keeps `workers` processes of `command` running until it is told to stop."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        workers: int,
        drain_seconds: float,
        ends_by_itself: bool = False,
        observe: Observe,
        on_status: Callable[[int, bytes], None],
        on_log: Callable[[bytes], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`on_status` gets each line of a worker's standard output; with `on_log`, it gets their stderr by line.

        `environment` is added to this process' own. `ends_by_itself`: somebody waits for the end of the run, so a
        place where no worker can be started is given up, and its worker never heard of again.
        """
        self._command = command
        self._drain_seconds = drain_seconds
        self._ends_by_itself = ends_by_itself
        self._observe = observe
        self._on_status = on_status
        self._on_log = on_log
        self._environment = {**os.environ, **(environment or {})}
        self._places = [_Place(index) for index in range(workers)]
        self._stopping = False
        self._change = b""
        self._proved = False  # a worker has opened all that it needs
        self.refused = False  # a worker found its configuration wrong
        self.cannot_start = ""  # why the run has failed: no worker can be started

    async def run(self, stop: Stop) -> None:
        """Until told to `stop`, or until no worker can work; then until all have ended."""
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(place, stop.drain)) for place in self._places]
            waits = [group.create_task(event.wait()) for event in (stop.drain, stop.now)]
            ended: asyncio.Future[Any] = asyncio.gather(*keepers)
            either: list[asyncio.Future[Any]] = [*waits, ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            stop.drain.set()
            self._tell(NOW if stop.now.is_set() else DRAIN)
            await self._ended(ended, stop.now)
            for wait in waits:
                wait.cancel()

    def change(self, word: bytes, *, environment: Mapping[str, str]) -> None:
        """Tell every worker `word`; those that are started from now on find `environment` too."""
        self._change = word
        self._environment |= environment
        self._tell(word)

    async def _ended(self, ended: asyncio.Future[Any], stop_now: asyncio.Event) -> None:
        """Drain politely, then at once when asked again, then by force when even that takes too long."""
        hurry = asyncio.create_task(stop_now.wait())
        try:
            limit = self._drain_seconds + _KILL_AFTER_SECONDS
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
            if self._stopping or self.refused:
                return
            longest = _LONGEST_BACKOFF_SECONDS
            if not place.ready and exit_code != EXIT_MISCONFIGURED:
                longest = _LONGEST_START_BACKOFF_SECONDS
                if self._is_given_up(place, exit_code, stop):
                    return
            elif clock() - started >= _HEALTHY_AFTER_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            backoff = min(backoff, longest)
            usually = usual_cause(exit_code) if place.ready and exit_code < 0 else ""
            self._observe(WorkerRestarted(place.index, exit_code, backoff, usually))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff)
            backoff *= 2

    def _is_given_up(self, place: _Place, exit_code: int, stop: asyncio.Event) -> bool:
        """Count and say that its worker ended before it was ready. Said each time that the count has doubled."""
        place.failed_starts += 1
        times = place.failed_starts
        all_fail = all(each.failed_starts >= MOST_FAILED_STARTS for each in self._places)
        over = (all_fail and not self._proved) or (self._ends_by_itself and times >= MOST_FAILED_STARTS)
        if over or times & (times - 1) == 0:
            self._observe(WorkerCannotStart(place.index, exit_code, times, usual_cause(exit_code), given_up=over))
        if over and all_fail:
            self.cannot_start = (
                f"no worker could be started, {times} times in a row; the last one ended with "
                f"{exit_in_words(exit_code)}: usually {usual_cause(exit_code)}"
            )
            stop.set()
        return over

    async def _run_one(self, place: _Place) -> int:
        place.ready = False
        stderr = None if self._on_log is None else PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=stderr, limit=_LONGEST_LINE, env=self._environment
            )
        except OSError:  # no memory or no process left just now: as a worker that crashed at once
            return EXIT_NOT_STARTED
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
            self._proved = place.ready = True
            place.failed_starts = 0
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
