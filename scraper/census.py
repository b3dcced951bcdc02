"""How many consumers take from the queue, told to the throttle now and then: it knows how many of them it throttles."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from scraper.errors import Unavailable
from scraper.ports import Broker

FIRST_SECONDS = 15.0
EVERY_SECONDS = 60.0


class Say(Protocol):
    """Takes the broker's count, where it was asked."""

    def __call__(self, *, counted: int | None = None) -> None: ...


async def count_consumers(
    broker: Broker, *, say: Say, first_seconds: float = FIRST_SECONDS, every_seconds: float = EVERY_SECONDS
) -> None:
    """Say at once that this process consumes, before it does, and then what the broker counts, until cancelled.

    A broker that does not count is asked once.
    """
    say()
    pause = first_seconds
    while True:
        await asyncio.sleep(pause)
        pause = every_seconds
        with suppress(Unavailable):
            counted = (await broker.depth()).consumers
            if counted is None:
                return
            say(counted=counted)
