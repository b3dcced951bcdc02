"""The trace that a task belongs to, as W3C Trace Context writes it: 00-<trace id>-<span id>-<flags>.

It travels with the message. A task that came without one gets the same one at every delivery, made of its id.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED: Final = 1


def as_traceparent(value: object) -> str:
    """`value` if it is one; headers come from outside, and whatever makes no sense counts as absent."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else ""


def derived(task_id: str, submission: int) -> str:
    """The same for every delivery of one submission of a task."""
    made = sha256(f"{task_id}\0{submission}".encode(errors="replace")).hexdigest()
    return f"00-{made[:32]}-{made[32:48]}-{_SAMPLED:02x}"


def parts(traceparent: str) -> tuple[int, int, int]:
    """Trace id, span id and flags."""
    _, trace, span, flags = traceparent.split("-")
    return int(trace, 16), int(span, 16), int(flags, 16)
