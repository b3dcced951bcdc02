"""Whose lease it is, and whether that process is still there; and the one clock that all processes of a host share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


def boot_clock() -> float:
    """Seconds since the host started, suspended or not; setting the wall clock does not move it."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def boot_id() -> str:
    """Changes when the host restarts, and `boot_clock` with it; empty where the system does not tell."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from a later one with the same number."""

    pid: int
    started: str  # clock ticks since boot; empty where there is no /proc
    namespace: str  # of the process numbers: those of another container mean nothing here


def this_process() -> Process:
    _, started = _stat(os.getpid()) or ("", "")
    return Process(os.getpid(), started, _namespace())


def is_gone(process: Process) -> bool:
    """Only if that is certain. Of a process in another container it never is: its lease has to run out."""
    if process.namespace != _namespace():
        return False
    stat = _stat(process.pid)
    if stat is None:  # also where /proc hides the processes of other users
        return not _answers(process.pid)
    state, started = stat
    return state in "ZX" or process.started not in ("", started)


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start time of a process: fields 3 and 22 of proc(5). The name before them may contain anything."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _namespace() -> str:
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""
