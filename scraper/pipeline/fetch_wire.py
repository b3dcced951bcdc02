"""One request over one fresh connection, for addresses that strangers choose.

- A name is resolved once, its addresses are checked, and those checked addresses are dialled: a name that resolves to
  something else a moment later (DNS rebinding) gains nothing. TLS still checks the certificate against the name.
- Every socket passes the check once more as it is made, whatever led to it.
- No connection is used twice, no proxy and no cookie is picked up from anywhere, headers are bounded, URLs go out
  as they are (respelling their escapes would break signed addresses).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import httpx

from scraper.errors import Permanent, ScraperError, Transient
from scraper.http_connection import (
    LONGEST_HEADER_BYTES,
    MOST_HEADERS,
    Address,
    Connection,
    ConnectionLost,
    HeadTooLarge,
    NotHttp,
    NoTls,
    connected,
    request_head,
)
from scraper.models import ParkReason
from scraper.pipeline.addresses import dialable, refuse_dialling

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to its addresses, best first; OSError if there are none."""

CONNECT_SECONDS = 10.0
"""For one name, all its addresses together; an unreachable one is left after 0.25 s for the next (RFC 8305)."""
MAX_ADDRESSES = 8


class Wire(httpx.AsyncBaseTransport):
    """Sends one request over one fresh connection. Raises Transient and Permanent, in words that name the host."""

    def __init__(self, *, resolve: Resolve, allow_private_addresses: bool, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: for a certificate authority of one's own; the default trusts what httpx trusts."""
        self._given_tls = tls
        self._resolve = resolve
        self._allow_private = allow_private_addresses

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response with its body still to be read; close it."""
        url = request.url
        head = request_head(request.method, url.raw_path, request.headers.raw)
        connection = await self._connected(url)
        try:
            connection.send(head)
            await connection.read_head()
        except (NotHttp, ConnectionLost) as error:
            raise _in_words(error, url.host, "closed the connection without an answer") from error
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            connection.status, headers=connection.headers, stream=_Body(connection, url.host), request=request
        )

    async def _connected(self, url: httpx.URL) -> Connection:
        addresses = await self._addresses(url)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await connected(
                    addresses,
                    tls=self._tls if url.scheme == "https" else None,
                    name=url.raw_host.decode(),
                    socket_of=functools.partial(_checked_socket, allow_private=self._allow_private),
                )
        except TimeoutError as error:
            raise Transient(f"{url.host}: no connection within {CONNECT_SECONDS:g} s") from error
        except NoTls as error:
            why = f"{url.host}: does not speak https at port {url.port or 443}; is it an http:// address?"
            raise Permanent(ParkReason.PAGE_GONE, why) from error
        except OSError as error:
            raise Transient(f"{url.host}: {_not_connected(error)}") from error

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        """Where to dial; Permanent if that is nowhere."""
        name = url.raw_host.decode()
        try:
            found = [name] if _is_address(name) else await self._resolve(name)
        except OSError as error:
            reason = f" ({error.strerror})" if error.strerror else ""
            raise Transient(f"{url.host}: the name cannot be resolved{reason}") from error
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = dialable(found, host=name, allow_private=self._allow_private)
        return [_address(each, port) for each in addresses[:MAX_ADDRESSES]]

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when the first https page comes: it takes 20 ms and some megabytes of certificates."""
        return self._given_tls or httpx.create_ssl_context()


class SystemResolver:
    """The system's `getaddrinfo`, in threads of its own: a slow name server must not hold up other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> list[str]:
        look_up = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Body(httpx.AsyncByteStream):
    """The bytes as they come over the wire, packed as they are."""

    def __init__(self, connection: Connection, host: str) -> None:
        self._connection = connection
        self._host = host

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._connection.pieces():
                yield piece
        except (NotHttp, ConnectionLost) as error:
            raise _in_words(error, self._host, "the answer broke off") from error

    async def aclose(self) -> None:
        self._connection.close()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _address(address: str, port: int) -> Address:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _checked_socket(address: Address, *, allow_private: bool) -> socket.socket:
    family, kind, protocol, _, sockaddr = address
    refuse_dialling(sockaddr[0], allow_private=allow_private)
    return socket.socket(family, kind, protocol)


def _not_connected(error: OSError) -> str:
    """What happened, as the operating system or OpenSSL say it."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its TLS certificate is not valid ({error.verify_message or 'not trusted'})"
        case ssl.SSLError():
            what = "no TLS connection can be made"
        case _:
            what = "cannot be reached"
    return f"{what} ({error.strerror})" if error.strerror else what


def _in_words(error: NotHttp | ConnectionLost, host: str, lost: str) -> ScraperError:
    """For someone who reads the log and not this file. What the server said is left out: it can be anything."""
    if isinstance(error, HeadTooLarge):
        limits = f"{MOST_HEADERS} headers, {LONGEST_HEADER_BYTES // 1024} KiB each"
        return Permanent(ParkReason.TOO_LARGE, f"{host}: the headers of the answer are larger than {limits}")
    if isinstance(error, NotHttp):
        return Transient(f"{host}: the answer is not valid HTTP")
    if isinstance(error.__cause__, ssl.SSLError):
        return Transient(f"{host}: the TLS connection failed")
    return Transient(f"{host}: {lost}")
