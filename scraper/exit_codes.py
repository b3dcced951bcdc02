"""What the end of a worker that nobody asked for usually means, and what to do about it."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Final

EXIT_NOT_STARTED: Final = 71
"""Nobody could even start it (EX_OSERR of sysexits.h)."""

_MEMORY = "a worker takes about 75 MB: look at `free -m` and `ulimit -v`, give it more memory or lower WORKERS"
_INSTALLATION = "`pip check` finds what is missing, `pip install --force-reinstall` mends what is damaged"
_USUALLY = {
    1: f"a package is missing or damaged, or memory is short; its own last lines say which. {_INSTALLATION}; {_MEMORY}",
    EXIT_NOT_STARTED: f"no memory or no process was left, or its Python is gone; look at `ulimit -u`, {_MEMORY}",
    127: f"the loader found no room or no library, as its own last line says. {_MEMORY}; {_INSTALLATION}",
    -signal.SIGKILL: f"memory ran out and the kernel ended it (`dmesg | grep -i oom`). {_MEMORY}",
    -signal.SIGTERM: "somebody ended it; a unit, a container or a script may have stopped it alone",
    -signal.SIGSYS: "a sandbox forbids what it needs (SystemCallFilter of a unit, seccomp of a container)",
}
_CRASHED = (
    "memory ran out inside a library, or an installed package is damaged or made for another processor. "
    f"{_MEMORY}; {_INSTALLATION}"
)


def exit_in_words(exit_code: int) -> str:
    """`exit code 1`, `signal 9 (SIGKILL)`."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    name = ""
    with suppress(ValueError):
        name = f" ({signal.Signals(-exit_code).name})"
    return f"signal {-exit_code}{name}"


def usual_cause(exit_code: int) -> str:
    """What such an end usually comes of, and the fix."""
    return _USUALLY.get(exit_code, _CRASHED if exit_code < 0 else _USUALLY[1])
