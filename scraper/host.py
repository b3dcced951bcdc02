"""What processes of one host can know of each other: where they meet, the clock they share, and who still runs.

A pid alone may be used again, so a process is its pid and its start time. Pids mean something within one namespace
only: whoever passes them on says which, by `pid_namespace`.
"""

from __future__ import annotations

import os
import stat
import time
from grp import getgrgid
from pathlib import Path
from pwd import getpwuid
from typing import Final, NamedTuple

from scraper.errors import Misconfigured

_PROC: Final = Path("/proc")
_DEAD: Final = -1  # a zombie: dead, and only not yet waited for


class Process(NamedTuple):
    """`started`: clock ticks since boot, as the kernel counts them; 0 where unknown. Pid 0: not visible from here."""

    pid: int
    started: int

    @property
    def is_visible(self) -> bool:
        return self.pid > 0 and self.started > 0

    def is_gone(self) -> bool:
        """Whether it surely runs no more; false for one that cannot be seen."""
        if self.pid <= 0:
            return False
        started = _start_of(self.pid)
        if started is None:  # also where /proc hides the processes of other users
            return not _answers(self.pid)
        return started == _DEAD or self.started not in {0, started}


def process_of(pid: int) -> Process:
    return Process(pid, max(0, _start_of(pid) or 0))


def this_process() -> Process:
    return process_of(os.getpid())


def pid_namespace() -> str:
    """Whose pids are meant here: those of another container are other processes. Empty where the system is silent."""
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def default_run_dir() -> Path:
    """Where all processes of this user and host meet that share something; the same however they were started.

    Not /run/user/UID: that one is there only while its user is logged in.
    """
    return Path(f"/tmp/scraper-{os.getuid()}")  # noqa: S108 made 0700, and refused where it is another user's


def own_folder(folder: Path) -> None:
    """Makes RUN_DIR where there is none. Raises Misconfigured where somebody else could put files or sockets there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        itself, target = folder.lstat(), folder.stat()
    except OSError as error:
        raise Misconfigured(f"RUN_DIR={folder}: cannot be made or read: {error.strerror}") from error
    if {itself.st_uid, target.st_uid} != {os.geteuid()}:
        owner = target.st_uid if itself.st_uid == os.geteuid() else itself.st_uid
        raise Misconfigured(
            f"RUN_DIR={folder}: belongs to user {owner}, not to {os.geteuid()}; choose a folder of your own"
        )
    if target.st_mode & stat.S_IWOTH:
        raise Misconfigured(f"RUN_DIR={folder}: everybody may write there; chmod 700 it or choose another")
    if target.st_mode & stat.S_IWGRP and not _is_alone_in(target.st_gid):
        raise Misconfigured(
            f"RUN_DIR={folder}: group {target.st_gid} may write there, so others could; chmod 700 it or choose another"
        )


def _is_alone_in(group: int) -> bool:
    """Whether it is this user's private group, as many systems make one for each user and give it what he makes."""
    try:
        user, found = getpwuid(os.geteuid()), getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def boot_id() -> str:
    """Which boot of this host its monotonic clocks belong to; empty where the system does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def boot_clock() -> float:
    """Seconds since the host started, suspended or not; setting the wall clock does not move it."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def parent_in_group(pid: int) -> int | None:
    """The parent of `pid`, where both belong to one process group: whoever adopted an orphan is not meant."""
    if (fields := _stat(pid)) is None:
        return None
    parent = int(fields[1])
    theirs = _stat(parent)
    return parent if theirs is not None and theirs[2] == fields[2] else None


def _start_of(pid: int) -> int | None:
    """`_DEAD` for a zombie, None where there is nothing to read."""
    if (fields := _stat(pid)) is None:
        return None
    return _DEAD if fields[0] in {"Z", "X"} else int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Field 3 of proc(5) and those behind it: state, parent, group, …"""
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before it may hold anything, brackets too


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
