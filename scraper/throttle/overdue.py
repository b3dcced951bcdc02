"""Leases held for longer than their attempt can last: their process was stopped, or nobody told of their end."""

from __future__ import annotations

from collections.abc import Mapping

from scraper.throttle.nanoseconds import sooner
from scraper.throttle.turn import Lease


class Overdue:
    """A lease is overdue `grace` after its attempt must have timed out. Pure; times are nanoseconds."""

    def __init__(self, grace: int) -> None:
        self._grace = grace
        self.look_at: int | None = None  # when the next may be; never too late

    def watch(self, lease: Lease) -> None:
        self.look_at = sooner(self._end(lease), self.look_at)

    def among(self, leases: Mapping[int, Lease], now: int) -> list[tuple[int, Lease]]:
        """All leases there are; the overdue ones come back, the others are watched."""
        self.look_at = None
        found = []
        for number, lease in leases.items():
            if now >= self._end(lease):
                found.append((number, lease))
            else:
                self.watch(lease)
        return found

    def _end(self, lease: Lease) -> int:
        return lease.at + lease.attempt_ns + self._grace
