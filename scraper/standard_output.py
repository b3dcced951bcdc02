"""Standard output that may be closed, full, or a pipe nobody reads: said in one line, or not at all."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBADF

from scraper.errors import Unavailable


def occupy_closed_descriptors() -> None:
    """Whoever starts this with `>&-` leaves a number free that a database would get, for others to write into."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free, which is this one


@contextmanager
def standard_output() -> Iterator[None]:
    """Raises Unavailable where what was written within cannot be delivered. A reader that went away is no error."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()))
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # given up already, where one of these is within another
                sys.stdout.flush()
    except BrokenPipeError:
        say_nothing_more()
    except OSError as error:
        if error.filename is not None:
            raise
        say_nothing_more()
        raise Unavailable(f"standard output: cannot be written ({error.strerror})") from error


def say_nothing_more() -> None:
    """Python flushes standard output once more at its end, and would complain then."""
    try:
        number = sys.stdout.fileno()
    except OSError:  # it was closed before we came
        sys.stdout = None
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


class _Closed(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(EBADF, "it is closed")
