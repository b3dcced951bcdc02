"""What supervisor and worker say to each other over the worker's standard input and output.

Down: a line `drain` or `now`; the end of the pipe means that the supervisor is gone, which is `drain` as well.
Up: a line of JSON, the worker's tally, twice a second.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

DRAIN, NOW = b"drain\n", b"now\n"

EXIT_MISCONFIGURED = 78
"""What a worker exits with when starting it again cannot help (EX_CONFIG of sysexits.h)."""

TELL_EVERY_SECONDS = 0.5


class Stop:
    """Two wishes: `drain` when there is time to finish what is in hand, `now` when there is not."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()
        self._signalled = False

    def ask(self) -> None:
        """The first signal drains, the second stops at once. What the other end of a lifeline says does not count."""
        if self._signalled:
            self.now.set()
        self._signalled = True
        self.drain.set()

    def on_signals(self, *signals: signal.Signals) -> None:
        """Let each of `signals` ask, for as long as the running loop lives."""
        loop = asyncio.get_running_loop()
        for each in signals:
            loop.add_signal_handler(each, self.ask)


@asynccontextmanager
async def lifeline(stop: Stop, *, tell: Callable[[], bytes]) -> AsyncIterator[None]:
    """The worker's end: follows the supervisor's words and tells `tell()` regularly, never waiting for a reader."""
    tasks = [asyncio.create_task(_listen(stop)), asyncio.create_task(_tell(tell))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        _write(tell())


async def _listen(stop: Stop) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while (line := await reader.readline()) != b"":
            stop.drain.set()
            if line == NOW:
                stop.now.set()
        stop.drain.set()
    finally:
        transport.close()


async def _tell(tell: Callable[[], bytes]) -> None:
    os.set_blocking(sys.stdout.fileno(), False)
    while True:
        _write(tell())
        await asyncio.sleep(TELL_EVERY_SECONDS)


def _write(line: bytes) -> None:
    with suppress(OSError):  # a supervisor that does not read, or is gone, must not stop a worker
        os.write(sys.stdout.fileno(), line)
