"""The HTTP connections to the model server: httpx's API over aiohttp's connection pool.

httpx's own transport costs more than the rest of a call together (1.1–1.7 CPU-ms against 0.5); `httpx-aiohttp` is
made by its own community for that. Two things of it are put right here: connections that break outside a body come
up as the error they are, and malformed HTTP as an httpx error at all.
"""

from __future__ import annotations

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

IDLE_SECONDS = 4.0
"""A connection is not used again after this long: uvicorn, which vLLM runs on, closes idle ones after 5 s."""


class ModelServerTransport(AiohttpTransport):
    """One keep-alive pool without cookies, proxies from the environment, retries or a limit of its own."""

    def __init__(self, *, https: bool) -> None:
        # Loading the system's certificates costs 20 ms and a megabyte: only where they are used.
        super().__init__(verify=https, trust_env=False, client=self._open_session)

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS, ssl=self.ssl_context)
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectTimeout as error:
            # Any broken connection comes as this; it is one only where aiohttp says so.
            if isinstance(error.__cause__, TimeoutError):
                raise
            raise httpx.RemoteProtocolError(str(error) or "connection lost", request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.RemoteProtocolError(f"malformed response: {type(error).__name__}", request=request) from error
