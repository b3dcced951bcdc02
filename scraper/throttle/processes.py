"""Which process is which, and whether it still runs; and what a forked child must not inherit.

A pid alone may be used again, so a process is its pid and its start time. A pid of 0 stands for one that cannot be
seen from here: it lives in another container.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol
from weakref import WeakSet

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


class Process(NamedTuple):
    """`started`: clock ticks since boot, as the kernel counts them; 0 where unknown."""

    pid: int
    started: int

    @property
    def is_visible(self) -> bool:
        return self.pid > 0 and self.started > 0

    def is_gone(self) -> bool:
        """Whether it surely runs no more; false for one that cannot be seen."""
        return self.is_visible and _start_of(self.pid) != self.started


def process_of(pid: int) -> Process:
    return Process(pid, _start_of(pid))


def peer_of(connected: socket.socket) -> tuple[Process, int]:
    """The process at the other end of a Unix socket and its user id, by the kernel's word."""
    pid, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return process_of(pid), uid


def pid_namespace() -> int:
    """What pids mean here: those of another namespace are other processes. 0 where the system does not say."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def boot_id() -> str:
    """Which boot of this machine the monotonic clock belongs to; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """0 for a process that is gone, or dead and only not yet waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return 0
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold anything, brackets too
    return 0 if state in {"Z", "X"} else int(fields[18])


class HasFile(Protocol):
    """An open file or socket; -1 once closed."""

    def fileno(self) -> int: ...


_not_for_children: WeakSet[HasFile] = WeakSet()


def keep_from_children(file: HasFile) -> None:
    """A forked child shall not hold `file` open: its parent's death must be seen by whoever waits for it."""
    _not_for_children.add(file)


def _let_go() -> None:
    """In the child: the descriptors stay taken, because their owners may yet close them, but lead nowhere."""
    if not _not_for_children:
        return
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for file in list(_not_for_children):
        number = file.fileno()
        if number >= 0:
            with suppress(OSError):
                os.dup2(nowhere, number, inheritable=False)
    _not_for_children.clear()
    os.close(nowhere)


os.register_at_fork(after_in_child=_let_go)
