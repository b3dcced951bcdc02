"""Whether a run until the queue is empty is over, and its last words: pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

from scraper.observability.tally import Tally

EMPTY_FOR_SECONDS = 1.0


class UntilEmpty:
    """Takes one reading a second. Over means: nothing left, twice, at least a second apart, each time told by all."""

    def __init__(self, *, workers: int) -> None:
        self._workers = workers
        self._heard: set[int] = set()
        self._empty_since: float | None = None

    def worker_said(self, worker: int) -> None:
        self._heard.add(worker)

    def over(self, *, left: int, now: float) -> bool:
        """`left`: messages in the queues and in workers' hands, as far as the broker and the workers know."""
        empty = left == 0 and len(self._heard) == self._workers
        self._heard.clear()
        if not empty:
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= EMPTY_FOR_SECONDS


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
