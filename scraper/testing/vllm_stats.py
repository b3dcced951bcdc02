"""The referee: what clients really did to the server, measured at the server.

A request is in flight from its first byte until its response is written or its client is gone. Times are readings of
the event loop's clock, which on one host is the same monotonic clock in every process.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from typing import Any

REMEMBERED = 100_000  # starts and finished requests that are kept


class Watched:
    """One request as the referee saw it."""

    __slots__ = ("client", "ended_at", "outcome", "started_at", "status")

    def __init__(self, started_at: float, client: str) -> None:
        self.started_at = started_at
        self.client = client
        self.ended_at: float | None = None
        self.status: int | None = None
        self.outcome = "in flight"


class Stats:
    """Counts and extremes since the start or the last `reset`."""

    def __init__(self) -> None:
        self._active: set[Watched] = set()
        self.reset()

    def reset(self) -> None:
        """Forget the past; what is in flight stays in flight."""
        self.requests = len(self._active)
        self.max_in_flight = len(self._active)
        self.by_status: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.finished: deque[Watched] = deque(maxlen=REMEMBERED)
        self._starts: deque[float] = deque((one.started_at for one in self._active), maxlen=REMEMBERED)

    def arrived(self, started_at: float, client: str = "") -> Watched:
        watched = Watched(started_at, client)
        self._active.add(watched)
        self.requests += 1
        self._starts.append(started_at)
        self.max_in_flight = max(self.max_in_flight, len(self._active), self._in_flight_at(started_at))
        return watched

    def ended(self, watched: Watched, at: float, *, status: int | None, outcome: str) -> None:
        if watched in self._active:
            self._active.remove(watched)
            watched.ended_at, watched.status, watched.outcome = at, status, outcome
            self.finished.append(watched)
            self.outcomes[outcome] += 1
            if status is not None:
                self.by_status[status] += 1

    @property
    def in_flight(self) -> int:
        return len(self._active)

    @property
    def starts(self) -> list[float]:
        """The times of the first bytes, in order."""
        return sorted(self._starts)

    @property
    def smallest_gap(self) -> float | None:
        """Seconds between the two starts that were closest; None before the second."""
        starts = self.starts
        return min((later - earlier for earlier, later in itertools.pairwise(starts)), default=None)

    def most_starts_in(self, window_seconds: float) -> int:
        """The most starts in any half-open window of this length."""
        most = first = 0
        starts = self.starts
        for last, start in enumerate(starts):
            while start - starts[first] >= window_seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def snapshot(self, *, window_seconds: float = 60.0, last: int = 1_000) -> dict[str, Any]:
        starts = self.starts
        gap = self.smallest_gap
        return {
            "requests": self.requests,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "smallest_gap_seconds": gap,
            "window_seconds": window_seconds,
            "most_starts_in_window": self.most_starts_in(window_seconds),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "outcomes": dict(self.outcomes),
            "starts": starts[-last:],
            "intervals": [
                [one.started_at, one.ended_at, one.status, one.outcome, one.client]
                for one in list(self.finished)[-last:]
            ],
        }

    def _in_flight_at(self, moment: float) -> int:
        """How many were in flight when a request's first byte came, which may be a while before its headers ended."""
        count = 0
        for one in reversed(self.finished):
            if one.ended_at is None or one.ended_at <= moment:
                break
            count += one.started_at <= moment
        return count + sum(one.started_at <= moment for one in self._active) if count else 0
