"""An asyncio event loop whose time is virtual: an hour of throttling takes milliseconds.

When nothing is ready to run, time jumps to the next timer; it never passes otherwise, however slow the machine is.
Real I/O works: before every jump the sockets are polled, for a moment longer while any besides the loop's own are
open, and while a thread of the executor works, or another that it was told of, time stands still. A loop where nothing
can ever happen again raises `Deadlock` and says who waits where, instead of hanging the test.

    run(main())                                    # or
    asyncio.Runner(loop_factory=VirtualTimeLoop)   # or, in pytest (see tests/conftest.py)
    pytestmark = pytest.mark.virtual_time
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

IO_GRACE_SECONDS = 0.001
"""Real time given to open sockets before a jump. Loopback delivers within the send; this covers a busy machine."""
STUCK_SECONDS = 60.0
"""Real time to wait for the outside (sockets, threads) while no timer is set, before calling it a deadlock."""
HORIZON_SECONDS = 30 * 24 * 3600.0
"""Virtual time after which a test is surely looping for ever on timers; a float still tells nanoseconds apart there."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set and nothing comes from outside: the loop would sleep for ever."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0.0 and moves only when every task waits."""

    def __init__(self) -> None:
        self._now = 0.0
        self._threads = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass without running anything, as a stalled event loop does."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.stand_still_until(future)
        return future

    def stand_still_until(self, future: asyncio.Future[Any]) -> None:
        """Some other thread works on it."""
        self._threads += 1
        future.add_done_callback(self._thread_done)

    async def shutdown_default_executor(self) -> None:
        self._threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._threads -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1

    def _next_timer(self) -> float | None:
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return scheduled[0].when() if scheduled else None

    def _waiting_tasks(self) -> str:
        lines = []
        for task in asyncio.all_tasks(self):
            frames = task.get_stack(limit=1)
            where = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "?"
            lines.append(f"  {task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')}) at {where}")
        return "\n".join(sorted(lines)) or "  no task at all"


class _JumpingSelector(selectors.DefaultSelector):
    """Polls like the real one; where that one would sleep until the next timer, moves the loop's time there."""

    _OWN_SOCKETS = 1  # the loop's self-pipe

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        outside = len(self.get_map()) > self._OWN_SOCKETS
        busy = self._loop._threads > 0  # noqa: SLF001 - the two halves of one clock
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if busy:
            return self._wait_for_the_outside("a thread")
        ready = super().select(IO_GRACE_SECONDS if outside else 0)
        if ready:
            return ready
        target = self._loop._next_timer()  # noqa: SLF001 - the two halves of one clock
        if target is None:
            return self._wait_for_the_outside("a socket") if outside else self._deadlock("no timer is set")
        if target > HORIZON_SECONDS:
            return self._deadlock(f"time ran past {HORIZON_SECONDS:.0f} virtual seconds")
        self._loop._now = max(self._loop._now, target)  # noqa: SLF001 - the two halves of one clock
        return []

    def _wait_for_the_outside(self, what: str) -> list[tuple[selectors.SelectorKey, int]]:
        until = time.monotonic() + STUCK_SECONDS
        while (left := until - time.monotonic()) > 0:
            ready = super().select(left)
            if ready:
                return ready
        return self._deadlock(f"{what} gave nothing for {STUCK_SECONDS:.0f} real seconds")

    def _deadlock(self, why: str) -> list[tuple[selectors.SelectorKey, int]]:
        raise Deadlock(f"nothing can happen any more: {why}; waiting:\n{self._loop._waiting_tasks()}")  # noqa: SLF001


def run(coro: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coro)
