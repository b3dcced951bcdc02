"""What supervisor and worker say to each other over the worker's standard input and output.

Down: a line `drain` or `now`, or `limits` and the throttle's new ones as JSON; the end of the pipe means that the
supervisor is gone, which is `drain` as well.
Up: a line of JSON, the worker's tally, twice a second; once a line `ready`, when all that it needs has been opened.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

DRAIN, NOW = b"drain\n", b"now\n"
_LIMITS = b"limits "
READY = b"ready\n"

EXIT_MISCONFIGURED = 78
"""What a worker exits with when starting it again cannot help (EX_CONFIG of sysexits.h)."""

TELL_EVERY_SECONDS = 0.5


class Stop:
    """Two wishes: `drain` when there is time to finish what is in hand, `now` when there is not."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()
        self.interrupted = False  # a signal came before the end was near anyway
        self.on_interrupt: Callable[[], None] = _nothing
        self._signalled = False

    def ask(self) -> None:
        """The first signal drains, the second stops at once. What the other end of a lifeline says does not count."""
        if self._signalled:
            self.now.set()
        self._signalled = True
        if not self.drain.is_set():
            self.drain.set()
            self.interrupted = True
            self.on_interrupt()

    def on_signals(self, *signals: signal.Signals) -> None:
        """Let each of `signals` ask, for as long as the running loop lives."""
        loop = asyncio.get_running_loop()
        for each in signals:
            loop.add_signal_handler(each, self.ask)

    def on_hangup(self, otherwise: Callable[[], None]) -> None:
        """SIGHUP asks where it says that the terminal is gone; sent by hand, or under nohup, it means `otherwise`."""
        ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

        def hung_up() -> None:
            if not (ends_with_terminal and not _has_terminal()):
                otherwise()
            elif not self.drain.is_set():  # said again it is no second ctrl-c
                self.ask()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def pass_hangup_on() -> None:
    """A SIGHUP by hand to this worker is meant for its supervisor; a terminal that is gone tells that one itself."""
    supervisor, had_terminal = os.getppid(), _has_terminal()

    def hung_up() -> None:
        if os.getppid() == supervisor and _has_terminal() == had_terminal:
            with suppress(OSError):
                os.kill(supervisor, signal.SIGHUP)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _nothing() -> None:
    """Nobody wants to hear of it."""


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@asynccontextmanager
async def lifeline(
    stop: Stop, *, tell: Callable[[], bytes], set_limits: Callable[..., None] | None = None
) -> AsyncIterator[Callable[[], None]]:
    """The worker's end: follows the supervisor's words and tells `tell()` regularly, never waiting for a reader.

    Gives what to call when all that the worker needs is open. `set_limits` is called with what `limits_word` was made
    of.
    """
    mouth = _Mouth(sys.stdout.fileno())
    tasks = [asyncio.create_task(_listen(stop, set_limits)), asyncio.create_task(_tell(tell, mouth))]
    try:
        yield lambda: mouth.say(READY)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        mouth.say(tell())


def limits_word(**limits: float) -> bytes:
    """The throttle's new limits, for every worker."""
    return _LIMITS + json.dumps(limits).encode() + b"\n"


async def _listen(stop: Stop, set_limits: Callable[..., None] | None) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while (line := await reader.readline()) != b"":
            if line.startswith(_LIMITS):
                if set_limits is not None:
                    set_limits(**json.loads(line.removeprefix(_LIMITS)))
                continue
            stop.drain.set()
            if line == NOW:
                stop.now.set()
        stop.drain.set()
    finally:
        transport.close()


async def _tell(tell: Callable[[], bytes], mouth: _Mouth) -> None:
    while True:
        if not mouth.full():
            mouth.say(tell())
        await asyncio.sleep(TELL_EVERY_SECONDS)


class _Mouth:
    """Whole lines into a pipe, and never a wait: what finds no room is kept, and goes first when there is some."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._kept = b""

    def full(self) -> bool:
        """Whether something is left to be said first: another sum would be older than the next by then."""
        self.say(b"")
        return bool(self._kept)

    def say(self, line: bytes) -> None:
        self._kept += line
        with suppress(OSError):  # a supervisor that does not read, or is gone, must not stop a worker
            self._kept = self._kept[os.write(self._pipe, self._kept) :]
