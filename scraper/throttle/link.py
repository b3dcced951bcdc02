"""A client's way to the coordinator: wherever it is hosted, and in this process if nowhere else.

    away ── lock free: host it here ──▶ connect ── Welcome ──▶ joined ── connection lost ──▶ away

Unreachable means that nothing is granted, never that everything is: whoever waits goes on waiting.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from scraper.errors import Misconfigured
from scraper.throttle.coordinator import Coordinator
from scraper.throttle.election import holder_of
from scraper.throttle.nanoseconds import ns, to_seconds
from scraper.throttle.protocol import VERSION, BadLine, Bye, Hello, Message, Ping, Welcome
from scraper.throttle.rate_limiter import Clock
from scraper.throttle.run_dir import MeetingPlace
from scraper.throttle.wire import Wire

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.01, 0.25
STEADY_SECONDS = 1.0
"""A connection that lasted this long was no misunderstanding."""
REFUSED_DELAY_SECONDS = 1.0
CLOSING_SECONDS = 1.0
"""How long a closing client waits until its last words are written down."""


class Link:
    """`joined` may send first words; `heard` gets the rest; `left` comes whenever a joined connection is lost."""

    def __init__(
        self,
        endpoint: str,
        *,
        run_dir: Path,
        coordinator: Coordinator,
        clock: Clock,
        joined: Callable[[], None],
        heard: Callable[[list[Message]], None],
        left: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._run_dir = run_dir
        self._coordinator = coordinator
        self._clock = clock
        self._joined = joined
        self._heard = heard
        self._left = left
        self._token = secrets.token_hex(8)
        self._wire: Wire | None = None
        self._said_hello = 0
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        self.is_joined = False
        self.trouble = ""  # why it is not joined, as far as is known
        self._silent_since: float | None = clock()  # waiting for a sign of life since

    async def open(self) -> None:
        """Stay connected from now on. Raises Misconfigured where RUN_DIR cannot be used."""
        if self._keeper is not None:
            return
        await self._coordinator.try_to_host()
        self._keep()

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_connected(), name="throttle link")

    async def close(self) -> None:
        """Say goodbye, and leave the seat if it was ours."""
        self._closing = True
        wire, self._wire = self._wire, None
        try:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.wait([self._keeper])
            if wire is not None:
                wire.send(Bye())
                await asyncio.wait([wire.lost], timeout=CLOSING_SECONDS)
                wire.abort()
                await wire.lost
            await self._coordinator.close()
        finally:  # where closing itself is cancelled
            if wire is not None:
                wire.abort()
            self._coordinator.drop()

    def send(self, message: Message) -> None:
        """Only while joined: what was said to nobody is said again on joining."""
        if self.is_joined and self._wire is not None:
            self._wire.send(message)

    def silent_seconds(self) -> float:
        """How long nobody has answered; 0 while all is well."""
        return 0.0 if self._silent_since is None else self._clock() - self._silent_since

    def ask_for_a_sign(self) -> None:
        if self.is_joined and self._silent_since is None:
            self._silent_since = self._clock()
            self.send(Ping())

    def host_pid(self) -> int:
        """The pid of who answers, or should; 0 where nobody knows."""
        if self._wire is not None and self._wire.peer.pid:
            return self._wire.peer.pid
        with suppress(Misconfigured):
            return holder_of(MeetingPlace.of(self._endpoint, self._run_dir).lock)
        return 0

    # --- staying connected ----------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        delay = FIRST_DELAY_SECONDS
        try:
            while True:
                if await self._connect_once() >= STEADY_SECONDS:
                    delay = FIRST_DELAY_SECONDS  # its host has died, and the lock may be free already: look at once
                    continue
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY_SECONDS)
        finally:
            if not self._closing:  # the loop ends without anybody having closed us
                if self._wire is not None:
                    self._wire.hang_up()
                self._coordinator.drop()

    async def _connect_once(self) -> float:
        """Host if nobody does, connect, and stay until the connection is lost. How long it was, in seconds."""
        try:
            await self._coordinator.try_to_host()
            wire = await self._connect()
        except Misconfigured as error:
            self.trouble = str(error)
            await asyncio.sleep(REFUSED_DELAY_SECONDS)
            return 0.0
        if wire is None:
            return 0.0
        self._wire = wire
        self._said_hello = ns(self._clock())
        wire.send(Hello(VERSION, self._token, self._said_hello))
        wire.flush()
        await asyncio.shield(wire.lost)
        was_joined, self.is_joined, self._wire = self.is_joined, False, None
        if self._silent_since is None:
            self._silent_since = self._clock()
        if not was_joined:
            return 0.0
        self.trouble = "the connection was lost"
        self._left()
        return self._clock() - to_seconds(self._said_hello)

    async def _connect(self) -> Wire | None:
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)  # noqa: FBT003 - its only argument
            path = os.fspath(MeetingPlace.of(self._endpoint, self._run_dir).socket)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connecting, path)
            _, wire = await loop.create_unix_connection(
                lambda: Wire(heard=self._take, closed=lambda _: None), sock=connecting
            )
        except OSError as error:
            connecting.close()
            self.trouble = f"nobody answers at its socket ({error.strerror or error})"
            return None
        except BaseException:
            connecting.close()
            raise
        return wire

    def _take(self, wire: Wire, messages: list[Message]) -> None:
        if wire is not self._wire:
            return
        if not self.is_joined:
            self._be_welcomed(messages[0] if messages else None)
            messages = messages[1:]
        self._silent_since = None
        if messages:
            self._heard(messages)

    def _be_welcomed(self, message: Message | None) -> None:
        """Raises BadLine, which hangs up, where this is nobody to rely on."""
        if not isinstance(message, Welcome):
            self.trouble = "it does not speak our protocol"
            raise BadLine(self.trouble)
        if message.version != VERSION:
            self.trouble = f"it speaks version {message.version} of the protocol, we {VERSION}: run one release"
            raise BadLine(self.trouble)
        if not self._said_hello <= message.now <= ns(self._clock()):
            apart = abs(to_seconds(message.now - self._said_hello))
            self.trouble = f"its clock is {apart:.3f} s from ours: use a RUN_DIR of its own for this container"
            raise BadLine(self.trouble)
        self.is_joined, self.trouble = True, ""
        self._joined()
