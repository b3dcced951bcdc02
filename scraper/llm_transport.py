"""The HTTP connections to the model server: httpx's API over aiohttp's connection pool.

httpx's own transport costs more than the rest of a call together (1.1–1.7 CPU-ms against 0.5); `httpx-aiohttp` is
made by its own community for that. Two things of it are put right here: connections that break outside a body come
up as the error they are, and malformed HTTP as an httpx error at all. One is added: a request that says in its
extension `write_by` until when (loop time) it may be written is not written later, however long connecting took.
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
            if isinstance(error.__cause__, TimeoutError):
                raise
            raise httpx.RemoteProtocolError(str(error) or "connection lost", request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.RemoteProtocolError(f"malformed response: {type(error).__name__}", request=request) from error


class _PunctualConnector(aiohttp.TCPConnector):
    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **kwargs)
        write_by = _write_by.get()
        if write_by is not None and asyncio.get_running_loop().time() > write_by:
            connection.release()  # to the pool, where the next attempt finds it open
            raise ConnectedTooLate("not connected in time")
        return connection
