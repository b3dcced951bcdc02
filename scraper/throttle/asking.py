"""What a client of a coordinator must remember of its waiters and leases, to tell them again to the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from scraper.events import Blocker
from scraper.throttle.admission import UNLIMITED
from scraper.throttle.blocked_time import Waited
from scraper.throttle.nanoseconds import to_seconds
from scraper.throttle.protocol import Ask, Holds
from scraper.throttle.revocable_permit import RevocablePermit
from scraper.throttle.turn import Grant, Refusal

Answer: TypeAlias = Grant | Refusal


@dataclass(slots=True)
class Asking:
    """One waiter of this process."""

    number: int
    permit: RevocablePermit  # for which it asks
    answer: asyncio.Future[Answer]
    hold_until: int | None
    work_seconds: float
    attempt_seconds: float
    place: int | None
    since: int  # when the part of its wait began that nobody has booked yet
    booked: Waited = field(default_factory=Waited)  # with coordinators that are no more, and away
    said_at: int | None = None  # when its wait was announced last

    def ask(self, now: int) -> Ask:
        """What it says to a coordinator, who books its time from here."""
        self.since = now
        hold_left = None if self.hold_until is None else to_seconds(self.hold_until - now)
        work_left = self.work_seconds - self.booked.slot - self.booked.rate
        return Ask(
            self.number, self.place, hold_left, None if work_left == UNLIMITED else work_left, self.attempt_seconds
        )

    def book(self, now: int, reason: Blocker) -> None:
        """The time that no coordinator has booked was spent on `reason`."""
        before: float = getattr(self.booked, reason)
        self.booked = self.booked._replace(**{reason: before + to_seconds(now - self.since)})
        self.since = now

    def is_over(self, now: int, *, patience: int = 0) -> bool:
        return self.hold_until is not None and now > self.hold_until + patience


@dataclass(slots=True)
class Held:
    """A granted lease, until its block is left."""

    holds: Holds  # what is said of it to a coordinator that may not know
    permit: RevocablePermit
