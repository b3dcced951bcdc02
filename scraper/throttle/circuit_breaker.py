"""When the server is not well, leave it alone: CLOSED → OPEN(until) → HALF_OPEN(one probe) → CLOSED or OPEN.

Every transition raises `generation`; a result that carries an older generation changes nothing, so late results
neither extend nor shorten an open period, and never decide for a probe.

| event                    | CLOSED                                | OPEN      | HALF_OPEN                           |
|--------------------------|---------------------------------------|-----------|-------------------------------------|
| permit asked             | granted                               | refused   | one becomes the probe, else refused |
| success                  | consecutive failures = 0              | –         | CLOSED                              |
| failure                  | +1; at the threshold OPEN for timeout | –         | OPEN for timeout                    |
| alive (429)              | –                                     | –         | CLOSED                              |
| neutral, cancelled, died | –                                     | –         | the probe's place is free again     |
| timer                    | –                                     | HALF_OPEN | a probe that hangs: OPEN            |

Pure: time is an argument (integer nanoseconds), what happened is returned as an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from scraper.errors import Held
from scraper.events import CircuitClosed, CircuitHalfOpen, CircuitOpened, CircuitOpenedByOrder, Event
from scraper.throttle.nanoseconds import SECOND, ns, to_seconds
from scraper.throttle.verdict import Effect

PROBE_SECONDS = 125.0
"""A probe without a verdict for this long hangs: the default attempt timeout (120 s) and 5 s."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


CLOSED, OPEN, HALF_OPEN = CircuitState
"""Asked for a dozen times a grant; in Python 3.11 to look one up in its class is a call."""


class CircuitOpen(Held):
    """Refused: the server is being left alone. Ask again in `retry_in_seconds`."""

    def __init__(self, retry_in_seconds: float) -> None:
        super().__init__(
            f"circuit open: the model server is left alone, next try in {retry_in_seconds:.1f} s", after_seconds=60.0
        )
        self.retry_in_seconds = retry_in_seconds


class CircuitMemory(NamedTuple):
    """All a breaker knows; what a snapshot keeps."""

    state: CircuitState = CLOSED
    generation: int = 0
    failures: int = 0
    ordered: bool = False  # opened last by an owner's command
    opened_at: int = 0  # when it left CLOSED
    until: int = 0  # OPEN: when it becomes HALF_OPEN
    probe_until: int | None = None  # HALF_OPEN: a probe is out, and hangs from then on


class CircuitBreaker:
    """Opens after `threshold` consecutive failures, for exactly `timeout_seconds`; then one probe decides."""

    def __init__(self, threshold: int = 5, timeout_seconds: float = 60.0) -> None:
        if threshold < 1 or not timeout_seconds > 0:
            raise ValueError(f"threshold must be >= 1 and timeout_seconds > 0, not {threshold} and {timeout_seconds}")
        self.threshold = threshold
        self.timeout_seconds = timeout_seconds
        self._memory = CircuitMemory()

    @property
    def state(self) -> CircuitState:
        return self._memory.state

    @property
    def generation(self) -> int:
        return self._memory.generation

    @property
    def failures(self) -> int:
        """Consecutive failures so far."""
        return self._memory.failures

    @property
    def ordered(self) -> bool:
        """Whether it is open because its owner said so: the server may be well."""
        return self.state is OPEN and self._memory.ordered

    @property
    def probing(self) -> bool:
        return self._memory.probe_until is not None

    @property
    def wakes_at(self) -> int | None:
        """When time alone changes the state, if nothing else happens before."""
        memory = self._memory
        return memory.until if memory.state is OPEN else memory.probe_until

    def held_at(self, now: int) -> bool:
        """Whether a permit asked at `now` would be refused."""
        memory = self._memory
        if memory.state is CLOSED:
            return False
        return now < memory.until if memory.state is OPEN else self.probing

    def advance(self, now: int) -> Event | None:
        """Let time pass: the table's last row."""
        memory = self._memory
        if self.state is OPEN and now >= memory.until:
            self._enter(HALF_OPEN)
            return CircuitHalfOpen(self.generation)
        if memory.probe_until is not None and now >= memory.probe_until:
            return self.open(now)
        return None

    def permit(self, now: int, *, probe_seconds: float = PROBE_SECONDS) -> bool:
        """Take a permit; true for the probe. Raises CircuitOpen, a fresh one each time, to everyone who is refused."""
        self.advance(now)
        if self.held_at(now):
            wakes_at = self.wakes_at
            raise CircuitOpen(max(0.0, to_seconds((wakes_at or now) - now)))
        if self.state is CLOSED:
            return False
        self._memory = self._memory._replace(probe_until=now + ns(probe_seconds))
        return True

    def postpone_probe(self, *, until: int) -> None:
        """The probe's request starts only now (it asked for the server's health first)."""
        if self.probing:
            self._memory = self._memory._replace(probe_until=until)

    def record(self, effect: Effect, *, generation: int, now: int) -> Event | None:
        """Judge a result that was permitted in `generation`."""
        if generation != self.generation or self.state is OPEN:
            return None
        if self.state is CLOSED:
            return self._record_closed(effect, now)
        match effect:
            case Effect.SUCCESS | Effect.ALIVE:
                return self.close(now)
            case Effect.FAILURE:
                return self.open(now)
            case Effect.NEUTRAL | Effect.NONE:
                self._memory = self._memory._replace(probe_until=None)
                return None

    def open(self, now: int, *, ordered: bool = False) -> Event:
        """Leave the server alone for the timeout from now: a failed probe, the last straw, or an owner's command."""
        memory = self._memory
        if memory.state is CLOSED:
            memory = memory._replace(opened_at=now)
        elif not ordered:
            memory = memory._replace(failures=memory.failures + 1)
        self._memory = memory._replace(ordered=ordered, until=now + ns(self.timeout_seconds))
        self._enter(OPEN)
        opened = CircuitOpenedByOrder if ordered else CircuitOpened
        return opened(self.generation, memory.failures, self.timeout_seconds)

    def close(self, now: int) -> Event:
        """The server is well again: a successful probe, or an owner's command."""
        self._memory = self._memory._replace(failures=0)
        self._enter(CLOSED)
        return CircuitClosed(self.generation, round((now - self._memory.opened_at) / SECOND, 3))

    def snapshot(self) -> CircuitMemory:
        return self._memory

    def restore(self, snapshot: Iterable[Any]) -> None:
        """From `snapshot`, also as the list that JSON makes of it."""
        memory = CircuitMemory(*snapshot)
        self._memory = memory._replace(state=CircuitState(memory.state))

    def _record_closed(self, effect: Effect, now: int) -> Event | None:
        if effect is Effect.SUCCESS and self.failures:
            self._memory = self._memory._replace(failures=0)
        elif effect is Effect.FAILURE:
            self._memory = self._memory._replace(failures=self.failures + 1)
            if self.failures >= self.threshold:
                return self.open(now)
        return None

    def _enter(self, state: CircuitState) -> None:
        self._memory = self._memory._replace(state=state, generation=self.generation + 1, probe_until=None)
