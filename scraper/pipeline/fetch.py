"""From a URL to a decoded page: politely, safely, and with an end.

Every hop of a redirect goes the same way as the first: address policy → robots.txt of its origin → turn of its host
(once per host and page) → request. What may be dialled is decided in `addresses`, whose turn it is in `host_turns`,
what an answer means in `responses`, what is a page in `fetch_body`; here they are put in order.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from sqlite3 import Error as SqliteError
from types import TracebackType
from typing import Self, TypeVar

import httpx

from scraper import __version__
from scraper.errors import Held, Permanent, Transient
from scraper.models import Page, ParkReason
from scraper.pipeline import robots
from scraper.pipeline.awake import Awake
from scraper.pipeline.fetch_address import checked, parsed
from scraper.pipeline.fetch_body import read_beginning, read_page
from scraper.pipeline.fetch_wire import Resolve, SystemResolver, Wire
from scraper.pipeline.host_turns import HostTurns
from scraper.pipeline.responses import concerns_the_host, location_of, pause_of
from scraper.trace import Trace
from scraper.unpack import ACCEPT_ENCODING

T = TypeVar("T")

USER_AGENT = f"scraper/{__version__}"
MAX_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 10
"""What the Fetch standard allows is 20; a page behind more than 10 is a trap or a mistake."""
MOST_COOKIES, LONGEST_COOKIE = 50, 4096
"""Of one answer; what browsers keep of a site at least (RFC 6265, 6.1)."""
ROBOTS_TIMEOUT_SECONDS = 15.0
OVERSLEPT_SECONDS = 5.0
"""A time limit that ends this much too late says that this process was stopped, and nothing about the site."""
OVERSLEPT_AGAIN_SECONDS = 5.0
TURNS_BUSY_SECONDS = 60.0
"""How long to leave a page whose host's turn cannot be read."""


@dataclass(slots=True)
class _Visit:
    """One page's way through redirects."""

    trace: Trace
    limit: asyncio.Timeout
    host: str = ""
    hosts: set[str] = field(default_factory=set)  # whose turn was taken
    seen: set[tuple[str, str]] = field(default_factory=set)  # URL and cookies
    cookies: httpx.Cookies | None = None  # kept along the way, because some sites redirect until theirs comes back


class Fetcher:
    """Fetches pages for one worker process. Use as an async context manager; safe for many pages at once."""

    def __init__(
        self,
        *,
        run_dir: Path,
        timeout_seconds: float = 30.0,
        max_bytes: int = MAX_BYTES,
        delay_seconds: float = 1.0,
        user_agent: str = USER_AGENT,
        obey_robots: bool = True,
        allow_private_addresses: bool = False,
        max_turn_wait_seconds: float = 5.0,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`timeout_seconds` is for the whole page, redirects included and waiting for turns not.

        `max_bytes` counts unpacked bytes. `resolve` and `tls` replace the system's resolver and trusted certificates,
        `clock` the event loop's; it has to be one that all processes with the same `run_dir` share.
        """
        self._run_dir = run_dir
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._delay_seconds = delay_seconds
        self._obey_robots = obey_robots
        self._allow_private = allow_private_addresses
        self._max_turn_wait_seconds = max_turn_wait_seconds
        self._resolve = resolve
        self._tls = tls
        self._clock = clock
        self._user_agent = user_agent
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.1",
            "Accept-Encoding": ACCEPT_ENCODING,
            "Connection": "close",
        }
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises Misconfigured if the run directory cannot be used."""
        clock = self._clock or asyncio.get_running_loop().time
        async with AsyncExitStack() as stack:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host-turns")
            stack.callback(self._thread.shutdown)
            self._turns = await self._in_thread(partial(HostTurns, self._run_dir / "host_turns.sqlite", clock=clock))
            stack.push_async_callback(self._in_thread, self._turns.close)
            resolve = self._resolve
            if resolve is None:
                resolve = SystemResolver()
                stack.callback(resolve.close)
            self._awake = await stack.enter_async_context(Awake())
            self._wire = Wire(resolve=resolve, allow_private_addresses=self._allow_private, tls=self._tls)
            self._robots = robots.Robots(self._ask_for_robots, user_agent=self._user_agent, clock=clock)
            stack.push_async_callback(self._robots.close)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def fetch(self, url: str, *, trace: Trace) -> Page:
        """The page at `url`, decoded.

        Raises Held if its host's turn is too far away, Transient if another attempt may succeed, Permanent if none can.
        Messages name hosts, never page text or credentials.
        """
        trace.enter("fetch")
        target = checked(parsed(url), allow_private=self._allow_private)
        began, limit = asyncio.get_running_loop().time(), asyncio.timeout(self._timeout_seconds)
        visit = _Visit(trace, limit, host=target.host)
        try:
            async with limit:
                return await self._follow(target, visit)
        except TimeoutError:
            self._check_awake(began, limit)
            raise Transient(f"{visit.host}: no complete answer within {self._timeout_seconds:g} s") from None

    async def _follow(self, target: httpx.URL, visit: _Visit) -> Page:
        while True:
            visit.host = target.host
            visit.trace.url = str(target)
            visit.seen.add((str(target), _cookie_header(visit.cookies, target)))
            await self._wait_until_welcome(target, visit)
            async with self._answer(target, visit.cookies) as response:
                odd_port = target.scheme == "http" and target.port is not None
                to = response.headers.get("location")
                location = location_of(response.status_code, to, host=target.host, odd_port=odd_port)
                if location is None:
                    return await read_page(response, max_bytes=self._max_bytes)
                _keep_cookies(visit, response)
            target = self._next(target, location, visit)

    def _next(self, target: httpx.URL, location: str, visit: _Visit) -> httpx.URL:
        """Where a redirect leads, under the same policy as where it began."""
        try:
            following = checked(parsed(location, relative_to=target), allow_private=self._allow_private)
        except Permanent as refusal:
            raise Permanent(refusal.reason, f"{target.host} redirects to a refused address: {refusal}") from refusal
        if (str(following), _cookie_header(visit.cookies, following)) in visit.seen:
            raise Permanent(ParkReason.REDIRECTS, f"{target.host}: the redirects go round in a circle")
        if len(visit.seen) > MAX_REDIRECTS:
            raise Permanent(ParkReason.REDIRECTS, f"{target.host}: more than {MAX_REDIRECTS} redirects")
        return following

    async def _wait_until_welcome(self, target: httpx.URL, visit: _Visit) -> None:
        crawl_delay_seconds = 0.0
        if self._obey_robots:
            rules = await self._robots.of(_origin(target))
            if isinstance(rules, robots.Unreachable):
                raise Transient(f"robots.txt cannot be read: {rules.why}", after_seconds=rules.after_seconds)
            if not rules.allows(str(target)):
                raise Permanent(ParkReason.ROBOTS, f"{target.host}: its robots.txt asks not to fetch this page")
            crawl_delay_seconds = rules.crawl_delay_seconds
        if target.host not in visit.hosts:
            await self._wait_for_turn(target.host, max(self._delay_seconds, crawl_delay_seconds), visit)
            visit.hosts.add(target.host)

    async def _wait_for_turn(self, host: str, delay_seconds: float, visit: _Visit) -> None:
        visit.trace.enter("host_delay")
        turn = await self._with_turns(
            partial(self._turns.take, host, delay_seconds=delay_seconds, max_wait_seconds=self._max_turn_wait_seconds)
        )
        if not turn.reserved:
            raise Held(f"{host}: its next turn is {turn.wait_seconds:.1f} s away", after_seconds=turn.wait_seconds)
        if turn.wait_seconds > 0:
            visit.limit.reschedule((visit.limit.when() or 0.0) + turn.wait_seconds)
            await asyncio.sleep(turn.wait_seconds)
        visit.trace.enter("fetch")

    @asynccontextmanager
    async def _answer(self, url: httpx.URL, cookies: httpx.Cookies | None = None) -> AsyncIterator[httpx.Response]:
        """The site's answer if it has one: 429 and 5xx are Transient, and what they ask for is heeded by everyone."""
        response = await self._wire.handle_async_request(_request(url, self._headers, cookies))
        try:
            status = response.status_code
            pause = pause_of(status, response.headers.get("retry-after"), now=datetime.now(UTC))
            if pause is not None:
                if pause > 0 and concerns_the_host(status):
                    await self._with_turns(partial(self._turns.push, url.host, seconds=pause))
                raise Transient(f"{url.host}: answered {status}", after_seconds=pause)
            yield response
        finally:
            await response.aclose()

    async def _ask_for_robots(self, origin: str) -> robots.Answer:
        """RFC 9309, 2.3.1: 4xx, endless redirects and refused addresses mean «none»; 5xx and silence mean «unknown»."""
        url = httpx.URL(f"{origin}/robots.txt")
        began, seconds = asyncio.get_running_loop().time(), min(ROBOTS_TIMEOUT_SECONDS, self._timeout_seconds)
        try:
            async with asyncio.timeout(seconds) as limit:
                return await self._robots_at(url)
        except TimeoutError:
            self._check_awake(began, limit)
            return robots.Unreachable(f"{url.host}: no complete answer within {seconds:g} s")
        except Transient as error:
            return robots.Unreachable(str(error), max(error.after_seconds, robots.UNREACHABLE_SECONDS))
        except Permanent:
            return robots.Missing()

    def _check_awake(self, began: float, limit: asyncio.Timeout) -> None:
        """Raises Held where this process was stopped since it `began`, or saw the end of `limit` long after it."""
        late = asyncio.get_running_loop().time() - (limit.when() or 0.0)
        if late > OVERSLEPT_SECONDS or not self._awake.since(began):
            raise Held("this process was stopped while it waited for a site", after_seconds=OVERSLEPT_AGAIN_SECONDS)

    async def _robots_at(self, url: httpx.URL) -> robots.Answer:
        for _ in range(robots.MAX_REDIRECTS + 1):
            async with self._answer(url) as response:
                location = location_of(response.status_code, response.headers.get("location"), host=url.host)
                if location is None:
                    return robots.Found(await read_beginning(response, max_bytes=robots.MAX_BYTES))
            url = checked(parsed(location, relative_to=url), allow_private=self._allow_private)
        return robots.Missing()

    async def _with_turns(self, work: Callable[[], T]) -> T:
        try:
            return await self._in_thread(work)
        except SqliteError as error:
            why = f"RUN_DIR: the table of host turns cannot be used now ({error})"
            raise Held(why, after_seconds=TURNS_BUSY_SECONDS) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _keep_cookies(visit: _Visit, response: httpx.Response) -> None:
    """Those that a browser would keep. Read one by one: Python warns of one that makes no sense, and drops all."""
    found = [each for each in response.headers.raw if each[0].lower() == b"set-cookie"]
    for cookie in [each for each in found if len(each[1]) <= LONGEST_COOKIE][:MOST_COOKIES]:
        visit.cookies = visit.cookies or httpx.Cookies()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            visit.cookies.extract_cookies(
                httpx.Response(response.status_code, headers=[cookie], request=response.request)
            )


def _cookie_header(cookies: httpx.Cookies | None, url: httpx.URL) -> str:
    return str(_request(url, {}, cookies).headers.get("cookie", "")) if cookies is not None else ""


def _request(url: httpx.URL, headers: Mapping[str, str], cookies: httpx.Cookies | None) -> httpx.Request:
    request = httpx.Request("GET", url, headers=headers)
    if cookies is not None:
        request.headers.encoding = "utf-8"  # sites put names of cities into them
        cookies.set_cookie_header(request)
    return request
