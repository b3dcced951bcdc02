"""Waiting for a dependency that is away: nothing is given up, nothing spins, and the log says what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from typing import TypeVar

from scraper.errors import Unavailable
from scraper.events import Back, Observe, WaitingFor

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
SAY_IT_AGAIN_SECONDS = 30.0


async def until_available(what: str, attempt: Callable[[], Awaitable[T]], *, observe: Observe) -> T:
    """The result of `attempt`, tried again with backoff and jitter for as long as it raises Unavailable."""
    clock = asyncio.get_running_loop().time
    started = clock()
    said = float("-inf")
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            result = await attempt()
        except Unavailable as error:
            if clock() - said >= SAY_IT_AGAIN_SECONDS:
                said = clock()
                observe(WaitingFor(what, str(error), round(said - started, 1)))
            await asyncio.sleep(wait * (0.75 + random() / 2))  # noqa: S311 jitter, not a secret
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        else:
            if said > float("-inf"):
                observe(Back(what, round(clock() - started, 1)))
            return result
