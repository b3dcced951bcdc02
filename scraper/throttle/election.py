"""Who hosts: whoever holds the endpoint's file lock. The kernel frees it when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from scraper.errors import Misconfigured
from scraper.throttle.forked import keep_from_children


class Seat:
    """The lock, held. The file is never removed: a lock on a file that others no longer find excludes nobody."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        itself = os.fstat(number)
        self._identity = (itself.st_dev, itself.st_ino)
        keep_from_children(self)

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """None where another process, or another seat of this one, has it. Raises Misconfigured."""
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Misconfigured(f"RUN_DIR={path.parent}: {path.name} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            return None
        except OSError as error:
            os.close(number)
            raise Misconfigured(
                f"RUN_DIR={path.parent}: its file system has no file locks ({error.strerror}); use a local folder"
            ) from error
        seat = cls(path, number)
        if not seat.is_valid():  # removed between opening and locking
            seat.leave()
            return None
        try:
            os.ftruncate(number, 0)
            os.pwrite(number, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            seat.leave()
            raise Misconfigured(f"RUN_DIR={path.parent}: cannot be written to: {error.strerror}") from error
        return seat

    def fileno(self) -> int:
        return self._number

    def is_valid(self) -> bool:
        """Whether others who look for the lock find this one; no more once it was left."""
        if self._number < 0:
            return False
        try:
            found = os.stat(self._path)  # noqa: PTH116 - before every grant: a path object would double its cost
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def refresh(self) -> None:
        """Keep cleaners of old files away from it."""
        with suppress(OSError):
            os.utime(self._number)

    def leave(self) -> None:
        if self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)


def holder_of(path: Path) -> int:
    """The pid that the lock's holder wrote into it; 0 where there is none to read."""
    with suppress(OSError, ValueError):
        return int(path.read_text("ascii"))
    return 0
