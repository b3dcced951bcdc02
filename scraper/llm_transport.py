"""The HTTP connections to the model server: httpx's API over the few connections that one server needs.

httpx's own transport costs more than the rest of a call together. What happens to a connection comes up in words that
name the host and the fix. A request that says in its extension `write_by` until when (loop time) it may be written is
not written later, however long connecting took.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import NoReturn

import httpx

from scraper.http_connection import Connection, ConnectionLost, NotHttp, NoTls, connected, request_head
from scraper.llm_attempt import ConnectedTooLate
from scraper.llm_errors import WrongScheme

IDLE_SECONDS = 4.0
"""A connection is not used again after this long: uvicorn, which vLLM runs on, closes idle ones after 5 s."""
GATHER_SECONDS = 0.25
"""A streamed answer is read so often: its first token and its end are seen at once, and nobody waits for the others."""


class ModelServerTransport(httpx.AsyncBaseTransport):
    """One keep-alive pool without cookies, proxies, redirects, retries or a limit of its own."""

    def __init__(self, *, https: bool) -> None:
        # Loading the system's certificates costs 20 ms and a megabyte: only where they are used.
        self._tls = httpx.create_ssl_context() if https else None
        self._free: list[tuple[Connection, tuple[str, int], float]] = []  # with where to, and loop time of its release

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response with its body still to be read; close it."""
        head = request_head(request.method, request.url.raw_path, request.headers.raw)
        body = request.read()  # ours come whole
        where = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        connection = self._take(where) or await self._connected(request, where)
        if (write_by := request.extensions.get("write_by")) is not None and _now() > write_by:
            self._give_back(connection, where)  # where the next attempt finds it open
            raise ConnectedTooLate("not connected in time")
        try:
            connection.send(head, body)
            await connection.read_head()
        except (NotHttp, ConnectionLost) as error:
            _raise(error, request)
        except BaseException:
            connection.close()
            raise
        stream = _Body(self, connection, where, request)
        return httpx.Response(connection.status, headers=connection.headers, stream=stream, request=request)

    async def aclose(self) -> None:
        while self._free:
            self._free.pop()[0].close()

    def release(self, connection: Connection, where: tuple[str, int]) -> None:
        """After its response was read, to its end or not."""
        if connection.is_free:
            self._give_back(connection, where)
        else:
            connection.close()

    def _give_back(self, connection: Connection, where: tuple[str, int]) -> None:
        self._free.append((connection, where, _now()))

    def _take(self, where: tuple[str, int]) -> Connection | None:
        """The one that was used last; those that have rested for too long are closed."""
        oldest = _now() - IDLE_SECONDS
        rested = [each for each in self._free if each[2] < oldest or not each[0].is_free]
        for each in rested:
            self._free.remove(each)
            each[0].close()
        for index in reversed(range(len(self._free))):
            if self._free[index][1] == where:
                return self._free.pop(index)[0]
        return None

    async def _connected(self, request: httpx.Request, where: tuple[str, int]) -> Connection:
        seconds = request.extensions.get("timeout", {}).get("connect")
        try:
            async with asyncio.timeout(seconds):
                addresses = await asyncio.get_running_loop().getaddrinfo(*where, type=socket.SOCK_STREAM)
                tls = self._tls if request.url.scheme == "https" else None
                return await connected(addresses, tls=tls, name=request.url.host)
        except TimeoutError as error:
            text = f"no connection to {_shown(request.url)} within {seconds:g} s"
            raise httpx.ConnectTimeout(text, request=request) from error
        except NoTls as error:
            text = f"{_shown(request.url)} does not speak https (TLS): is it an http:// address?"
            raise WrongScheme(text, request=request) from error
        except OSError as error:
            raise httpx.ConnectError(_not_connected(error, request.url), request=request) from error


class _Body(httpx.AsyncByteStream):
    """The bytes as they come over the wire."""

    def __init__(
        self, pool: ModelServerTransport, connection: Connection, where: tuple[str, int], request: httpx.Request
    ) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._where = where
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is None:
            return
        try:
            async for piece in self._connection.pieces(gather_seconds=GATHER_SECONDS):
                yield piece
        except (NotHttp, ConnectionLost) as error:
            _raise(error, self._request)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection, self._where)


def _raise(error: NotHttp | ConnectionLost, request: httpx.Request) -> NoReturn:
    where = _shown(request.url)
    if isinstance(error, NotHttp):
        text = f"what came from {where} is no HTTP ({error}): does vLLM listen there?"
    else:
        text = f"the connection to {where} was lost ({error})"
    raise httpx.RemoteProtocolError(text, request=request) from error


def _not_connected(error: OSError, url: httpx.URL) -> str:
    """What is wrong and what to look at."""
    where = _shown(url)
    match error:
        case socket.gaierror():
            return f"no such host: {url.host} (check its name, and that this machine can look it up)"
        case ssl.SSLCertVerificationError(verify_message=problem):
            return f"the certificate of {where} is not trusted ({problem}): SSL_CERT_FILE names one's own authority"
        case ssl.SSLError():
            return f"no TLS connection to {where} can be made: {error.strerror or error.reason}"
        case ConnectionRefusedError():
            return f"connection refused at {where}: is vLLM running there?"
        case _:
            return f"cannot connect to {where}: {error.strerror or type(error).__name__}"


def _shown(url: httpx.URL) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"[{url.host}]:{port}" if ":" in url.host else f"{url.host}:{port}"


def _now() -> float:
    return asyncio.get_running_loop().time()
