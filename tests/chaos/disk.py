"""A disk so small that it can be filled: a tmpfs where one may be mounted, else a limit on the size of files."""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

MEBIBYTE = 1024 * 1024


class Disk(Protocol):
    """Something that can be full."""

    says: str

    def fill(self) -> None: ...

    def make_room(self) -> None: ...


class SmallDisk:
    """A file system of its own, in memory: full is full, ENOSPC for every process."""

    says = "tmpfs, ENOSPC"

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """To the last byte; what processes have free within their own files stays theirs."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for block in (MEBIBYTE, 4096, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(block)) == block:
                        pass

    def make_room(self) -> None:
        self._ballast.unlink()


class Quota:
    """No file of these processes may grow beyond what the largest has: EFBIG, where mounting is not allowed."""

    says = "RLIMIT_FSIZE, EFBIG"

    def __init__(self, folder: Path, processes: Callable[[], Iterable[int]]) -> None:
        self._folder = folder
        self._processes = processes

    def fill(self) -> None:
        self._limit(max((file.stat().st_size for file in self._folder.iterdir()), default=1))

    def make_room(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@contextlib.contextmanager
def small_disk(folder: Path, *, processes: Callable[[], Iterable[int]], mebibytes: int) -> Iterator[Disk]:
    """`folder`, made into one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(folder)]
    with contextlib.ExitStack() as stack:
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:  # no such program
            mounted = False
        if mounted:
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield SmallDisk(folder) if mounted else Quota(folder, processes)
