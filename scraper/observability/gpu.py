"""Whether the model server is busy, idle or left alone: the first thing its owner wants to know. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scraper.observability.view import Throttle, duration, number_of, pause_text

BUSY = 0.75
"""From this share of the slots in use on."""
IDLE = 0.25
"""Below this share."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """How the model server is, in one word, and a line that says it."""

    state: Literal["unknown", "idle", "working", "busy", "protected", "stopped"]
    sentence: str


def gpu(throttle: Throttle, away: Mapping[str, str], *, request_seconds: float, answers: int, elapsed_s: float) -> Gpu:
    """`request_seconds`: how long the `answers` of the last `elapsed_s` took together."""
    held = _held(throttle, away)
    if held is not None:
        return held
    if throttle.limit is None:
        return Gpu("unknown", "not asked yet")
    used = request_seconds / elapsed_s / throttle.limit if answers else throttle.in_flight / throttle.limit
    used = min(1.0, used)
    state: Literal["idle", "working", "busy"] = "busy" if used >= BUSY else "idle" if used < IDLE else "working"
    slots = "its one slot" if throttle.limit == 1 else f"its {number_of('slot', throttle.limit)}"
    return Gpu(state, f"{state}, {used:.0%} of {slots} in use over the last minute")


def _held(throttle: Throttle, away: Mapping[str, str]) -> Gpu | None:
    """What keeps every request from it."""
    if throttle.misconfigured:
        return Gpu("stopped", "not asked: a setting is wrong")
    if throttle.circuit == "open":
        why = "by an operator's order" if throttle.circuit_ordered else "because it fails"
        until = "" if throttle.retry_in_s is None else f", next try in {duration(throttle.retry_in_s)}"
        return Gpu("protected", f"protected: left alone {why}{until}")
    if throttle.circuit == "half_open":
        return Gpu("protected", "protected: one request tries whether it is well again")
    if throttle.paused_for_s > 0:
        return Gpu("protected", f"protected: paused, {pause_text(throttle)}")
    if "model server" in away:
        return Gpu("stopped", "does not answer")
    return None
