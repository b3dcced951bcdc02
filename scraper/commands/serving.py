"""What the status page shows and can do, put together from the settings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from scraper.config import Settings
from scraper.errors import Misconfigured, Unavailable
from scraper.events import Observe
from scraper.models import ParkReason
from scraper.observability.picture import Picture
from scraper.ports import Selection, Store, Workbench

if TYPE_CHECKING:
    from scraper.observability.web.app import StatusApp

LOOK_SECONDS = 5.0
"""How often the results database is asked while somebody looks."""
REPLAY_SECONDS = 60.0


class HostSource:
    """`web.app.Source` over `picture`, the throttle's coordinator, and the results database. Enter it as a context."""

    def __init__(self, settings: Settings, picture: Callable[[], Awaitable[Picture]], *, observe: Observe) -> None:
        self._settings = settings
        self._picture = picture
        self._observe = observe
        self._stack = AsyncExitStack()
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._replaying = asyncio.Lock()  # what is published is marked only then: two at once would both publish it
        self._store: Store | None = None
        self._workbench: Workbench | None = None
        self._parked: Mapping[str, int] | None = None
        self._oldest: datetime | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def picture(self) -> Picture:
        return await self._picture()

    async def throttle(self) -> Mapping[str, Any] | None:
        from scraper.observability.watching import known_or_none
        from scraper.throttle import operations

        return await known_or_none(lambda: operations.show(self._settings.vllm_base_url, self._settings.run_dir))

    async def parked(self) -> Mapping[str, int] | None:
        await self._look()
        return self._parked

    async def oldest_seconds(self) -> float | None:
        await self._look()
        return None if self._oldest is None else max(0.0, (datetime.now(UTC) - self._oldest).total_seconds())

    async def order(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        from scraper.throttle import operations

        orders: Mapping[str, Callable[..., Awaitable[Mapping[str, Any]]]] = {
            "pause": operations.pause,
            "resume": operations.resume,
            "set": operations.set_limits,
            "reset": operations.reset_limits,
        }
        return await orders[verb](self._settings.vllm_base_url, self._settings.run_dir, **arguments)

    async def replay(self, reason: str) -> int:
        """All that is parked for this reason now."""
        from scraper.app import open_broker, open_workbench, task_decoder
        from scraper.replay import replay

        if reason not in set(ParkReason):
            return 0
        try:
            async with (
                asyncio.timeout(REPLAY_SECONDS),
                self._replaying,
                open_workbench(self._settings) as workbench,
                open_broker(self._settings, observe=self._observe) as broker,
            ):
                counts = await replay(
                    Selection(reasons=(ParkReason(reason),)),
                    workbench=workbench,
                    broker=broker,
                    decode=task_decoder(self._settings),
                    changes={},
                    refused=lambda _id, _why: None,
                    observe=self._observe,
                )
        except TimeoutError:
            raise Unavailable(f"not done within {REPLAY_SECONDS:g} s; what is left can be replayed again") from None
        self._looked_at = float("-inf")
        return counts.replayed

    async def _look(self) -> None:
        """Ask the results database, unless that was just done. While it does not answer, nothing is known."""
        async with self._looking:
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return
            self._looked_at = time.monotonic()
            self._parked = self._oldest = None
            with suppress(Misconfigured, Unavailable):
                store, workbench = await self._opened()
                self._oldest = await store.oldest_submitted()
                self._parked = {str(reason): count for reason, count in (await workbench.counts(Selection())).items()}

    async def _opened(self) -> tuple[Store, Workbench]:
        from scraper.app import open_store, open_workbench

        if self._store is None:
            self._store = await self._stack.enter_async_context(open_store(self._settings, create=False))
        if self._workbench is None:
            self._workbench = await self._stack.enter_async_context(open_workbench(self._settings))
        return self._store, self._workbench


def status_app(settings: Settings, source: HostSource) -> StatusApp:
    """The pages over `source`."""
    from scraper.observability.web.app import StatusApp

    return StatusApp(source, token=settings.dashboard_token.get_secret_value(), names=(settings.http_host,))
