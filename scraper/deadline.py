"""How long one task may still work, and how long it may still be held."""

from __future__ import annotations


class Deadline:
    """Two budgets of one delivery, in seconds: working time, and time held by what is not the task's fault.

    Held time (open circuit, server pause) does not count as working time; waiting for a slot or the pace does. Any
    waiting for the throttle, held or not, uses up the hold budget. All times are readings of one monotonic clock.
    """

    def __init__(self, *, work_seconds: float, hold_seconds: float, now: float) -> None:
        self._started = now
        self._work_seconds = work_seconds
        self._hold_seconds = hold_seconds
        self._held = 0.0
        self._waited = 0.0

    def waited(self, seconds: float, *, held_seconds: float) -> None:
        """Record a wait for the throttle of `seconds`, of which `held_seconds` were nobody's working time."""
        self._waited += seconds
        self._held += held_seconds

    def work_left(self, *, now: float) -> float:
        """Seconds of working time left; may be negative."""
        return self._started + self._work_seconds + self._held - now

    @property
    def hold_left(self) -> float:
        """Seconds this delivery may still wait for the throttle."""
        return max(0.0, self._hold_seconds - self._waited)


UNLIMITED = float("inf")


def no_deadline(*, now: float) -> Deadline:
    """For programs that use the client without a queue: wait as long as it takes."""
    return Deadline(work_seconds=UNLIMITED, hold_seconds=UNLIMITED, now=now)
