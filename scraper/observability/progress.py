"""How a run until the queue is empty is getting on: pure arithmetic over what workers and broker report."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from scraper.observability.tally import Tally

RATE_WINDOW_SECONDS = 60.0
EMPTY_FOR_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """How far a run has come."""

    done: int
    parked: int
    waiting: int  # in the queues and in workers' hands
    per_minute: float
    limited_by: str
    seconds_left: float | None

    def __str__(self) -> str:
        left = f", {duration(self.seconds_left)} left" if self.seconds_left is not None else ""
        return (
            f"{self.done} done, {self.parked} parked, {self.waiting} waiting, {self.per_minute:.1f}/min{left}; "
            f"limited by {self.limited_by}"
        )


def duration(seconds: float) -> str:
    """As a person says it: 40 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Progress:
    """Takes one reading a second; keeps a minute of them. `host` knows the state of the shared throttle."""

    def __init__(self, host: Tally | None = None) -> None:
        self._host = host or Tally()
        self._ended = Tally()  # of workers that are gone
        self._workers: dict[int, Tally] = {}
        self._heard: set[int] = set()
        self._finished: deque[tuple[float, int]] = deque()
        self._empty_since: float | None = None

    def worker_says(self, worker: int, tally: Tally) -> None:
        """A worker's tally; a smaller one than before comes from its successor."""
        before = self._workers.get(worker)
        if before is not None and tally.outcomes.total() < before.outcomes.total():
            self._ended.merge(before)
        self._workers[worker] = tally
        self._heard.add(worker)

    def total(self) -> Tally:
        """Everything that happened in this run, and the present state of the workers."""
        total = Tally()
        total.circuit = self._host.circuit
        total.merge(self._ended)
        for tally in self._workers.values():
            total.merge(tally)
            total.in_hand += tally.in_hand
            if tally.circuit != "closed":
                total.circuit = tally.circuit
        return total

    def read(self, *, queued: int, in_hand: int, workers: int, now: float) -> tuple[Report, bool]:
        """The state at `now`, and whether the run is over.

        `queued` messages are in the queues and `in_hand` with workers, as far as the broker knows.

        Over means: nothing queued and nothing in hand, twice, at least a second apart, each time told by every one
        of the `workers` since the reading before.
        """
        total = self.total()
        done, parked = total.outcomes["done"], total.outcomes["park"]
        waiting = queued + max(in_hand, total.in_hand)
        per_minute = self._per_minute(done + parked, now)
        left = round(waiting / per_minute * 60.0, 1) if per_minute else None
        empty = waiting == 0 and len(self._heard) == workers
        over = empty and self._empty_since is not None and now - self._empty_since >= EMPTY_FOR_SECONDS
        if not empty:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        self._heard.clear()
        return Report(done, parked, waiting, round(per_minute, 1), total.limited_by(), left), over

    def _per_minute(self, finished: int, now: float) -> float:
        readings = self._finished
        readings.append((now, finished))
        while now - readings[0][0] > RATE_WINDOW_SECONDS:
            readings.popleft()
        since, before = readings[0]
        return (finished - before) / (now - since) * 60.0 if now > since else 0.0


def summary(total: Tally) -> str:
    """The last words of a run."""
    finished = total.outcomes["done"] + total.outcomes["park"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in total.reasons.most_common())
    parked = f"{total.outcomes['park']} parked" + (f" ({reasons})" if reasons else "")
    again = _again(total.outcomes)
    return f"{finished} tasks: {total.outcomes['done']} done, {parked}{again}"


def _again(outcomes: Mapping[str, int]) -> str:
    moved = outcomes.get("retry", 0) + outcomes.get("hold", 0)
    return f"; {moved} times a task was put back to wait" if moved else ""
