"""What one delivery of a task has cost and left behind so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

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


class Record(Protocol):
    """Is told what happens to one delivery while it happens. Times are readings of the trace's clock."""

    def step(self, phase: Phase, began: float, ended: float) -> None: ...

    def settled(self, task_id: str, outcome: str, reason: str) -> None: ...


class Trace:
    """Filled while a task runs, read when it is settled, whatever way it ended.

    Every moment belongs to exactly one phase, so the phases add up to the total.
    """

    def __init__(self, *, clock: Callable[[], float], records: Sequence[Record] = ()) -> None:
        """`records` are told each step that has ended, and the end."""
        self._clock = clock
        self._records = records
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

    @property
    def phase(self) -> Phase:
        """What is going on now; a wait in the throttle's line is `wait_slot` until its reason is known."""
        return self._phase

    def enter(self, phase: Phase) -> None:
        """From now on time belongs to `phase`."""
        now = self._clock()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        if self._records and phase != self._phase:
            self._tell_step(now)
        self._phase, self._since = phase, now

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """Inside, time belongs to `phase`; afterwards to what it belonged to before."""
        before = self._phase
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def shift(self, seconds: float, *, to: Phase) -> None:
        """Book `seconds` of the current phase as `to`: for waits whose reason is known only at their end."""
        self.enter(self._phase)
        self._seconds[self._phase] -= seconds
        self._seconds[to] = self._seconds.get(to, 0.0) + seconds
        if self._records:
            self._shifted.append((to, seconds))

    def end(self, task_id: str, outcome: str, reason: str) -> None:
        """The delivery is settled: its last step has ended."""
        self.enter(self._phase)
        if self._records:
            self._tell_step(self._since)
        for record in self._records:
            record.settled(task_id, outcome, reason)
        self._records = ()  # what is still being cleared away after a hand-back is no step of it

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

    def _tell_step(self, now: float) -> None:
        """What was booked to other phases meanwhile comes first: a wait is over when what it waited for begins."""
        began = self._step_began
        for phase, seconds in [*self._shifted, (self._phase, now - began)]:
            ended = min(now, began + seconds)
            if ended > began:
                for record in self._records:
                    record.step(phase, began, ended)
            began = max(began, ended)
        self._step_began = now
        self._shifted.clear()
