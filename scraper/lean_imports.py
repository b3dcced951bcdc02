"""Keeps out of a process what its libraries import for uses of theirs that this service has not.

Where rich is installed, httpx imports its command line and structlog a renderer of tracebacks: with pygments, 77
modules, 0.15 s of CPU and 4 MB in every process. httpx' is kept out for good, by being imported before everything else;
structlog does without rich where it is `missing` while structlog is imported.

Nothing that is imported is garbage: looking for some all the time takes a tenth of the CPU of starting, so it is looked
for rarely until whoever goes on for longer has `started`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def missing(name: str) -> Iterator[None]:
    """Inside, importing `name` fails as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how Python itself spells «not there»
    try:
        yield
    finally:
        del sys.modules[name]


def started() -> None:
    """From now on garbage is looked for as usual, but not among what there is already."""
    gc.freeze()
    gc.set_threshold(*_USUAL_THRESHOLD)


_USUAL_THRESHOLD = gc.get_threshold()
gc.set_threshold(200_000)
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # for good: it is httpx's command line alone
