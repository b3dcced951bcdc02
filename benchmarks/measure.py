"""What a process has used so far, read from the kernel (Linux)."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

_CPUCLOCK_SCHED = 2  # linux/posix-timers.h: the clock of a whole process, dead threads included, in nanoseconds
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of CPU, how many of them in the kernel (to 10 ms), and the most memory ever held, in MB of 10⁶ bytes."""

    cpu_seconds: float
    kernel_seconds: float
    peak_megabytes: float


def used(pid: int) -> Used:
    """Raises ProcessLookupError where the process has ended."""
    try:
        cpu_seconds = time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
        kernel_ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[12]
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError as error:
        raise ProcessLookupError(f"process {pid} has ended") from error
    if peak is None:  # ended, but nobody has asked how
        raise ProcessLookupError(f"process {pid} has ended")
    return Used(cpu_seconds, int(kernel_ticks) / _TICKS_PER_SECOND, int(peak[1]) * 1024 / 1e6)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that are still there."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
