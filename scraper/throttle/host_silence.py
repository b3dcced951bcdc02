"""Says that nobody hosts the throttle, or that its host does not answer: at first, every 30 s, and once it is over."""

from __future__ import annotations

from scraper.events import Back, Observe, ThrottleDegraded

DEGRADED_EVERY_SECONDS = 30.0
_WHAT = "throttle coordinator"


class HostSilence:
    """Times are seconds."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._since: float | None = None
        self._said = 0.0

    def lasts(self, silent: float, *, pid: int, error: str, waiting: int, now: float) -> None:
        """It has been for `silent` seconds; `pid` is who should answer, 0 where nobody knows."""
        if self._since is None:
            self._since = now - silent
        elif now - self._said < DEGRADED_EVERY_SECONDS:
            return
        self._said = now
        self._observe(ThrottleDegraded(pid, round(silent, 3), error or "it does not answer", waiting))

    def ends(self, now: float) -> None:
        if self._since is not None:
            self._observe(Back(_WHAT, round(now - self._since, 3)))
            self._since = None
