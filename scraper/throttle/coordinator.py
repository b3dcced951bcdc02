"""Who hosts the throttle of one endpoint for every process of this host: whoever holds its file lock.

    async with Coordinator("http://localhost:8000/v1", run_dir=…):      # a supervisor, say: hosts, sends nothing itself
        ...

Everybody else stands by. What a host does is its `Office`'s.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scraper.errors import Misconfigured
from scraper.events import Observe, ThrottleHosted, ignore
from scraper.host import boot_id, pid_namespace
from scraper.throttle.election import Seat, holder_of
from scraper.throttle.office import Office
from scraper.throttle.rate_limiter import Clock, loop_time
from scraper.throttle.run_dir import MeetingPlace
from scraper.throttle.shared_admission import REAP_AFTER_SECONDS, SharedAdmission

STAND_BY_SECONDS = 0.5
"""How often one who only hosts looks whether the lock is free; clients notice by their connections."""


class Coordinator:
    """Enter it to host whenever possible. `observe` gets what happens to the shared state, once on the whole host."""

    def __init__(
        self,
        endpoint: str,
        *,
        run_dir: Path,
        observe: Observe = ignore,
        clock: Clock = loop_time,
        reap_after_seconds: float = REAP_AFTER_SECONDS,
    ) -> None:
        self._endpoint = endpoint
        self._run_dir = run_dir
        self._observe = observe
        self._clock = clock
        self._reap_after_seconds = reap_after_seconds
        self._boot = boot_id()
        self._pids = pid_namespace()
        self._office: Office | None = None
        self._standing_by: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Raises Misconfigured where RUN_DIR cannot be used."""
        await self.try_to_host()
        self._standing_by = asyncio.create_task(self._stand_by())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._standing_by is not None:
                self._standing_by.cancel()
                await asyncio.wait([self._standing_by])
            await self.close()
        finally:
            self.drop()  # where leaving itself is cancelled

    @property
    def is_hosting(self) -> bool:
        return self._office is not None and self._office.is_open

    async def try_to_host(self) -> bool:
        """Whether this process hosts now. Raises Misconfigured where RUN_DIR cannot be used."""
        if self.is_hosting:
            return True
        place = MeetingPlace.of(self._endpoint, self._run_dir)
        seat_before = holder_of(place.lock)
        seat = Seat.take(place.lock)
        if seat is None:
            return False
        shared = SharedAdmission(reap_after_seconds=self._reap_after_seconds)
        office = Office(seat, place, shared, self._observe, self._clock, boot=self._boot, pids=self._pids)
        try:
            before = office.remember(seat_before)
            await office.open()
        except OSError as error:
            office.close()
            raise Misconfigured(
                f"RUN_DIR={self._run_dir}: cannot be used for sockets and files: {error.strerror or error}"
            ) from error
        except BaseException:  # cancelled while opening: the lock must not stay behind
            office.close()
            raise
        self._office = office
        self._observe(ThrottleHosted(os.getpid(), before))
        return True

    async def close(self) -> None:
        """Leave the seat to another process. Clients notice at once."""
        office, self._office = self._office, None
        if office is not None:
            await office.wait_closed()

    def drop(self) -> None:
        """Leave at once: the loop ends."""
        office, self._office = self._office, None
        if office is not None:
            office.close()

    async def _stand_by(self) -> None:
        while True:
            await asyncio.sleep(STAND_BY_SECONDS)
            with suppress(Misconfigured):  # told on entering; who waits says so meanwhile
                await self.try_to_host()
