"""What runs on this host: one picture of all supervisors that share the model server and RUN_DIR."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from scraper.config import Settings
from scraper.errors import Misconfigured
from scraper.events import ignore
from scraper.observability.picture import Picture
from scraper.observability.view import Queue, View

QUEUE_SECONDS = 2.0
SHARED_SECONDS = 0.9  # less than the second after which each open page asks again


async def host_picture(settings: Settings) -> Picture:
    """As it is now; an empty one where nothing runs. The length of the queue is not in it."""
    from scraper.observability.told import ask_all
    from scraper.observability.watching import known_or_none
    from scraper.throttle import operations

    endpoint, run_dir = settings.vllm_base_url, settings.run_dir
    picture = Picture.of([told for told in await ask_all(endpoint, run_dir) if _is_ours(told)])
    status = await known_or_none(lambda: operations.show(endpoint, run_dir))
    picture.throttle_says(status, at=time.time())
    return picture


def _is_ours(told: Mapping[str, Any]) -> bool:
    """Whether a supervisor of this version told it; another version's is left out."""
    try:
        Picture.of([told])
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return True


class Attachment:
    """Asks when it is asked, once for all who ask within a second: supervisors do not feel how many pages are open.

    Inside its context it also asks the broker, every few seconds, how many tasks are left.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: Queue | None = None
        self._in_hand = 0
        self._watching: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf
        self._picture = Picture()

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from scraper.app import ended

        if self._watching is not None:
            await ended(self._watching)

    async def picture(self) -> Picture:
        """As it is now, or was a moment ago."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= SHARED_SECONDS:
                picture = await host_picture(self._settings)
                picture.queue_says(self._queue, at=time.time())
                self._in_hand = picture.total().in_hand
                self._picture, self._asked_at = picture, time.monotonic()
        return self._picture

    async def view(self) -> View:
        return (await self.picture()).view(time.time())

    async def _watch(self) -> None:
        from scraper.app import open_broker
        from scraper.observability.watching import watch_queue

        with suppress(Misconfigured):  # the workers, and `check`, say what is wrong with it
            await watch_queue(
                lambda: open_broker(self._settings, observe=ignore),
                tell=self._hear,
                in_hand=lambda: self._in_hand,
                seconds=QUEUE_SECONDS,
            )

    def _hear(self, queue: Queue | None) -> None:
        self._queue = queue
