"""Who may ask: names of this host only, since a page of a stranger can have its own name point here; and what an
answer allows a browser to do with it, which is nothing but showing it.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not say otherwise itself."""


class Guard:
    """In front of everything else."""

    def __init__(self, app: ASGIApp, *, names: Iterable[str]) -> None:
        """`names`: by which this host may be asked, besides its addresses and `localhost`."""
        self._app = app
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [
                    (name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given
                ]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        host = Headers(scope=scope).get("host", "")
        app = self._app if self.knows(host) else _misdirected(host)
        await app(scope, receive, send_with_headers)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this host. An address always does: only a name can be made to point here."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            _ = urlsplit(f"//{host}").port
        except ValueError:
            return False
        try:
            ip_address(name.partition("%")[0])
        except ValueError:
            return name.rstrip(".") in self._names or name.endswith(".localhost")
        return True


def _misdirected(host: str) -> ASGIApp:
    return PlainTextResponse(
        f"This host is not known as {host[:100]!r} here. Ask by address, or set HTTP_HOST to that name.\n", 421
    )


def objection(headers: Mapping[str, str], *, token: str) -> JSONResponse | None:
    """Why a request may not change anything; None: it may.

    The token travels in a header, which no form and no other site's page can set; it is compared in constant time.
    """
    if not token:
        return JSONResponse({"error": "nothing can be changed here: DASHBOARD_TOKEN is not set"}, 403)
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != headers.get("host", ""):
        return JSONResponse({"error": "a page of another site asks"}, 403)
    given = unquote(headers.get("x-dashboard-token", ""))  # a header holds ASCII alone
    if not hmac.compare_digest(given.encode(), token.encode()):
        return JSONResponse({"error": "the token is wrong: it is DASHBOARD_TOKEN"}, 401)
    return None


def _host_of(origin: str) -> str:
    """With its port; empty where there is none to be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
