"""The line itself: ordered by place, left from anywhere, and watched for those whose time is over.

Leaving only strikes a waiter off; its entries in the two heaps are skipped when they come up, and swept once they
outnumber the living. So every step costs O(log n), and leaving O(1) amortised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from scraper.throttle.blocked_time import Mark
from scraper.throttle.turn import OutOf

_SWEEP_FROM = 64
_SWEEP_FACTOR = 4


@dataclass(slots=True)
class Waiter:
    """One asking of one call."""

    ticket: int
    place: int  # order of the call's first asking
    asked: int
    mark: Mark
    hold_until: int | None
    work_ns: int | None
    attempt_ns: int
    owner: str

    def time_left(self, now: int, *, held: int) -> tuple[int | None, OutOf]:
        """Nanoseconds until it is refused, and what it runs out of then; `held` of those so far were no working time.

        None: it waits as long as it takes.
        """
        hold_left = None if self.hold_until is None else self.hold_until - now
        if self.work_ns is None:
            return hold_left, "hold"
        work_left = self.work_ns - (now - self.asked - held)
        return (work_left, "work") if hold_left is None or work_left < hold_left else (hold_left, "hold")


class WaitingLine:
    """Waiters by place; two of the same call never wait at once."""

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}
        self._by_place: list[tuple[int, int]] = []
        self._by_look: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def get(self, ticket: int) -> Waiter | None:
        return self._waiters.get(ticket)

    def join(self, waiter: Waiter) -> None:
        self._waiters[waiter.ticket] = waiter
        heappush(self._by_place, (waiter.place, waiter.ticket))

    def leave(self, ticket: int) -> None:
        """Strike it off; nothing where it has left already."""
        if self._waiters.pop(ticket, None) is not None:
            self._by_place = self._swept(self._by_place)
            self._by_look = self._swept(self._by_look)

    def head(self) -> Waiter | None:
        while self._by_place:
            waiter = self._waiters.get(self._by_place[0][1])
            if waiter is not None:
                return waiter
            heappop(self._by_place)
        return None

    def ahead_of(self, place: int) -> int:
        """How many go before `place`. Looks at every waiter, except for the newest call's."""
        if next(reversed(self._waiters), None) == place:  # a call's place is its first ticket
            return len(self._waiters) - 1
        return sum(waiter.place < place for waiter in self._waiters.values())

    def look_at(self, waiter: Waiter, *, when: int) -> None:
        """Have it come up in `due` at `when`."""
        heappush(self._by_look, (when, waiter.ticket))

    @property
    def next_look(self) -> int | None:
        return self._by_look[0][0] if self._by_look else None

    def due(self, now: int) -> Iterator[Waiter]:
        """Those to be looked at by now, each once."""
        while self._by_look and self._by_look[0][0] <= now:
            waiter = self._waiters.get(heappop(self._by_look)[1])
            if waiter is not None:
                yield waiter

    def _swept(self, heap: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if len(heap) < _SWEEP_FROM or len(heap) < _SWEEP_FACTOR * len(self._waiters):
            return heap
        alive = [entry for entry in heap if entry[1] in self._waiters]
        heapify(alive)
        return alive
