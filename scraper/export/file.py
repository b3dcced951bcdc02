"""Where an export goes: a file that appears whole or not at all, or standard output for as long as somebody reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from scraper.errors import Misconfigured, Unavailable

CHUNK_BYTES = 1 << 16


@contextmanager
def destination(out: Path | BinaryIO) -> Iterator[Output]:
    """Write within the context; what was not flushed when it ends is not there. Left by an error: no file."""
    if not isinstance(out, Path):
        yield Output(out, "standard output")
        return
    target = Path(os.path.realpath(out))  # through a link, not over it
    try:
        in_place = target.exists() and not target.is_file()  # /dev/null, a named pipe
        writing = target if in_place else target.with_name(f".{target.name}.{os.getpid()}.tmp")
        if not in_place:
            writing.unlink(missing_ok=True)  # left by a process of the same number that was killed
        file = writing.open("wb" if in_place else "xb")  # not through a link that somebody else has laid there
    except OSError as error:
        raise Misconfigured(f"{out}: cannot be written ({error.strerror})") from error
    try:
        with _named(str(out)):
            with file:
                yield Output(file, str(out))
                if not in_place:
                    os.fsync(file.fileno())
            if not in_place:
                if target.exists():
                    shutil.copymode(target, writing)
                writing.replace(target)
    finally:
        if not in_place:
            with suppress(OSError):  # what went wrong with the file is told already
                writing.unlink(missing_ok=True)


class Output:
    """A file to write to in order, in larger pieces; knows its position even where a pipe does not."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._pieces: list[bytes] = []
        self._held = self._position = 0
        self.closed = False  # pyarrow asks

    def write(self, piece: bytes) -> int:
        """Raises BrokenPipeError where nobody reads any more, Unavailable where the disk fails."""
        self._pieces.append(bytes(piece))
        self._held += len(piece)
        self._position += len(piece)
        if self._held >= CHUNK_BYTES:
            self._hand_over()
        return len(piece)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Everything to the operating system."""
        self._hand_over()
        with _named(self._name):
            self._file.flush()

    def _hand_over(self) -> None:
        pieces, self._pieces, self._held = self._pieces, [], 0
        with _named(self._name):
            self._file.write(b"".join(pieces))


def say_nothing_more(out: Path | BinaryIO) -> None:
    """Python flushes standard output once more at its end and would complain then."""
    if isinstance(out, Path):
        return
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, out.fileno())
        finally:
            os.close(nowhere)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unavailable(f"{name}: cannot be written ({error.strerror})") from error
