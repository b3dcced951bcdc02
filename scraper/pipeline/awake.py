"""Whether this process could have seen what came: one that was stopped, or slept with its machine, blames nobody."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Final, Self

LOOK_SECONDS: Final = 1.0
STOPPED_SECONDS = 5.0
"""A timer that rings this late was not kept by work: the loop never works that long in one piece."""


class Awake:
    """Looks once a second whether it comes late. Enter it as a context."""

    def __init__(self, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._look_seconds = look_seconds
        self._woke_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def since(self, moment: float) -> bool:
        """Whether it has been awake ever since that reading of the loop's clock, or nearly."""
        return self._woke_at < moment

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._look_seconds, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._timer is not None and now - self._timer.when() > STOPPED_SECONDS:
            self._woke_at = now
        self._wait()
