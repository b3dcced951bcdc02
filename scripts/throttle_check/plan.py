"""What is tried, and in which scale of time. Pure.

Each trial has a scale of its own, so that a minute-long limit is tried in a second and the whole check ends soon: a
scale of 30 makes thirty seconds of the owner's time one second here. Nothing else about the settings changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FASTEST_PER_MINUTE = 60_000.0
INTERVAL_SECONDS = 0.08
"""The distance of starts in a scaled trial: well above what a busy machine smears them by."""
SLOTS_SECONDS = 1.5
OPEN_SECONDS = 1.2
BACKOFF_SECONDS = 3.0
STARTS = 30
RETRIES = 6
"""More than these show nothing new."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The owner's throttle settings."""

    max_concurrent: int
    requests_per_minute: float
    max_retries: int
    base_backoff: float
    max_backoff: float
    threshold: int
    timeout: float

    @property
    def interval(self) -> float:
        """Seconds between two starts."""
        return 60.0 / self.requests_per_minute

    def faster(self, scale: float) -> Limits:
        """The same with all its times divided by `scale`."""
        return replace(
            self,
            requests_per_minute=self.requests_per_minute * scale,
            base_backoff=self.base_backoff / scale,
            max_backoff=self.max_backoff / scale,
            timeout=self.timeout / scale,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """Limits as they are tried, and how much faster than the owner's they run."""

    limits: Limits
    scale: float
    calls: int = 0
    answer_seconds: float = 0.0


def slots(limits: Limits, *, real_time: bool = False) -> Trial:
    """Answers so slow that the slots are what holds everybody back."""
    starts = 2.5 * limits.max_concurrent
    scale = 1.0 if real_time else max(1.0, limits.interval * starts / SLOTS_SECONDS)
    tried = _at_most(limits, scale)
    answer_seconds = 2.0 * tried.limits.max_concurrent * tried.limits.interval
    return replace(tried, calls=3 * limits.max_concurrent, answer_seconds=max(0.2, answer_seconds))


def pace(limits: Limits, *, real_time: bool = False) -> Trial:
    """Answers at once, so that the pace is what holds everybody back."""
    scale = 1.0 if real_time else max(1.0, limits.interval / INTERVAL_SECONDS)
    tried = _at_most(limits, scale)
    return replace(tried, calls=max(STARTS, min(200, int(1.0 / tried.limits.interval))))


def breaker(limits: Limits, *, real_time: bool = False) -> Trial:
    """The server fails, and is well again. The pace is quick here: it is tried elsewhere."""
    scale = 1.0 if real_time else max(1.0, limits.timeout / OPEN_SECONDS)
    tried = Trial(limits.faster(scale), scale)
    if real_time:
        return tried
    quick = max(limits.requests_per_minute * scale, 60.0 * limits.threshold / OPEN_SECONDS, 1200.0)
    return replace(tried, limits=replace(tried.limits, requests_per_minute=min(quick, FASTEST_PER_MINUTE)))


def backoff(limits: Limits, *, real_time: bool = False) -> Trial:
    """One call that always fails, with a circuit that never opens."""
    retries = min(limits.max_retries, RETRIES)
    longest = sum(min(limits.max_backoff, limits.base_backoff * 2.0**retry) for retry in range(retries))
    scale = 1.0 if real_time else max(1.0, longest / BACKOFF_SECONDS)
    tried = limits.faster(scale)
    return Trial(
        replace(tried, max_retries=retries, threshold=1000, requests_per_minute=FASTEST_PER_MINUTE), scale, calls=1
    )


def seconds(limits: Limits) -> float:
    """About how long everything takes in real time."""
    retries = min(limits.max_retries, RETRIES)
    waits = sum(min(limits.max_backoff, limits.base_backoff * 2.0**retry) for retry in range(retries))
    paced = pace(limits, real_time=True).calls * limits.interval
    slow = slots(limits, real_time=True)
    answered = slow.answer_seconds * (slow.calls / limits.max_concurrent + 1)
    return waits + paced + answered + (limits.threshold + 4) * limits.interval + 2 * limits.timeout


def _at_most(limits: Limits, scale: float) -> Trial:
    """Never faster than settings may be."""
    scale = max(1.0, min(scale, FASTEST_PER_MINUTE / limits.requests_per_minute))
    return Trial(limits.faster(scale), scale)
