"""A log is never worth a task: writing a line never blocks, and one that cannot be written is left out.

Whoever reads the log at the other end of a pipe may be slow, stopped or gone. A write to a full pipe would stop the
whole event loop, so a pipe is opened once more for this process alone, without blocking: lines wait here while it is
full, the oldest are dropped beyond a bound, and how many is told once there is room again. What others do with the
same pipe does not change. Terminals and files are written as they are.

Any thread may write: a library warns in threads of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import IO

PIPE_BUF = select.PIPE_BUF
"""As much is written at once or not at all, also beside other processes."""
MOST_WAITING_BYTES = 1 << 20
TRY_AGAIN_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0


class PatientStream:
    """Lines to `stream`; `dropped` is called with the number of lines that were left out, once there is room."""

    def __init__(self, stream: IO[str], *, dropped: Callable[[int], None]) -> None:
        self._stream = stream
        self._dropped = dropped
        self._pipe = _opened_again(stream)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        self._begun = False  # the first of those waiting is the rest of a piece
        self._retry: asyncio.TimerHandle | None = None
        self._lock = threading.RLock()  # `dropped` writes a line, inside a flush
        if self._pipe is not None:
            atexit.register(self.close)

    def write(self, text: str) -> None:
        with self._lock:
            if self._pipe is None:
                with suppress(OSError, ValueError):
                    self._stream.write(text)
            else:
                self._line_up(text.encode(errors="replace"))

    def flush(self) -> None:
        with self._lock:
            if self._pipe is None:
                with suppress(OSError, ValueError):
                    self._stream.flush()
                return
            self._drain()
            if self._waiting:
                self._try_again_later()
            elif self._left_out:
                count, self._left_out = self._left_out, 0
                self._dropped(count)

    def _line_up(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        begun = [self._waiting.popleft()] if self._begun else []  # a line that is half out is finished
        while self._waiting_bytes > MOST_WAITING_BYTES and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._waiting_bytes -= len(oldest)
            self._left_out += oldest.count(b"\n")
        self._waiting.extendleft(begun)

    def _drain(self) -> None:
        assert self._pipe is not None
        while self._waiting:
            piece = self._next_piece()
            try:
                written = os.write(self._pipe, piece)
            except BlockingIOError:
                written = 0
            except OSError:  # nobody reads any more
                self._waiting.clear()
                self._waiting_bytes = self._left_out = 0
                return
            self._waiting_bytes -= written
            self._begun = (self._begun or written > 0) and written < len(piece)
            if written < len(piece):
                self._waiting.appendleft(piece[written:])
                return

    def _next_piece(self) -> bytes:
        """As many whole lines as go through in one piece; a longer line alone."""
        lines = [self._waiting.popleft()]
        size = len(lines[0])
        while not self._begun and self._waiting and size + len(self._waiting[0]) <= PIPE_BUF:
            size += len(self._waiting[0])
            lines.append(self._waiting.popleft())
        return b"".join(lines)

    def _try_again_later(self) -> None:
        with suppress(RuntimeError):  # no loop: the next line tries again
            loop = asyncio.get_running_loop()
            if self._retry is None or self._retry.cancelled() or self._retry.when() <= loop.time():
                self._retry = loop.call_later(TRY_AGAIN_SECONDS, self.flush)

    def close(self) -> None:
        """The last words, as far as somebody reads them soon."""
        with self._lock:
            if self._pipe is None:
                return
            until = time.monotonic() + LAST_WORDS_SECONDS
            self._drain()
            while self._waiting and (left := until - time.monotonic()) > 0:
                select.select([], [self._pipe], [], left)
                self._drain()
            os.close(self._pipe)
            self._pipe = None


def _opened_again(stream: IO[str]) -> int | None:
    """The pipe behind `stream`, opened for this process alone; None where it is none, or that is not possible."""
    try:
        number = stream.fileno()
        if not stat.S_ISFIFO(os.fstat(number).st_mode):
            return None
        return os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
