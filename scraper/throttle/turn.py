"""What the admission decision says, as plain values: they may travel to another process.

Named tuples rather than frozen dataclasses: every grant makes several, and those take five times as long to make.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from scraper.events import Blocker, Event
from scraper.throttle.blocked_time import Waited

OutOf: TypeAlias = Literal["hold", "work"]
"""What a waiter ran out of: time it may be held by anything, or working time, which slots and pace use up."""


class Grant(NamedTuple):
    """Permission to start one attempt at `at`. It holds a slot until its lease is finished."""

    ticket: int
    lease: int
    place: int
    at: int
    write_by: int
    probe: bool  # ask GET /health first
    check: bool  # ask GET /v1/models first
    waited: Waited


class Refusal(NamedTuple):
    """A waiter left the queue ungranted: it ran out of time, or could never have made it."""

    ticket: int
    out_of: OutOf
    reason: Blocker
    waited: Waited


class Turn(NamedTuple):
    """What came of a moment: all of it is to be carried out, then a turn taken again at `wake_at` at the latest."""

    grants: list[Grant]
    refusals: list[Refusal]
    events: list[Event]
    wake_at: int | None
    blocked_by: Blocker | None  # what holds back whoever is next


class Standing(NamedTuple):
    """Where a waiter stands."""

    place: int
    reason: Blocker
    position: int  # 1 = next
    estimated_wait_seconds: float
    in_flight: int
    limit: int


class Lease(NamedTuple):
    """One attempt in flight."""

    at: int
    generation: int
    probe: bool
    check: bool
    attempt_ns: int
    owner: str
