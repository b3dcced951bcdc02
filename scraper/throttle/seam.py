"""What a caller of the model needs of a throttle, in process or across processes: admit → permit → verdict.

    async with throttle.admit(hold_seconds=600) as permit:      # waits its turn; raises NotAdmitted
        if permit.too_late():                                   # the loop stalled since the grant:
            permit.report(UNSENT)                               # hand it back and ask again with permit.place
        else:
            permit.report(await attempt())                      # leaving the block gives the slot back

Leave the block only when the response body was read to its end or its connection is closed.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from scraper.errors import Held
from scraper.events import Blocker
from scraper.throttle.blocked_time import Waited
from scraper.throttle.turn import OutOf
from scraper.throttle.verdict import Verdict

HELD_AFTER_SECONDS = 60.0
"""When a task that was not admitted in its time should come again."""


class NotAdmitted(Held):
    """The wait ended without a permit: its time was over, or could never have sufficed."""

    def __init__(self, *, out_of: OutOf, reason: Blocker, waited: Waited) -> None:
        super().__init__(
            f"no turn at the model server within the task's time (held back by: {reason}, waited {waited.total:.1f} s)",
            after_seconds=HELD_AFTER_SECONDS,
        )
        self.out_of = out_of
        self.reason = reason
        self.waited = waited


class LeaseLost(Held):
    """The permit was taken back while its block ran: this process was stopped for longer than an attempt may last.

    The block was cancelled, so its request is aborted; nothing more is to be given back. It says nothing about the
    server: the call may ask again with its place.
    """

    def __init__(self) -> None:
        super().__init__("this process was stopped for too long and lost its slot", after_seconds=HELD_AFTER_SECONDS)


class Permit(Protocol):
    """Permission to start one attempt, and a slot held until the block that asked for it is left."""

    @property
    def place(self) -> int:
        """The call's place in line; its retries bring it along."""
        ...

    @property
    def waited(self) -> Waited: ...

    @property
    def probe(self) -> bool:
        """Ask GET /health before sending; report UNHEALTHY instead if it is not well."""
        ...

    @property
    def check(self) -> bool:
        """Ask GET /v1/models before sending; report UNSENT with the misconfiguration if it does not fit."""
        ...

    @property
    def write_by(self) -> float:
        """Until when (loop time) the request may be written, connecting included; later it is `too_late`."""
        ...

    def too_late(self) -> bool:
        """Whether writing now would pile onto the next start."""
        ...

    def start(self) -> None:
        """The request is written now: a probe's or checker's questions have taken time since the grant."""
        ...

    def report(self, verdict: Verdict) -> None:
        """How the attempt ended; counts when the block is left. Without one it was cancelled."""
        ...


class Throttle(Protocol):
    """One endpoint's throttle."""

    def admit(
        self,
        *,
        place: int | None = None,
        hold_seconds: float = ...,
        work_seconds: float = ...,
        attempt_seconds: float = ...,
    ) -> AbstractAsyncContextManager[Permit]:
        """Wait for a permit: at most `hold_seconds`, of which at most `work_seconds` for slots and pace."""
        ...

    def found_wrong(self, what: str) -> None:
        """The server refuses a setting of this process before it could ask for a turn; empty: it does no more."""
        ...

    def succeeded_since(self, moment: float) -> bool:
        """Whether any attempt of anybody has succeeded on the endpoint since `moment` (loop time)."""
        ...
