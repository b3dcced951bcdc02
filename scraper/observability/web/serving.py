"""Listens on HTTP_HOST and HTTP_PORT. A port that is taken costs a warning and nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from scraper.events import Observe, SettingWarning
from scraper.observability.web.app import StatusApp

FIRST_REQUEST_SECONDS = 10.0
"""A connection that has not asked for anything by then makes room for others: there are 200."""
MOST_CONNECTIONS = 300
"""Each is an open file of the process that hosts the throttle and starts the workers: it must not run out of them."""

_INSTEAD = (
    "nothing is served, everything else goes on: set another HTTP_PORT or HTTP_HOST and start again, or HTTP_PORT=0"
)


class CannotListen(OSError):
    """The address cannot be used."""


@asynccontextmanager
async def serving_if_possible(app: StatusApp, *, host: str, port: int, observe: Observe) -> AsyncIterator[None]:
    """Serve inside; where that is not possible, a warning says so and everything goes on."""
    try:
        listening = listen(host, port)
    except CannotListen as error:
        observe(SettingWarning("HTTP_PORT", f"{error}; {_INSTEAD}"))
        yield
        return
    async with serving(app, listening):
        yield


@asynccontextmanager
async def serving(app: StatusApp, listening: socket.socket) -> AsyncIterator[None]:
    """Serve inside; on leaving open streams are ended and connections closed."""
    config = uvicorn.Config(
        app.asgi,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=200,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        app.closing.set()
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


class _Connection(H11Protocol):
    """As uvicorn's, which limits how long a connection is idle after a request, but not before its first.

    Nor does it limit how many there are: beyond `limit_concurrency` it answers 503, and keeps the connection.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._silence = self.loop.call_later(FIRST_REQUEST_SECONDS, transport.close)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None:
            self._silence.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence.cancel()
        super().connection_lost(exc)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # UnicodeError: it is not even a name
        why = error.strerror if isinstance(error, OSError) else "no name of a host is spelt so"
        raise CannotListen(f"HTTP_HOST={host[:100]} is no address of this host: {why}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
        listening.setblocking(False)  # noqa: FBT003 - its only argument
    except OSError as error:
        listening.close()
        raise CannotListen(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return listening
