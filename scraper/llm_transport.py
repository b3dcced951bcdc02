"""The HTTP connections to the model server: httpx's API over aiohttp's connection pool.

httpx's own transport costs more than the rest of a call together (1.1–1.7 CPU-ms against 0.5); `httpx-aiohttp` is
made by its own community for that. Two things of it are put right here: connections that break outside a body come
up as the error they are, in words that name the host and the fix, and malformed HTTP as an httpx error at all. One is
added: a request that says in its extension `write_by` until when (loop time) it may be written is not written later,
however long connecting took.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from scraper.llm_attempt import ConnectedTooLate

IDLE_SECONDS = 4.0
"""A connection is not used again after this long: uvicorn, which vLLM runs on, closes idle ones after 5 s."""
_write_by: ContextVar[float | None] = ContextVar("write_by", default=None)


class ModelServerTransport(AiohttpTransport):
    """One keep-alive pool without cookies, proxies from the environment, retries or a limit of its own."""

    def __init__(self, *, https: bool) -> None:
        # Loading the system's certificates costs 20 ms and a megabyte: only where they are used.
        super().__init__(verify=https, trust_env=False, client=self._open_session)

    def _open_session(self) -> aiohttp.ClientSession:
        connector = _PunctualConnector(limit=0, keepalive_timeout=IDLE_SECONDS, ssl=self.ssl_context)
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _write_by.set(request.extensions.get("write_by"))
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectTimeout as error:
            # Any broken connection comes as this; it is one only where aiohttp says so.
            reason = error.__cause__
            if isinstance(reason, TimeoutError):
                raise
            if isinstance(reason, aiohttp.ClientConnectorError):
                raise httpx.ConnectError(_not_connected(reason, request.url), request=request) from reason
            kind = type(reason or error).__name__
            raise httpx.RemoteProtocolError(
                f"the connection to {_where(request.url)} was lost ({kind})", request=request
            ) from reason
        except aiohttp.ClientError as error:
            raise httpx.RemoteProtocolError(
                f"what came from {_where(request.url)} is no HTTP ({type(error).__name__}): does vLLM listen there?",
                request=request,
            ) from error


def _not_connected(error: aiohttp.ClientConnectorError, url: httpx.URL) -> str:
    """What is wrong and what to look at."""
    where = _where(url)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no such host: {url.host} (check its name, and that this machine can look it up)"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        problem = getattr(error.certificate_error, "verify_message", "") or "not valid"
        return f"the certificate of {where} is not trusted ({problem}): SSL_CERT_FILE names one's own authority"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"{where} does not speak https (TLS): is it an http:// address?"
    if isinstance(error.os_error, ConnectionRefusedError):
        return f"connection refused at {where}: is vLLM running there?"
    return f"cannot connect to {where}: {error.os_error.strerror or type(error.os_error).__name__}"


def _where(url: httpx.URL) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"[{url.host}]:{port}" if ":" in url.host else f"{url.host}:{port}"


class _PunctualConnector(aiohttp.TCPConnector):
    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **kwargs)
        write_by = _write_by.get()
        if write_by is not None and asyncio.get_running_loop().time() > write_by:
            connection.release()  # to the pool, where the next attempt finds it open
            raise ConnectedTooLate("not connected in time")
        return connection
