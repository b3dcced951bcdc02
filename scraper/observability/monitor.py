"""Watches workers by their log: reads as fast as they write, and shows at its own pace.

One thread does nothing but read and add up, so a slow or stopped terminal never fills the workers' pipe; another one
shows. What is passed on (lines that are no log lines) waits in a bounded queue, the oldest goes first.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from scraper.events import LlmRequest
from scraper.observability.log_lines import heard
from scraper.observability.picture import Picture
from scraper.observability.view import View

CHUNK = 1 << 16
LONGEST_LINE = 1 << 20
"""What is longer is no log line; it is passed on in pieces."""
POLL_SECONDS = 0.2
MOST_WAITING_BYTES = 4 << 20


class LogReader:
    """Adds up the log lines in what it is given, and passes all other lines on as they are."""

    def __init__(
        self, *, pass_on: Callable[[bytes], None], every: int = 10, on_requests: Callable[[View], None] | None = None
    ) -> None:
        """`on_requests` gets the view after each `every` requests."""
        self._picture = Picture()
        self._pass_on = pass_on
        self._every = every
        self._on_requests = on_requests
        self._lock = threading.Lock()
        self._rest = b""
        self._too_long = False  # inside a line that is passed on in pieces
        self._requests = 0
        self._heard_at = 0.0  # by the log's clock
        self._arrived = time.monotonic()

    def take(self, chunk: bytes) -> None:
        with self._lock:
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._line(line + b"\n")
            if len(self._rest) > LONGEST_LINE:
                self._pass_on(self._rest)
                self._rest, self._too_long = b"", True

    def end(self) -> None:
        """Nothing more comes: a last line may have no end."""
        with self._lock:
            if self._rest:
                self._line(self._rest)
                self._rest = b""

    def view(self) -> View:
        """As it is now, by the log's own clock: an old log is shown as it was."""
        with self._lock:
            return self._picture.view(self._now())

    def _now(self) -> float:
        return self._heard_at + time.monotonic() - self._arrived if self._heard_at else time.time()

    def _line(self, line: bytes) -> None:
        said = None if self._too_long else heard(line)
        self._too_long = False
        if said is None:
            self._pass_on(line)
            return
        if said.at is not None:
            self._heard_at, self._arrived = max(said.at, self._heard_at), time.monotonic()
        if said.event is None:
            return
        self._picture.hear(said.event, at=said.at or self._now(), pid=said.pid, task_id=said.task_id)
        if isinstance(said.event, LlmRequest):
            self._requests += 1
            if self._on_requests is not None and self._requests % self._every == 0:
                self._on_requests(self._picture.view(self._now()))


def pieces(number: int) -> Iterator[bytes]:
    """What comes out of the file descriptor, to its end."""
    while chunk := os.read(number, CHUNK):
        yield chunk


def followed(path: Path, *, stopped: threading.Event, to_the_end: bool = False) -> Iterator[bytes]:
    """What is and what comes into the file at `path`: also after it was moved away and made anew, or cut to nothing.

    With `to_the_end` nothing is waited for.
    """
    while not stopped.is_set():
        try:
            opened = path.open("rb", buffering=0)
        except FileNotFoundError:
            if to_the_end:
                raise
            stopped.wait(POLL_SECONDS)
            continue
        with opened:
            while chunk := opened.read(CHUNK):
                yield chunk
            if to_the_end:
                return
            yield from _until_replaced(opened.fileno(), path, stopped)


def _until_replaced(number: int, path: Path, stopped: threading.Event) -> Iterator[bytes]:
    """Follow one file until another has its name; where it was cut, from its new beginning."""
    while not stopped.wait(POLL_SECONDS):
        replaced = _is_another(number, path)  # asked first: what was written before the change is still read
        if os.fstat(number).st_size < os.lseek(number, 0, os.SEEK_CUR):
            os.lseek(number, 0, os.SEEK_SET)
        while chunk := os.read(number, CHUNK):
            yield chunk
        if replaced:
            return


def _is_another(number: int, path: Path) -> bool:
    try:
        named = path.stat()
    except OSError:
        return False  # moved away, and not made anew yet
    mine = os.fstat(number)
    return (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)


class Outlet:
    """Writes to a file descriptor in a thread of its own, so that a slow reader of it slows nobody here."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._written = 0
        self._changed = threading.Condition()
        self._ended = False
        self.closed = threading.Event()  # nobody reads any more
        self.trouble: OSError | None = None  # why not, unless its reader has just gone
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def write(self, text: bytes) -> None:
        with self._changed:
            self._waiting.append(text)
            self._bytes += len(text)
            while self._bytes > MOST_WAITING_BYTES and len(self._waiting) > 1:
                self._bytes -= len(self._waiting.popleft())
            self._changed.notify()

    def end(self, *, seconds: float) -> None:
        """Write what waits, until nobody has read any of it for `seconds`."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        before = -1
        while self._thread.is_alive() and self._written > before:
            before = self._written
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            while (text := self._next()) is not None:
                while text:
                    written = os.write(self._number, text)
                    self._written += written
                    text = text[written:]
        except BrokenPipeError:
            pass
        except OSError as error:
            self.trouble = error
        finally:
            self.closed.set()

    def _next(self) -> bytes | None:
        with self._changed:
            while not self._waiting:
                if self._ended:
                    return None
                self._changed.wait()
            text = self._waiting.popleft()
            self._bytes -= len(text)
            return text
