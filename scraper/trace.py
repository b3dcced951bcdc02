"""What one delivery of a task has cost and left behind so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from scraper.models import Json, Page, Usage

Phase: TypeAlias = Literal[
    "host_delay",
    "fetch",
    "clean",
    "wait_slot",
    "wait_rate",
    "wait_circuit",
    "server_pause",
    "backoff",
    "first_token",
    "generate",
    "validate",
    "store",
]
OnStep: TypeAlias = Callable[[Phase, float, float], None]


class Trace:
    """Filled while a task runs, read when it is settled, whatever way it ended.

    Every moment belongs to exactly one phase, so the phases add up to the total.
    """

    def __init__(self, *, clock: Callable[[], float], on_step: OnStep | None = None) -> None:
        """`on_step` is called with each step that has ended: its phase, its beginning and its end."""
        self._clock = clock
        self._on_step = on_step
        self._started = self._since = clock()
        self._phase: Phase = "store"
        self._seconds: dict[Phase, float] = {}
        self._step_began = self._started
        self._shifted: list[tuple[Phase, float]] = []
        self.usage = Usage()
        self.calls = 0
        self.model: str | None = None
        self.url: str | None = None  # after redirects
        self.page: Page | None = None
        self.answer: str | None = None
        self.cut: Json = None
        self.cached = False
        self.hidden: Mapping[str, int] = {}  # what the page hides from its readers, by kind
        self.unsupported = 0  # values that do not stand on the page

    def enter(self, phase: Phase) -> None:
        """From now on time belongs to `phase`."""
        now = self._clock()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        if self._on_step is not None and phase != self._phase:
            self._tell_step(self._on_step, now)
        self._phase, self._since = phase, now

    def shift(self, seconds: float, *, to: Phase) -> None:
        """Book `seconds` of the current phase as `to`: for waits whose reason is known only at their end."""
        self.enter(self._phase)
        self._seconds[self._phase] -= seconds
        self._seconds[to] = self._seconds.get(to, 0.0) + seconds
        if self._on_step is not None:
            self._shifted.append((to, seconds))

    def end(self) -> None:
        """The task is settled: its last step has ended."""
        self.enter(self._phase)
        if self._on_step is not None:
            self._tell_step(self._on_step, self._since)

    def timings(self) -> dict[str, float]:
        """Seconds per phase up to now, rounded to 0.1 ms; phases that took nothing are left out."""
        self.enter(self._phase)
        return {phase: round(seconds, 4) for phase, seconds in self._seconds.items() if seconds >= 5e-5}

    def spent(self, phase: Phase) -> float:
        """Seconds in `phase` up to now."""
        self.enter(self._phase)
        return self._seconds.get(phase, 0.0)

    @property
    def total_seconds(self) -> float:
        return self._clock() - self._started

    def _tell_step(self, on_step: OnStep, now: float) -> None:
        """What was booked to other phases meanwhile comes first: a wait is over when what it waited for begins."""
        began = self._step_began
        for phase, seconds in self._shifted:
            on_step(phase, began, min(now, began + seconds))
            began = min(now, began + seconds)
        if now > began:
            on_step(self._phase, began, now)
        self._step_began = now
        self._shifted.clear()
