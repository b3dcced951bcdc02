"""When to decide again: an event loop's timer that never rings early.

uvloop counts in whole milliseconds and rings up to one of them too soon; a start that early would break the distance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scraper.throttle.nanoseconds import ns, to_seconds

ROUNDING_NS = 1000
"""A float of seconds, some days large, tells moments this far apart."""
SHORTEST_SECONDS = 0.001


class Alarm:
    """Calls `ring` with the moment (nanoseconds of `clock`) that was set last, once it has come."""

    def __init__(self, clock: Callable[[], float], ring: Callable[[int], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._moment: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, moment: int | None) -> None:
        """None: not at all."""
        if moment == self._moment:
            return
        self.cancel()
        self._moment = moment
        if moment is not None:
            self._wait(max(0.0, to_seconds(moment) - self._clock()))

    def cancel(self) -> None:
        self._moment = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._rung)

    def _rung(self) -> None:
        moment = self._moment
        if moment is None:
            return
        left = moment - ns(self._clock())
        if left > ROUNDING_NS:
            self._wait(max(SHORTEST_SECONDS, to_seconds(left)))
            return
        self._moment = self._timer = None
        self._ring(moment)
