"""A small HTTP/1.1 server that can misbehave: the shell of the simulated model server and the simulated site.

Frameworks protect their handlers from the socket; a simulated failure needs it: resets, bodies that end early, headers
that never come, a port that refuses connections. Parsing and framing are h11's.

An exchange begins with the first byte of a request and ends once: when the last byte of its response is written, or
when the client is gone, whichever comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

_log = logging.getLogger(__name__)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


class Exchange:
    """One request and the means to answer it, properly or not."""

    def __init__(self, connection: _Connection, request: h11.Request, *, first_byte_at: float) -> None:
        self._connection = connection
        self.method = request.method.decode("ascii")
        target = urlsplit(request.target.decode("latin-1"))
        self.path = unquote(target.path)
        self.query = dict(parse_qsl(target.query, keep_blank_values=True))
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        self.first_byte_at = first_byte_at
        self.body = b""
        self.status: int | None = None
        self.ended = False
        self.completed = False
        self.on_end: Callable[[Exchange], None] | None = None

    @property
    def peer(self) -> str:
        """The client's address, without its port."""
        name = self._connection.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    @property
    def client_is_gone(self) -> bool:
        return (self.ended and not self.completed) or self._connection.transport.is_closing()

    async def respond(
        self, status: int, body: bytes = b"", *, content_type: str | None = "application/json", headers: Headers = ()
    ) -> None:
        """A whole response in one write."""
        head = _header_list(headers)
        if content_type is not None:
            head.append(("content-type", content_type))
        if not any(name.lower() == "content-length" for name, _ in head):
            head.append(("content-length", str(len(body))))
        self.status = status
        data = self._connection.head(status, head)
        if body and self.method != "HEAD":
            data += self._connection.h11.send(h11.Data(data=body)) or b""
        self._connection.last_write(data)
        await self._connection.drained()

    async def start(self, status: int, *, content_type: str | None = None, headers: Headers = ()) -> None:
        """Send the head of a response whose body follows in pieces; chunked unless the headers say a length."""
        head = _header_list(headers)
        if content_type is not None:
            head.append(("content-type", content_type))
        self.status = status
        self._connection.write(self._connection.head(status, head))
        await self._connection.drained()

    async def write(self, data: bytes) -> None:
        if data:
            self._connection.write(self._connection.h11.send(h11.Data(data=data)) or b"")
            await self._connection.drained()

    async def finish(self, data: bytes = b"") -> None:
        """The last piece and the end of the response, in one write."""
        out = (self._connection.h11.send(h11.Data(data=data)) or b"") if data else b""
        self._connection.last_write(out)
        await self._connection.drained()

    async def raw(self, data: bytes) -> None:
        """Bytes past all framing; the connection cannot be used again."""
        self._connection.write(data)
        await self._connection.drained()

    def reset(self) -> None:
        """Kill the connection with a TCP reset."""
        self._connection.reset()

    def cut(self) -> None:
        """Close the connection after what was written so far."""
        self._connection.transport.close()
        self._connection.end_exchange()

    def _end(self, *, completed: bool) -> None:
        if not self.ended:
            self.ended = True
            self.completed = completed
            if self.on_end is not None:
                self.on_end(self)


Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """Listens on one port of one address; can stop listening (connections are then refused) and listen again."""

    def __init__(
        self,
        handler: Handler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_head: Callable[[Exchange], None] | None = None,
        max_body_bytes: int = 32 * 1024 * 1024,
        keep_alive_seconds: float = 5.0,
    ) -> None:
        self.handler = handler
        self.host = host
        self.port = port
        self.on_head = on_head
        self.max_body_bytes = max_body_bytes
        self.keep_alive_seconds = keep_alive_seconds
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def listening(self) -> bool:
        return self._listener is not None

    async def listen(self) -> None:
        """Start listening. Raises OSError where the port is taken."""
        if self._listener is not None:
            return
        sock = self._placeholder or _bound_socket(self.host, self.port)
        self._placeholder = None
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.port = sock.getsockname()[1]
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: _Connection(self), sock=sock, backlog=1024)
        except OSError:
            sock.close()
            raise

    def refuse(self) -> None:
        """Refuse new connections and keep the port; connections that are open stay open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            # bound but not listening: the port stays ours and every connection is refused
            with contextlib.suppress(OSError):
                self._placeholder = _bound_socket(self.host, self.port)
                # Linux lets two sockets share a port while neither listens, unless one of them minds
                self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def reset_all(self) -> None:
        """Reset every open connection, as a killed process does."""
        for connection in list(self.connections):
            connection.reset()

    def end_the_dead(self) -> None:
        """End exchanges whose client was reset in this very turn of the loop, before their last callback runs."""
        for connection in self.connections:
            if connection.exchange is not None and connection.transport.is_closing():
                connection.end_exchange()

    def close_idle(self) -> None:
        """Close the connections that serve no request."""
        for connection in list(self.connections):
            if connection.exchange is None:
                connection.transport.close()

    async def close(self) -> None:
        """Stop listening, drop every connection, end every handler."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        for connection in list(self.connections):
            connection.transport.abort()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        while self.connections:  # noqa: ASYNC110 - their last callbacks are due in this or the next turn of the loop
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
        self.exchange: Exchange | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._first_byte_at: float | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)
        if not self.server.listening:  # accepted when the listening ended: it would outlive a crash, and be served
            self.reset()

    def data_received(self, data: bytes) -> None:
        if self._first_byte_at is None:
            self._first_byte_at = self._loop.time()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.h11.receive_data(data)
        self._read_events()

    def eof_received(self) -> None:
        self.end_exchange()  # a client that stops sending has given up, as uvicorn sees it; the transport closes

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.end_exchange()
        self._writable.set()
        self.server.connections.discard(self)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read_events(self) -> None:
        while not self.transport.is_closing():
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint, "Invalid HTTP request received.")
                return
            if event is h11.NEED_DATA:
                if self.h11.they_are_waiting_for_100_continue:
                    self.write(self.h11.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                return
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
                self._body_bytes += len(event.data)
                if self._body_bytes > self.server.max_body_bytes:
                    self._refuse(413, "Request body too large.")
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._handle()

    def _begin(self, request: h11.Request) -> None:
        at = self._loop.time() if self._first_byte_at is None else self._first_byte_at
        self.exchange = Exchange(self, request, first_byte_at=at)
        if self.server.on_head is not None:
            self.server.end_the_dead()
            self.server.on_head(self.exchange)

    def _handle(self) -> None:
        assert self.exchange is not None
        self.exchange.body = b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        self._task = self._loop.create_task(self._run(self.exchange))
        self.server.tasks.add(self._task)
        self._task.add_done_callback(self.server.tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self.server.handler(exchange)
        except (h11.LocalProtocolError, ConnectionError):
            if not exchange.client_is_gone:
                _log.exception("a simulated response broke the protocol")
            self.transport.abort()
        except Exception:  # noqa: BLE001 - one failing handler must not stop the server; it is logged
            _log.exception("the handler of %s %s failed", exchange.method, exchange.path)
            self.transport.abort()
        finally:
            self._task = None
        if exchange.completed:
            self._next_cycle()
        elif not exchange.ended:
            self.transport.close()  # the handler left without an answer

    def _refuse(self, status: int, text: str) -> None:
        if self.h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = text.encode()
            head = [("content-type", "text/plain"), ("content-length", str(len(body))), ("connection", "close")]
            out = self.head(status, head) + (self.h11.send(h11.Data(data=body)) or b"")
            self.transport.write(out + (self.h11.send(h11.EndOfMessage()) or b""))
        if self.exchange is not None:
            self.exchange.status = status
        self.end_exchange()
        self.transport.close()

    def head(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        stamped = [("date", formatdate(usegmt=True)), ("server", "simulated"), *headers]
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stamped]
        return self.h11.send(h11.Response(status_code=status, headers=encoded)) or b""

    def write(self, data: bytes) -> None:
        if self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)

    def last_write(self, data: bytes) -> None:
        """Write and end the exchange in the same instant: what happens after it is another request's time."""
        self.write(data + (self.h11.send(h11.EndOfMessage()) or b""))
        exchange, self.exchange = self.exchange, None
        self._first_byte_at = None
        if exchange is not None:
            exchange._end(completed=True)  # noqa: SLF001 - the two halves of one thing
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self._idle_timer = self._loop.call_later(self.server.keep_alive_seconds, self.transport.close)
        else:
            self.transport.close()

    def _next_cycle(self) -> None:
        """Take the next request of this connection, which may have come while the last handler was returning."""
        if self.h11.our_state is h11.DONE and not self.transport.is_closing():
            self.h11.start_next_cycle()
            self._read_events()

    async def drained(self) -> None:
        if not self._writable.is_set():
            await self._writable.wait()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
        self.end_exchange()

    def end_exchange(self) -> None:
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange._end(completed=False)  # noqa: SLF001 - the two halves of one thing


def _header_list(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def _bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, asyncio sets TCP_NODELAY
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
    except OSError:
        sock.close()
        raise
    return sock
