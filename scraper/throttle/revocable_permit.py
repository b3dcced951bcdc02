"""A permit of a shared throttle, which a coordinator may take back from a process that was stopped for too long."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Protocol, Self

from scraper.throttle.permit import Granting, TurnPermit
from scraper.throttle.seam import LeaseLost


class Revoking(Granting, Protocol):
    """What such a permit asks of its limiter besides."""

    def _enter(self, lease: int, permit: RevocablePermit) -> None:
        """Raises LeaseLost where it was taken back between grant and use."""
        ...


class RevocablePermit(TurnPermit):
    """A permit that can be taken back: that cancels its block, which then raises LeaseLost."""

    def __init__(
        self,
        limiter: Revoking,
        place: int | None,
        hold_seconds: float,
        work_seconds: float,
        attempt_seconds: float,
    ) -> None:
        super().__init__(limiter, place, hold_seconds, work_seconds, attempt_seconds)
        self._shared = limiter
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._revoked = False

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
        self._shared._enter(self._grant.lease, self)  # noqa: SLF001 - the two halves of one thing
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if not self._revoked or self._task is None:
            return
        # As asyncio.timeout does: our own cancellation becomes an error, anybody else's stays what it is.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise LeaseLost from error

    def revoke(self) -> None:
        self._revoked = True
        if self._task is not None:
            self._task.cancel()
