"""One page, cleaned in a process of its own: page on stdin, document on stdout, both as JSON; then it is gone.

It bounds itself before it reads a byte. It cannot outlive its parent by more than its processor time: when the parent
dies, its input ends and its output breaks.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from typing import Final

CPU_SECONDS: Final = 10  # 5 MiB of ordinary HTML take 0.1 s
MEMORY_BYTES: Final = 1 << 30  # lexbor takes about 20 times the page, Python's own address space included


def main() -> None:
    bound()
    from scraper.pipeline.clean import clean  # noqa: PLC0415 under the limits

    page = json.loads(sys.stdin.buffer.read())
    html = page.pop("html")
    document = clean(html, **page)
    answer = {
        "text": document.text,
        "title": document.title,
        "dropped": dict(document.dropped),
        "structured": document.structured,
        "outline": document.outline,
    }
    sys.stdout.buffer.write(json.dumps(answer).encode())


def bound() -> None:
    """Set the limits of this process, for good."""
    _limit(resource.RLIMIT_CPU, CPU_SECONDS)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group of processes, it is meant for the worker


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    main()
