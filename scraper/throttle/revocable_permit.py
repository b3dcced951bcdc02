"""A permit of a shared throttle, which a coordinator may take back from a process that was stopped for too long."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from scraper.throttle.permit import TurnPermit
from scraper.throttle.seam import LeaseLost


class RevocablePermit(TurnPermit):
    """A permit that can be taken back: that cancels its block, which then raises LeaseLost."""

    _task: asyncio.Task[object] | None = None
    _cancelling = 0
    _revoked = False

    async def __aenter__(self) -> Self:
        """Raises LeaseLost where it was taken back between grant and use."""
        await super().__aenter__()
        if self._revoked:
            raise LeaseLost
        self._task = asyncio.current_task()
        self._cancelling = 0 if self._task is None else self._task.cancelling()
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
