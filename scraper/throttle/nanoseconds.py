"""The throttle's unit of time: integer nanoseconds of one monotonic clock, so that sums and comparisons are exact."""

from __future__ import annotations

import math

SECOND = 1_000_000_000


def ns(seconds: float) -> int:
    """Nanoseconds in `seconds`, to the nearest."""
    return round(seconds * SECOND)


def bounded_ns(seconds: float) -> int | None:
    """Nanoseconds in `seconds`, never negative; None for a time without end."""
    return None if math.isinf(seconds) else max(0, ns(seconds))


def to_seconds(nanoseconds: int) -> float:
    return nanoseconds / SECOND


def sooner(one: int | None, other: int | None) -> int | None:
    """Of two moments; None: never."""
    return one if other is None or (one is not None and one < other) else other
