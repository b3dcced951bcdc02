"""How long the queue was blocked, by reason: what limits the run.

One set of running totals serves every waiter: its own waiting is the difference between asking and grant, so a
thousand waiters cost no more than one. While both the slots and the pace block, the one that gives way last is the
one that limited; that time is kept aside until this is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from scraper.events import Blocker
from scraper.throttle.nanoseconds import to_seconds


class Waited(NamedTuple):
    """Seconds of one wait, by what it was spent on."""

    slot: float = 0.0
    rate: float = 0.0
    circuit: float = 0.0
    server_pause: float = 0.0

    @property
    def total(self) -> float:
        return self.slot + self.rate + self.held

    @property
    def held(self) -> float:
        """The part that is nobody's working time."""
        return self.circuit + self.server_pause


@dataclass(slots=True)
class _Overlap:
    """A time during which slots and pace both blocked."""

    length: int = 0
    slot_was_last: bool = False  # known once it is over


class Mark(NamedTuple):
    """The totals at the moment somebody began to wait."""

    slot: int
    rate: int
    circuit: int
    server_pause: int
    overlap: _Overlap
    overlap_length: int


class BlockedTime:
    """Running totals in nanoseconds."""

    def __init__(self) -> None:
        self._slot = self._rate = self._circuit = self._server_pause = 0
        self._overlap = _Overlap()

    def add(self, length: int, reason: Blocker | None, *, also_rate: bool) -> None:
        """The line was blocked for `length` by `reason`; `also_rate`: the pace would not have allowed it either.

        No reason: nothing but a late turn held it back; that counts as the pace.
        """
        if reason == "slot" and also_rate:
            self._overlap.length += length
            return
        self.give_way(slot_was_last=reason == "slot")
        if reason == "slot":
            self._slot += length
        elif reason == "circuit":
            self._circuit += length
        elif reason == "server_pause":
            self._server_pause += length
        else:
            self._rate += length

    def give_way(self, *, slot_was_last: bool = False) -> None:
        """Slots and pace do not both block any longer: decide whose time that was."""
        if self._overlap.length:
            overlap, self._overlap = self._overlap, _Overlap()
            overlap.slot_was_last = slot_was_last
            if slot_was_last:
                self._slot += overlap.length
            else:
                self._rate += overlap.length

    def mark(self) -> Mark:
        return Mark(self._slot, self._rate, self._circuit, self._server_pause, self._overlap, self._overlap.length)

    def since(self, mark: Mark) -> Waited:
        slot = self._slot - mark.slot
        rate = self._rate - mark.rate + self._overlap.length  # what is not decided yet counts as the pace
        if mark.overlap.slot_was_last:  # the part of that overlap which lay before the mark is not this waiter's
            slot -= mark.overlap_length
        else:
            rate -= mark.overlap_length
        return Waited(
            slot=to_seconds(slot),
            rate=to_seconds(rate),
            circuit=to_seconds(self._circuit - mark.circuit),
            server_pause=to_seconds(self._server_pause - mark.server_pause),
        )

    def held_since(self, mark: Mark) -> int:
        """Nanoseconds since `mark` in which neither slots nor pace were to blame."""
        return self._circuit - mark.circuit + self._server_pause - mark.server_pause
