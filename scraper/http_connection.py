"""One HTTP/1.1 connection: a request is written, its response arrives in pieces, then perhaps the next one.

Parsing is httptools' (llhttp, the parser of Node.js); here is what a socket needs around it. A whole client library
costs every process 0.12 s of CPU and 8 MB, and each call more than all that is done here.

| what comes                                               | is             |
|----------------------------------------------------------|----------------|
| a response to its end, which may be the connection's     | complete       |
| the end of the connection before that                    | ConnectionLost |
| headers without end, also between and behind the chunks  | HeadTooLarge   |
| anything else, and more than a response together with it | NotHttp        |
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import httptools
from aiohappyeyeballs import start_connection

Header: TypeAlias = tuple[bytes, bytes]
Address: TypeAlias = tuple[Any, ...]
"""As `getaddrinfo` tells it."""

MOST_HEADERS: Final = 200
LONGEST_HEADER_BYTES: Final = 32 * 1024
"""One header line. Servers' own limits are 8 to 16 KiB; some policies in headers are longer."""
MOST_UNREAD_BYTES: Final = 256 * 1024
"""Of a body, before the other side is made to wait for whoever reads it."""
MOST_GATHERED_BYTES: Final = 16 * 1024
"""Of a body whose reader has time, before it is woken all the same."""
NEXT_ADDRESS_SECONDS: Final = 0.25
"""A host's next address is tried when one has not answered for this long (RFC 8305)."""
_WITHOUT_BODY: Final = {204, 304}
_WORDS_FOR_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"}
"""OpenSSL's, by its age."""


class NoTls(ssl.SSLError):
    """What answered a TLS greeting is not TLS: plain http, as a rule."""


class NotHttp(Exception):
    """What came is no HTTP/1.1 response."""


class HeadTooLarge(NotHttp):
    """Its headers are larger than anybody's."""


class ConnectionLost(Exception):
    """The connection ended before its response did."""


async def connected(
    addresses: Sequence[Address],
    *,
    tls: ssl.SSLContext | None,
    name: str,
    socket_of: Callable[[Address], socket.socket] | None = None,
) -> Connection:
    """A connection to the first of `addresses` that answers. With `tls`, the other side must show that it is `name`.

    Raises OSError, of which `ssl.SSLError` is one, of which NoTls is one.
    """
    sock = await start_connection(
        addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, interleave=1, socket_factory=socket_of
    )
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, sock=sock, ssl=tls, server_hostname=name if tls is not None else None
        )
    except ssl.SSLError as error:
        if error.reason in _WORDS_FOR_NO_TLS:
            raise NoTls(*error.args) from error
        raise
    return connection


def request_head(method: str, target: bytes, headers: Sequence[Header]) -> bytes:
    """The request line and the headers, as they go out. Raises ValueError for a line end within one of them."""
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), *(b"%b: %b" % header for header in headers)]
    head = b"\r\n".join([*lines, b"", b""])
    if not head.count(b"\n") == head.count(b"\r") == len(lines) + 1:
        raise ValueError("a line end within a header")
    return head


class Connection(asyncio.Protocol):
    """Made by a loop's `create_connection`. One request at a time; whoever does not read its response closes it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what browsers accept, and small servers send
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[None] | None = None
        self._gathering = False  # the one that waits has time
        self._error: NotHttp | ConnectionLost | None = None  # why there is no more of the response to come
        self._bytes_besides = 0  # received since the last that belonged to a body
        self._head_read = False
        self._complete = True
        self._ends_with_connection = False
        self._keeps_alive = True
        self._pieces: list[bytes] = []
        self._unread_bytes = 0

    @property
    def is_free(self) -> bool:
        """Whether another request may be written: the last one has left, and its response was read, to their ends."""
        return self._transport is not None and self._is_idle and self._transport.get_write_buffer_size() == 0

    def send(self, head: bytes, body: bytes = b"") -> None:
        """Write a request. Raises NotHttp and ConnectionLost where nothing can be written any more: nothing was."""
        assert self._transport is not None
        if not self._is_idle:
            raise self._error or ConnectionLost("closed")
        self.status, self.headers = 0, []
        self._bytes_besides = 0
        self._head_read = self._complete = self._ends_with_connection = False
        self._transport.writelines([head, body] if body else [head])

    async def read_head(self) -> None:
        """Until `status` and `headers` are there. Raises NotHttp and ConnectionLost."""
        while not self._head_read:
            await self._news()

    async def pieces(self, *, gather_seconds: float = 0.0) -> AsyncIterator[bytes]:
        """The body as it comes over the wire. Raises NotHttp and ConnectionLost.

        Behind a piece comes nothing for `gather_seconds`, then all there is, unless it is much or the end: waking its
        reader costs more than a token is worth.
        """
        while True:
            if self._pieces:
                yield self._taken()
                if gather_seconds and not self._is_over:
                    await self._gathered(gather_seconds)
            elif self._complete and self._error is None:
                return
            else:
                await self._news()

    def close(self) -> None:
        """At once, whatever is under way."""
        self._keeps_alive = False
        self._pieces.clear()
        if self._transport is not None:
            self._transport.abort()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is under way, nor at its end."""
        assert self._transport is not None
        unspoiled = self._keeps_alive and self._error is None and not self._transport.is_closing()
        return unspoiled and self._complete and not self._pieces

    @property
    def _is_over(self) -> bool:
        return self._complete or self._error is not None

    async def _news(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _gathered(self, seconds: float) -> None:
        self._gathering = True
        timer = asyncio.get_running_loop().call_later(seconds, self._wake)
        try:
            await self._news()
        finally:
            timer.cancel()
            self._gathering = False

    def _taken(self) -> bytes:
        assert self._transport is not None
        piece = b"".join(self._pieces)
        self._pieces.clear()
        if self._unread_bytes > MOST_UNREAD_BYTES and not self._transport.is_closing():
            self._transport.resume_reading()
        self._unread_bytes = 0
        return piece

    def _tell(self) -> None:
        if not self._gathering or self._is_over or self._unread_bytes >= MOST_GATHERED_BYTES:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: NotHttp) -> None:
        self._error = error
        self.close()

    # --- what the event loop says ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are one by their methods alone

    def data_received(self, data: bytes) -> None:
        self._bytes_besides += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            own = error.__context__  # raised by one of the methods below
            upgraded = isinstance(error, httptools.HttpParserUpgrade)  # whose text is a place in the data
            self._fail(own if isinstance(own, NotHttp) else NotHttp("another protocol" if upgraded else str(error)))
        if self._bytes_besides > MOST_HEADERS * LONGEST_HEADER_BYTES:
            self._fail(HeadTooLarge("headers without end"))
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        self._keeps_alive = False
        if self._ends_with_connection and error is None:
            self._complete = True
        elif not self._complete and self._error is None:
            self._error = ConnectionLost(type(error).__name__ if error else "closed")
            self._error.__cause__ = error
        self._tell()

    # --- what the parser says -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise NotHttp("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MOST_HEADERS or len(name) + len(value) > LONGEST_HEADER_BYTES:
            raise HeadTooLarge("headers without end")
        if not self._head_read:  # behind a chunked body come trailers
            self.headers.append((name.rstrip(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # there is a final one to come
            self.headers.clear()
            return
        self.status, self._head_read = status, True
        self._ends_with_connection = status not in _WITHOUT_BODY and not _is_framed(self.headers)

    def on_body(self, piece: bytes) -> None:
        assert self._transport is not None
        self._bytes_besides = 0
        self._pieces.append(piece)
        before, self._unread_bytes = self._unread_bytes, self._unread_bytes + len(piece)
        if before <= MOST_UNREAD_BYTES < self._unread_bytes:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head_read:
            self._complete = True
            self._keeps_alive = self._parser.should_keep_alive()


def _is_framed(headers: Sequence[Header]) -> bool:
    """Whether the body says itself where it ends; else the connection's end is its own."""
    framed = False
    for name, value in headers:
        match name.lower():
            case b"content-length":
                framed = True
            case b"transfer-encoding":  # of several codings the last one counts; with a length it is no HTTP
                framed = value.rpartition(b",")[2].strip().lower() == b"chunked"
    return framed
