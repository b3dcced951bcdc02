"""Keeps a picture up to date with what has to be asked for: the throttle's state and the length of the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from scraper.errors import Misconfigured, Unavailable
from scraper.events import Observe, QueueDepth, ignore
from scraper.observability.picture import Picture
from scraper.observability.view import Queue, View
from scraper.patience import until_available
from scraper.ports import Broker

READING_SECONDS = 1.0
SAY_SECONDS = 10.0


async def watch_throttle(
    picture: Picture, ask: Callable[[], Awaitable[Mapping[str, Any]]], *, show: Callable[[View], None]
) -> None:
    """Ask every second, and show the picture."""
    while True:
        await asyncio.sleep(READING_SECONDS)
        try:
            status = await known_or_none(ask)
        except Misconfigured:  # RUN_DIR was right when the run began: somebody is at work on it
            status = None
        picture.throttle_says(status, at=time.time())
        show(picture.view(time.time()))


async def known_or_none(ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> Mapping[str, Any] | None:
    """What `ask` gives; None while nobody answers, which the workers say themselves."""
    try:
        return await ask()
    except Unavailable:
        return None


async def watch_queue(
    open_broker: Callable[[], AbstractAsyncContextManager[Broker]],
    *,
    tell: Callable[[Queue | None], None],
    in_hand: Callable[[], int],
    seconds: float,
    over: Callable[[int], bool] = lambda _: False,
    observe: Observe = ignore,
) -> None:
    """Ask every so many `seconds` how many tasks are left, until that is `over`. Waits for a broker that is away.

    `in_hand`: what the workers said last, for a broker that does not know.
    """
    async with AsyncExitStack() as stack:
        await asyncio.sleep(seconds)  # whoever starts has better things to do than to load a broker's library
        broker = await until_available("broker", lambda: stack.enter_async_context(open_broker()), observe=observe)
        told = _Told(observe)
        while True:
            try:
                depth = await broker.depth()
            except Unavailable:  # the workers say that the broker is away; counting can wait
                tell(None)
            else:
                held = in_hand() if depth.in_hand is None else depth.in_hand
                queue = Queue(depth.tasks + depth.parked, depth.waiting, held)
                tell(queue)
                told.say(queue)
                if over(queue.left):
                    return
            await asyncio.sleep(seconds)


class _Told:
    """Says a new length of the queue now and then, for whoever has only the log."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._said: Queue | None = None
        self._said_at = float("-inf")

    def say(self, queue: Queue) -> None:
        now = asyncio.get_running_loop().time()
        if queue != self._said and now - self._said_at >= SAY_SECONDS:
            self._said, self._said_at = queue, now
            self._observe(QueueDepth(queue.ready, queue.waiting, queue.in_hand))
