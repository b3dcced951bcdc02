"""Standard output that may be closed, full, or a pipe nobody reads: said in one line, or not at all.

Its own errors are told from all others by the name they carry: a broken connection to a broker is an OSError, too.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EBADF
from typing import Final

from scraper.errors import Unavailable

NAME: Final = "standard output"


def prepare_standard_output() -> None:
    """Once, before anything is written or opened.

    Whoever starts this with `>&-` leaves a number free that a database would get, for others to write into.
    """
    closed = sys.stdout is None
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free, which is this one
    if sys.stderr is None:
        sys.stderr = _nowhere()  # whoever closed it wants no log, and everybody else expects a stream
    if closed:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()))
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):  # and nobody's stand-in
        now = sys.stdout
        now.flush()
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Named(now.fileno(), "wb", closefd=False)),
            encoding=now.encoding,
            errors=now.errors,
            line_buffering=now.line_buffering,
            write_through=now.write_through,
        )


@contextmanager
def standard_output() -> Iterator[None]:
    """Raises Unavailable where what was written within cannot be delivered. A reader that went away is no error."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # given up already, where one of these is within another
                sys.stdout.flush()
    except OSError as error:
        if error.filename != NAME:
            raise
        sys.stdout = None  # Python flushes it once more at its end, and would complain then
        if not isinstance(error, BrokenPipeError):
            raise Unavailable(f"{NAME}: cannot be written ({error.strerror})") from error
    finally:
        _give_up_a_stderr_that_is_gone()


def _give_up_a_stderr_that_is_gone() -> None:
    """With its terminal, or its disk is full: what it still holds would make Python end with a code of its own, 120."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        sys.stderr = _nowhere()


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 a stream for as long as the process lives


class _Named(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]  # any buffer, in fact
        try:
            return super().write(data)
        except OSError as error:
            error.filename = NAME
            raise


class _Closed(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(EBADF, "it is closed", NAME)
