"""A broker for a command that somebody waits for: given up after a while, with the setting and the fix."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from scraper.config import Settings
from scraper.credentials import without_credentials
from scraper.errors import Unavailable
from scraper.events import Event, Observe, WaitingFor
from scraper.ports import Broker

ANSWER_SECONDS = 10.0


async def reach_broker(settings: Settings, stack: AsyncExitStack, *, observe: Observe) -> Broker:
    """It has answered once, and is closed by `stack`. Raises Unavailable after ANSWER_SECONDS without an answer."""
    from scraper.app import open_broker

    why = "silence"

    def hear(event: Event) -> None:
        nonlocal why
        if isinstance(event, WaitingFor):
            why = event.error
        observe(event)

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            broker = await stack.enter_async_context(open_broker(settings, observe=hear))
            await broker.depth()
    except TimeoutError:
        fix = "does another program hold the file?"
        if not settings.broker_url.startswith("sqlite"):
            fix = "is RabbitMQ running there? Start it, or correct BROKER_URL"
        where = without_credentials(settings.broker_url)
        raise Unavailable(f"BROKER_URL: {where} cannot be reached within {ANSWER_SECONDS:g} s ({why}): {fix}") from None
    return broker
