"""A simulated web site: good, slow, huge, broken, redirecting and hostile pages, with the truth beside the good ones.

    python -m scraper.testing.site --port 8081
    async with SimulatedSite() as site: site.url("/product/7"), site.truth("/product/7"), site.hits["/product/7"]

`GET /` lists what there is. Pages of one kind are the same for ever: /product/1 … /product/10000000.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from scraper.testing.http_server import Exchange, Headers, HttpServer
from scraper.testing.site_pages import KINDS, page
from scraper.testing.site_pages.page import SitePage, escape
from scraper.testing.site_trouble import TROUBLE, Trouble, respond_bytes

_ROBOTS = """User-agent: *
Disallow: /private/
Disallow: /*/apply
Allow: /private/open
{crawl_delay}
User-agent: forbidden-bot
Disallow: /
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a test wants a path to say."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = "text/html; charset=utf-8"
    headers: Headers = ()
    delay_seconds: float = 0.0


class SimulatedSite:
    """One site on one port. `hits` counts requests by path; `answers` replaces what a path says."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        crawl_delay_seconds: float | None = None,
        robots: Answer | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        self.hits: Counter[str] = Counter()
        self.hit_times: dict[str, deque[float]] = {}  # first bytes, the loop's clock; the last thousand of a path
        self.answers: dict[str, Answer] = {}
        if robots is not None:
            self.answers["/robots.txt"] = robots
        self._crawl_delay_seconds = crawl_delay_seconds
        self._delay_seconds = delay_seconds
        self.http = HttpServer(self._handle, host=host, port=port, max_body_bytes=1024 * 1024)

    async def __aenter__(self) -> Self:
        await self.http.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()

    def url(self, path: str = "/") -> str:
        host = f"[{self.http.host}]" if ":" in self.http.host else self.http.host
        return f"http://{host}:{self.http.port}{path}"

    def truth(self, path: str) -> dict[str, Any]:
        """What is true of a page. Raises KeyError where the path is no page of the site."""
        found = self._page(path)
        if found is None:
            raise KeyError(path)
        return found.truth

    async def _handle(self, exchange: Exchange) -> None:
        path = exchange.path
        self.hits[path] += 1
        self.hit_times.setdefault(path, deque(maxlen=1_000)).append(exchange.first_byte_at)
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        if exchange.method not in {"GET", "HEAD"}:
            await exchange.respond(405, b"", content_type=None, headers={"allow": "GET, HEAD"})
        elif path in self.answers:
            await _give(exchange, self.answers[path])
        elif path == "/":
            await exchange.respond(200, self._index(), content_type="text/html; charset=utf-8")
        elif path == "/robots.txt":
            await exchange.respond(200, self._robots(), content_type="text/plain")
        elif path.startswith("/private/"):
            await exchange.respond(
                200, b"<title>private</title><p>robots.txt asks not to come here.", content_type="text/html"
            )
        else:
            await self._page_or_trouble(exchange)

    async def _page_or_trouble(self, exchange: Exchange) -> None:
        found = self._page(exchange.path)
        if found is not None:
            await respond_bytes(exchange, found.body, found.content_type)
            return
        name, _, rest = exchange.path.lstrip("/").partition("/")
        trouble = TROUBLE.get(name)
        if trouble is None:
            await exchange.respond(404, b"<h1>404</h1><p>No such page.</p>", content_type="text/html")
            return
        request = Trouble(exchange, rest, exchange.query, self.hits[exchange.path], self.url())
        await trouble.act(request)

    def _page(self, path: str) -> SitePage | None:
        kind, _, number = path.lstrip("/").partition("/")
        if kind not in KINDS or not number.isascii() or not number.isdigit() or len(number) > 9:
            return None
        try:
            return page(kind, int(number), base_url=self.url("").rstrip("/"))
        except KeyError:
            return None

    def _robots(self) -> bytes:
        delay = "" if self._crawl_delay_seconds is None else f"Crawl-delay: {self._crawl_delay_seconds:g}\n"
        return _ROBOTS.format(crawl_delay=delay).encode()

    def _index(self) -> bytes:
        pages = "".join(f'<li><a href="/{kind}/1">/{kind}/1</a> … /{kind}/10000000</li>' for kind in KINDS)
        troubles = "".join(
            f'<li><a href="/{escape(one.example)}">/{escape(one.example)}</a> {escape(one.says)}</li>'
            for one in TROUBLE.values()
        )
        return (
            "<!DOCTYPE html><html lang=en><title>Simulated site</title><h1>Simulated site</h1>"
            "<p>Pages of the simulated shop «Alder &amp; Sons», which does not exist."
            f"<h2>Pages</h2><ul>{pages}</ul><h2>Trouble</h2>"
            f"<ul>{troubles}</ul><p><a href='/robots.txt'>/robots.txt</a> disallows /private/</html>"
        ).encode()


async def _give(exchange: Exchange, answer: Answer) -> None:
    if answer.delay_seconds:
        await asyncio.sleep(answer.delay_seconds)
    await exchange.respond(
        answer.status, answer.body, content_type=answer.content_type, headers=_as_mapping(answer.headers)
    )


def _as_mapping(headers: Headers) -> Headers:
    return dict(headers) if isinstance(headers, Mapping) else list(headers)


if __name__ == "__main__":
    from scraper.testing.site_command import main

    main()
