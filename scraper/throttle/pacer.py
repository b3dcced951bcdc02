"""How fast requests may start: GCRA with emission interval T = 60 s / rpm and depth 1.

A start at `t` is allowed iff `t >= tat`; then `tat = t + T`. Idle time earns nothing, so any half-open minute holds at
most rpm starts; a bucket as deep as its rate would let out nearly twice as many. With depth 1 the one number to keep
is the last start: `tat` follows from it and the present T, also after the rate was changed.
"""

from __future__ import annotations

import math

from scraper.throttle.nanoseconds import SECOND, ns

LATEST_WRITE_SECONDS = 1.0
"""A request is written within min(T/2, this) of its grant, or handed back: late ones would pile onto the next."""
EARLIEST_LAPSE_SECONDS = 0.01
"""But no grant lapses sooner: at 60,000 a minute T/2 is 0.5 ms, less than a message between two processes takes."""

SLOWEST_PER_MINUTE = 1e-6
"""One start in two years: below it an interval is no number that all can count with."""


class Pacer:
    """Spaces starts at least `interval` nanoseconds apart."""

    def __init__(self, requests_per_minute: float) -> None:
        self.last_start: int | None = None
        self.ready_at = 0  # when the next start is allowed
        self._start_before: int | None = None
        self._refundable = False
        self.set_rate(requests_per_minute)

    def set_rate(self, requests_per_minute: float) -> None:
        """From now on this rate: lowering pushes the next start back at once, raising brings it nearer."""
        if not (requests_per_minute >= SLOWEST_PER_MINUTE and math.isfinite(requests_per_minute)):
            raise ValueError(
                f"requests_per_minute must be a number of {SLOWEST_PER_MINUTE:g} or more, not {requests_per_minute}"
            )
        self.requests_per_minute = requests_per_minute
        self.interval = math.ceil(60 * SECOND / requests_per_minute)  # rounded up: never faster than told
        self.write_within = max(min(self.interval // 2, ns(LATEST_WRITE_SECONDS)), ns(EARLIEST_LAPSE_SECONDS))
        self.go_on(self.last_start)

    def go_on(self, last_start: int | None) -> None:
        """Keep the distance from a start of long ago, or that is not to count any more."""
        self.last_start = last_start
        self.ready_at = 0 if last_start is None else last_start + self.interval

    def earliest(self, now: int, *, ahead: int) -> int:
        """When a start could be allowed, at best, that has `ahead` others before it."""
        return max(now, self.ready_at) + ahead * self.interval

    def allows(self, now: int) -> bool:
        return now >= self.ready_at

    def take(self, now: int) -> None:
        """Start one now; only after `allows(now)`."""
        self._start_before, self._refundable = self.last_start, True
        self.go_on(now)

    def refund(self, start: int) -> None:
        """Undo the start taken at `start`, unless a later one was taken: that one was spaced from it."""
        if self._refundable and start == self.last_start:
            self._refundable = False
            self.go_on(self._start_before)

    def postpone(self, start: int, *, to: int) -> None:
        """What was taken at `start` really starts at `to`: keep the distance from there."""
        if start == self.last_start:
            self.go_on(to)
