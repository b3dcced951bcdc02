"""Pages, cleaned one after the other in a process of its own: what each asks on stdin, its document on stdout.

It bounds itself before it reads a byte, and its processor time anew for each page: what a page may take grows with its
size. It ends where its input ends, so it outlives its parent by no more than the page in hand. Once a page has made it
large it says so with the answer, and ends: another takes its place.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any, Final

MOST_CPU_SECONDS: Final = 10  # for one page; 5 MiB of ordinary HTML take 0.6 s
FEWEST_CPU_SECONDS: Final = 2  # 300 KiB take 10 ms
BYTES_A_SECOND: Final = 512 * 1024
MEMORY_BYTES: Final = 1 << 30  # lexbor takes about 20 times the page, Python's own address space included
LARGE_BYTES: Final = 192 << 20  # at its largest so far; a page of 2 MiB takes it to 100 MB
OUT_OF_MEMORY: Final = 3  # its exit code

QUESTION: Final = struct.Struct(">II")  # bytes of the options, which are JSON, and of the page, which follow
ANSWER: Final = struct.Struct(">?I")  # whether it is the last, and bytes of the document, which follow as JSON


def cpu_seconds(page_bytes: int) -> int:
    """Processor time that cleaning a page of this size may take."""
    return min(MOST_CPU_SECONDS, FEWEST_CPU_SECONDS + page_bytes // BYTES_A_SECOND)


def main() -> None:
    bound()
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    is_last = False
    while not is_last and len(head := questions.read(QUESTION.size)) == QUESTION.size:
        options_bytes, page_bytes = QUESTION.unpack(head)
        allow(cpu_seconds(page_bytes))
        options = questions.read(options_bytes)
        page = questions.read(page_bytes)
        if len(page) < page_bytes:
            return  # its parent has died
        answer = _document(page, json.loads(options))
        del page
        is_last = _most_bytes() > LARGE_BYTES
        answers.write(ANSWER.pack(is_last, len(answer)) + answer)
        answers.flush()


def _document(page: bytes, options: dict[str, Any]) -> bytes:
    from selectolax.lexbor import SelectolaxError  # noqa: PLC0415 under the limits

    from scraper.pipeline.clean import clean  # noqa: PLC0415 under the limits

    try:
        document = clean(page.decode(), **options)
        answer = {
            "text": document.text,
            "title": document.title,
            "dropped": dict(document.dropped),
            "structured": document.structured,
            "outline": document.outline,
        }
        return json.dumps(answer).encode()
    except (MemoryError, SelectolaxError):  # lexbor says the latter where it gets no memory
        sys.exit(OUT_OF_MEMORY)


def _most_bytes() -> int:
    """The most memory of this process so far: getrusage's figure begins with that of the parent that started it."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:  # noqa: PTH123 a child imports little
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def bound() -> None:
    """Set the limits of this process, for good."""
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    allow(MOST_CPU_SECONDS)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group of processes, it is meant for the worker


def allow(seconds: int) -> None:
    """End this process once it has taken `seconds` more of processor time, up to one more."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))


_MAXRSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


if __name__ == "__main__":
    main()
