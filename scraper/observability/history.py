"""The last hour in steps of ten seconds, as a ring: what the charts and the sparkline draw. Constant memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from scraper.observability.histogram import Histogram
from scraper.observability.tally import Tally

STEP_SECONDS = 10
STEPS = 360


class Step:
    """Ten seconds: what happened in them, and the state at their end."""

    def __init__(self, number: int) -> None:
        self.number = number  # unix time / STEP_SECONDS
        self.starts = 0
        self.done = 0
        self.parked = 0
        self.tokens = 0
        self.failures = 0
        self.seconds: Counter[str] = Counter()
        self.latency = Histogram()
        self.in_flight = 0  # the most that was seen
        self.starts_minute = 0  # the most starts within a minute that were seen, as counted where they are granted
        self.limit = 0
        self.requests_per_minute = 0.0
        self.circuit = "closed"  # the worst that was seen

    def add(self, new: Tally) -> None:
        self.starts += new.counts["attempts"]
        self.failures += new.counts["retries"] + new.counts["failed_calls"]
        self.tokens += new.counts["completion_tokens"]
        self.done += new.outcomes["done"]
        self.parked += new.outcomes["park"]
        self.seconds.update(new.seconds)
        self.latency.merge(new.latency)

    def state(
        self, *, in_flight: int, starts_minute: int, limit: int, requests_per_minute: float, circuit: str
    ) -> None:
        self.in_flight = max(self.in_flight, in_flight)
        self.starts_minute = max(self.starts_minute, starts_minute)
        self.limit, self.requests_per_minute = limit, requests_per_minute
        if _WORSE.get(circuit, 0) > _WORSE.get(self.circuit, 0):
            self.circuit = circuit

    def merge(self, other: Step) -> None:
        """Another supervisor's share of the same ten seconds; the throttle's state is one for all."""
        for name in ("starts", "done", "parked", "tokens", "failures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds.update(other.seconds)
        self.latency.merge(other.latency)
        self.state(
            in_flight=other.in_flight,
            starts_minute=other.starts_minute,
            limit=other.limit or self.limit,
            requests_per_minute=other.requests_per_minute or self.requests_per_minute,
            circuit=other.circuit,
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        seconds = {phase: round(spent, 3) for phase, spent in self.seconds.items()}
        return vars(self) | {"seconds": seconds, "latency": self.latency.plain()}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Step:
        """What `plain` gave. Raises ValueError, TypeError or KeyError for anything else."""
        step = cls(int(plain["number"]))
        for name in ("starts", "done", "parked", "tokens", "failures", "in_flight", "starts_minute", "limit"):
            setattr(step, name, int(plain[name]))
        step.requests_per_minute, step.circuit = float(plain["requests_per_minute"]), str(plain["circuit"])
        step.seconds.update({str(phase): float(spent) for phase, spent in plain["seconds"].items()})
        step.latency = Histogram.of(plain["latency"])
        return step


_WORSE = {"closed": 0, "half_open": 1, "open": 2}


class History:
    """A ring of steps, oldest first. Steps in which nothing was heard are missing."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.steps: deque[Step] = deque(steps, maxlen=STEPS)

    def at(self, now: float) -> Step:
        """The step that `now` lies in; what comes late lands in the newest."""
        number = int(now // STEP_SECONDS)
        if not self.steps or number > self.steps[-1].number:
            self.steps.append(Step(number))
        return self.steps[-1]

    def last(self, seconds: float, *, now: float) -> list[Step]:
        """The steps of the last `seconds`."""
        oldest = int(now // STEP_SECONDS) - int(seconds // STEP_SECONDS)
        return [step for step in self.steps if step.number > oldest]

    def merge(self, other: History) -> None:
        """Another supervisor's hour."""
        by_number = {step.number: step for step in self.steps}
        for step in other.steps:
            if step.number in by_number:
                by_number[step.number].merge(step)
            else:
                by_number[step.number] = Step.of(step.plain())
        self.steps = deque((by_number[number] for number in sorted(by_number)), maxlen=STEPS)
