#!/usr/bin/env python3
"""Run a program and write down where its CPU time goes, function by function.

Timers of CPU time interrupt it up to a thousand times a second: one of the main thread's own, so that it is never
looked at where it merely waits while others work, and one of the process for the other threads. What a thread has used
since, by its own clock, is booked on the stack it stands in. Time inside C belongs to the Python line that called it,
also where C then calls Python: a function that has only just begun is no part of it. Python looks at signals in its
main thread only, which must therefore run an event loop and not sleep in a lock. SIGUSR1 ends the phase
`start` and begins the phase `work`. Costs about 3 %, where a tracing profiler doubles the cost of small functions.

Example: python benchmarks/sampler.py profile.json -m scraper.main worker
"""

from __future__ import annotations

import ctypes
import json
import runpy
import signal
import sys
import threading
import time
from functools import cache
from opcode import opmap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
INTERVAL_SECONDS = 0.001
_RESUME = opmap["RESUME"]
_Stack = tuple[str, int, tuple[CodeType, ...], str]  # phase, line of the innermost, innermost first, thread


class Sampler:
    def __init__(self) -> None:
        self._seconds: dict[_Stack, float] = {}
        self._clocks: dict[int, float] = {}
        self._phase = "start"

    def begin(self) -> None:
        self._main = threading.get_ident()
        self._clocks[self._main] = time.thread_time()
        signal.signal(signal.SIGALRM, self._sample_main)
        signal.signal(signal.SIGPROF, self._sample_others)
        signal.signal(signal.SIGUSR1, self._next_phase)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
        _alarm_every(INTERVAL_SECONDS)

    def end(self) -> list[dict[str, Any]]:
        """Stop, and give all that was seen as {phase, seconds, line, stack of `file:function`, then the thread}."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        return [
            {"phase": phase, "seconds": seconds, "line": line, "stack": [*map(_name, codes), f"thread: {name}"]}
            for (phase, line, codes, name), seconds in self._seconds.items()
        ]

    def _next_phase(self, *_: object) -> None:
        self._phase = "work"

    def _sample_main(self, _: int, interrupted: FrameType | None) -> None:
        self._book(interrupted, self._main)

    def _sample_others(self, *_: object) -> None:
        for thread, frame in sys._current_frames().items():  # noqa: SLF001 documented, and the only way to see them
            if thread != self._main:
                self._book(frame, thread)

    def _book(self, frame: FrameType | None, thread: int) -> None:
        now = time.clock_gettime(time.pthread_getcpuclockid(thread))
        seconds = now - self._clocks.get(thread, 0.0)  # a thread's clock begins with it
        self._clocks[thread] = now
        if frame is not None and frame.f_lasti <= _first_instruction(frame.f_code):
            frame = frame.f_back
        line = frame.f_lineno if frame else 0
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        running = threading._active.get(thread)  # type: ignore[attr-defined]  # noqa: SLF001 enumerate() takes a lock
        stack = (self._phase, line, tuple(codes), running.name if running else "?")
        self._seconds[stack] = self._seconds.get(stack, 0.0) + seconds


def _alarm_every(seconds: float) -> None:
    """SIGALRM each time this thread has used so much CPU time: what `setitimer` knows is the process's alone."""
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    interval = (0, int(seconds * 1e9))
    times = (ctypes.c_long * 4)(*interval, *interval)
    if libc.timer_create(time.CLOCK_THREAD_CPUTIME_ID, None, ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "no timer of CPU time")
    libc.timer_settime(timer, 0, times, None)


@cache
def _first_instruction(code: CodeType) -> int:
    """Where a function begins, behind what only prepares its frame: there signals are looked at first."""
    return code.co_code[::2].index(_RESUME) * 2


def _name(code: CodeType) -> str:
    path = Path(code.co_filename)
    if "site-packages" in path.parts:
        at = len(path.parts) - path.parts[::-1].index("site-packages")
        where = "/".join(path.parts[at:])
    elif path.is_relative_to(ROOT):
        where = path.relative_to(ROOT).as_posix()
    else:
        where = "/".join(path.parts[-2:]) if path.suffix == ".py" else code.co_filename
    return f"{where}:{code.co_qualname}"


def main() -> None:
    out, program, *arguments = sys.argv[1:]
    sampler = Sampler()
    sampler.begin()
    try:
        if program == "-m":
            sys.argv = arguments
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [program, *arguments]
            runpy.run_path(program, run_name="__main__")
    finally:
        Path(out).write_text(json.dumps(sampler.end()))


if __name__ == "__main__":
    main()
