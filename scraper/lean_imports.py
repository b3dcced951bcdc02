"""Keeps out of a process what its libraries import for uses of theirs that this service has not.

Where rich is installed, httpx imports its command line and structlog a renderer of tracebacks: with pygments, 77
modules, 0.15 s of CPU and 4 MB in every process. Both do without where rich is missing, so it is missing while they
are imported. Imported by `main` before everything else; what is imported already stays as it is.
"""

from __future__ import annotations

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


with missing("rich"):
    import structlog  # noqa: F401 only so that it is imported here

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # for good: it is httpx's command line alone
