"""A permit, whoever hosts the throttle: waited for on entering its block, given back exactly once on leaving it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from scraper.throttle.blocked_time import Waited
from scraper.throttle.nanoseconds import to_seconds
from scraper.throttle.turn import Grant
from scraper.throttle.verdict import CANCELLED, Verdict


class Granting(Protocol):
    """What a permit asks of its limiter."""

    def _now(self) -> int: ...

    async def _wait_for(
        self, permit: Any, place: int | None, hold_seconds: float, work_seconds: float, attempt_seconds: float
    ) -> Grant:
        """`permit`: the one that waits, of the kind which this limiter gives out."""
        ...

    def _start(self, lease: int) -> None: ...

    def _give_back(self, lease: int, verdict: Verdict) -> None: ...


class TurnPermit:
    """`seam.Permit`."""

    def __init__(
        self,
        limiter: Granting,
        place: int | None,
        hold_seconds: float,
        work_seconds: float,
        attempt_seconds: float,
    ) -> None:
        self._limiter = limiter
        self._asked = (place, hold_seconds, work_seconds, attempt_seconds)
        self._granted: Grant | None = None
        self._verdict = CANCELLED

    async def __aenter__(self) -> Self:
        self._granted = await self._limiter._wait_for(self, *self._asked)  # noqa: SLF001 - the two halves of one thing
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter._give_back(self._grant.lease, self._verdict)  # noqa: SLF001 - the two halves of one thing

    @property
    def _grant(self) -> Grant:
        if self._granted is None:
            raise RuntimeError("a permit is used inside its `async with` block")
        return self._granted

    @property
    def place(self) -> int:
        return self._grant.place

    @property
    def granted_at(self) -> float:
        """Loop time, seconds."""
        return to_seconds(self._grant.at)

    @property
    def waited(self) -> Waited:
        return self._grant.waited

    @property
    def probe(self) -> bool:
        return self._grant.probe

    @property
    def check(self) -> bool:
        return self._grant.check

    @property
    def write_by(self) -> float:
        """Loop time, seconds."""
        return to_seconds(self._grant.write_by)

    def too_late(self) -> bool:
        return self._limiter._now() > self._grant.write_by  # noqa: SLF001 - the two halves of one thing

    def start(self) -> None:
        self._limiter._start(self._grant.lease)  # noqa: SLF001 - the two halves of one thing

    def report(self, verdict: Verdict) -> None:
        self._verdict = verdict
