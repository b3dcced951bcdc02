"""Which starts there were: how many in the last minute, and how far apart. For whoever watches; decides nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any

MINUTE = 60.0
MOST_REMEMBERED = 60_000
"""As many as the fastest pace lets start in a minute."""

GAP_EDGES = (0.5, 0.95, 1.05, 1.5, 2.0, 4.0)
"""Where the bars of the gaps' histogram part, in intervals of the pace."""


class Starts:
    """Starts in the order of their times, in seconds. Memory is bounded by the pace."""

    def __init__(self) -> None:
        self.total = 0
        self.gaps = [0] * (len(GAP_EDGES) + 1)
        self.smallest_gap: float | None = None
        self._recent: deque[float] = deque(maxlen=MOST_REMEMBERED)
        self._last: float | None = None
        self._before: tuple[float | None, int | None, float | None] | None = None  # last, bar, smallest before it

    def add(self, at: float, *, interval: float) -> None:
        """A start at `at`, while the pace wants `interval` seconds between two."""
        bar = None
        before, smallest = self._last, self.smallest_gap
        if before is not None and at >= before:
            gap = at - before
            bar = bisect_right(GAP_EDGES, gap / interval)
            self.gaps[bar] += 1
            self.smallest_gap = gap if smallest is None else min(gap, smallest)
        self._last = at if before is None else max(at, before)
        self._before = before, bar, smallest
        self.total += 1
        self._recent.append(at)
        self._forget_until(at - MINUTE)

    def forget(self, at: float) -> None:
        """The start at `at` was not one: its request was never sent."""
        self.total -= 1
        if at in self._recent:
            self._recent.remove(at)
        if self._before is not None and at == self._last:  # a later one was spaced from it: then it stays between
            self._last, bar, self.smallest_gap = self._before
            if bar is not None:
                self.gaps[bar] -= 1
            self._before = None

    def last_minute(self, now: float) -> int:
        """How many in the 60 seconds before `now`."""
        self._forget_until(now - MINUTE)
        return len(self._recent)

    def plain(self, now: float) -> dict[str, Any]:
        """As plain values."""
        return {
            "total": self.total,
            "last_60s": self.last_minute(now),
            "gaps": list(self.gaps),
            "smallest_gap_s": None if self.smallest_gap is None else round(self.smallest_gap, 4),
        }

    def _forget_until(self, moment: float) -> None:
        while self._recent and self._recent[0] <= moment:
            self._recent.popleft()
