"""The pages: /metrics for Prometheus, /live and /ready for whoever restarts, /throttle, and the status page at /.

| path            | answers                                                                                     |
|-----------------|---------------------------------------------------------------------------------------------|
| GET /           | the status page, complete in itself                                                         |
| GET /events     | server-sent events: the last hour at first, then every second what is new                   |
| GET /metrics    | Prometheus                                                                                  |
| GET /live       | 200 as long as this process works                                                           |
| GET /ready      | 200, or 503 and what is missing                                                             |
| GET /throttle   | the shared throttle's state                                                                 |
| POST /control   | pause, resume, limits, reset; needs the token                                               |
| POST /replay    | parked tasks of one reason into the queue again; needs the token                            |
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scraper.errors import ScraperError
from scraper.host import pid_namespace
from scraper.observability import series
from scraper.observability.health import missing
from scraper.observability.picture import Picture
from scraper.observability.web import metrics
from scraper.observability.web.guard import Guard, objection
from scraper.observability.web.page import POLICY, page
from scraper.observability.web.wishes import BadWish, wish

EVENT_SECONDS = 1.0
LONGEST_BODY = 4096
MOST_WATCHERS = 50


class Source(Protocol):
    """What is shown, and what can be done about it."""

    async def picture(self) -> Picture: ...

    async def throttle(self) -> Mapping[str, Any] | None:
        """Its coordinator's status; None: nobody hosts it."""
        ...

    async def parked(self) -> Mapping[str, int] | None:
        """Parked tasks by reason; None: the store does not answer."""
        ...

    async def oldest_seconds(self) -> float | None:
        """Age of the oldest task without a result, where that is known."""
        ...

    async def order(self, verb: str, arguments: Mapping[str, float]) -> Mapping[str, Any]:
        """Do it, and return the throttle's status after it. Raises Unavailable."""
        ...

    async def replay(self, reason: str) -> int:
        """How many went into the queue again. Raises Unavailable."""
        ...


class StatusApp:
    """The application; `closing` ends the streams that would keep a server from stopping."""

    def __init__(self, source: Source, *, token: str, names: tuple[str, ...] = (), title: str = "scraper") -> None:
        self._source = source
        self._token = token
        self._page = page(title)
        self._watchers = 0
        self.closing = asyncio.Event()
        routes = [
            Route("/", self._show),
            Route("/events", self._events),
            Route("/metrics", self._metrics),
            Route("/live", self._live),
            Route("/ready", self._ready),
            Route("/throttle", self._throttle),
            Route("/control", self._changing(self._control), methods=["POST"]),
            Route("/replay", self._changing(self._replay), methods=["POST"]),
        ]
        self.asgi: ASGIApp = Guard(Starlette(routes=routes), names=names)

    async def _show(self, _: Request) -> Response:
        return HTMLResponse(self._page, headers={"content-security-policy": POLICY})

    async def _metrics(self, _: Request) -> Response:
        picture = await self._source.picture()
        view = picture.view(time.time())
        text = metrics.exposition(
            picture.total(),
            view,
            hosting=(view.throttle.host_pid, view.throttle.host_pids) == (os.getpid(), pid_namespace()),
            oldest_s=await self._source.oldest_seconds(),
        )
        return Response(text, media_type=metrics.CONTENT_TYPE)

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def _ready(self, _: Request) -> Response:
        view = (await self._source.picture()).view(time.time())
        absent = missing(view)
        return JSONResponse({"ready": not absent, "missing": absent}, 503 if absent else 200)

    async def _throttle(self, _: Request) -> Response:
        status = await self._source.throttle()
        if status is None:
            return JSONResponse({"error": "no process uses the model server here at present"}, 503)
        return JSONResponse(status)

    # --- live -----------------------------------------------------------------------------------------------------

    async def _events(self, _: Request) -> Response:
        if self._watchers >= MOST_WATCHERS:
            return JSONResponse({"error": "too many pages are open"}, 503)
        return _Watched(self._stream(), watching=self._watching())

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def _stream(self) -> AsyncIterator[str]:
        newest = 0
        while not self.closing.is_set():
            picture = await self._source.picture()
            steps = [step for step in picture.history.steps if step.number >= newest]
            newest = steps[-1].number if steps else newest
            news = {
                "view": picture.view(time.time()).plain(),
                "rows": series.rows(steps),
                "parked": await self._source.parked(),
                "controls": bool(self._token),
            }
            yield f"data: {json.dumps(news, ensure_ascii=False, allow_nan=False)}\n\n"
            await self._next_event()

    async def _next_event(self) -> None:
        try:
            async with asyncio.timeout(EVENT_SECONDS):
                await self.closing.wait()
        except TimeoutError:
            pass

    # --- changing something ---------------------------------------------------------------------------------------

    def _changing(
        self, change: Callable[[Any], Awaitable[Mapping[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A path that needs the token, takes a JSON object and tells what went wrong in words."""

        async def answer(request: Request) -> Response:
            if (refusal := objection(request.headers, token=self._token)) is not None:
                return refusal
            try:
                return JSONResponse(await change(await _body(request)))
            except BadWish as error:
                return JSONResponse({"error": str(error)}, 400)
            except ScraperError as error:
                return JSONResponse({"error": str(error)}, 503)

        return answer

    async def _control(self, body: Any) -> Mapping[str, Any]:
        verb, arguments = wish(body)
        return await self._source.order(verb, arguments)

    async def _replay(self, body: Any) -> Mapping[str, Any]:
        reason = body.get("reason") if isinstance(body, dict) else None
        if not isinstance(reason, str):
            raise BadWish('say which: {"reason": "page_gone"}')
        return {"replayed": await self._source.replay(reason)}


class _Watched(StreamingResponse):
    """Events for one page, within `watching` from before its first byte until it has gone."""

    def __init__(self, events: AsyncIterator[str], *, watching: AbstractContextManager[None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._watching:
            await super().__call__(scope, receive, send)


async def _body(request: Request) -> Any:
    """Raises BadWish for what is no JSON, or too much of it."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > LONGEST_BODY:
            raise BadWish("too long")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadWish("not JSON") from None
