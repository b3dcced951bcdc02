"""What a site's robots.txt allows, read once an hour per origin and process (RFC 9309)."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from protego import Protego

MAX_BYTES = 500 * 1024
"""RFC 9309 asks for at least this much; what follows is ignored."""
MAX_REDIRECTS = 5
LIFE_SECONDS = 3600.0
UNREACHABLE_SECONDS = 60.0
"""How long an origin whose robots.txt cannot be read is left alone before it is asked for again."""
MAX_CRAWL_DELAY_SECONDS = 60.0
"""Some sites ask for hours, by mistake or to keep everyone out; `Disallow` says the latter."""
MAX_ORIGINS = 256
"""Origins remembered. The largest file that is kept parsed holds a few megabytes, a usual one some kilobytes."""
PARSE_ON_LOOP_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """There is a robots.txt and this is it."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """There is none: everything is allowed."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody knows whether there is one: nothing is allowed for now."""

    why: str
    after_seconds: float = UNREACHABLE_SECONDS


Answer: TypeAlias = Found | Missing | Unreachable


class Rules:
    """One origin's robots.txt, as one crawler has to read it."""

    def __init__(self, parsed: Protego | None, *, token: str) -> None:
        self._parsed = parsed
        self._token = token
        delay = parsed.crawl_delay(token) if parsed else None
        self.crawl_delay_seconds = min(delay or 0.0, MAX_CRAWL_DELAY_SECONDS)

    def allows(self, url: str) -> bool:
        return self._parsed is None or self._parsed.can_fetch(url, self._token)


class Robots:
    """Rules by origin. Whoever asks for an origin that is being read waits for that one reading."""

    def __init__(self, ask: Callable[[str], Awaitable[Answer]], *, user_agent: str, clock: Callable[[], float]) -> None:
        """`ask(origin)` fetches `origin`/robots.txt and never raises for what a site does."""
        self._ask = ask
        self._token = product_token(user_agent)
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Rules | Unreachable]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Rules | Unreachable]] = {}

    async def of(self, origin: str) -> Rules | Unreachable:
        """The rules of `origin` («https://host» or «https://host:port»); Unreachable says when to come back."""
        if known := self._known.get(origin):
            expires_at, rules = known
            left = expires_at - self._clock()
            if left > 0:
                self._known.move_to_end(origin)
                return Unreachable(rules.why, left) if isinstance(rules, Unreachable) else rules
        asking = self._asking.get(origin)
        if asking is None:
            asking = self._asking[origin] = asyncio.create_task(self._learn(origin), name=f"robots {origin}")
        return await asyncio.shield(asking)  # one who gives up waiting must not fail the others

    async def close(self) -> None:
        """Stop what is still being read."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn(self, origin: str) -> Rules | Unreachable:
        try:
            rules = await self._read(await self._ask(origin))
            life = rules.after_seconds if isinstance(rules, Unreachable) else LIFE_SECONDS
            self._known[origin] = (self._clock() + life, rules)
            self._known.move_to_end(origin)
            while len(self._known) > MAX_ORIGINS:
                self._known.popitem(last=False)
            return rules
        finally:
            del self._asking[origin]

    async def _read(self, answer: Answer) -> Rules | Unreachable:
        match answer:
            case Unreachable():
                return answer
            case Missing():
                return Rules(None, token=self._token)
            case Found(body) if len(body) > PARSE_ON_LOOP_BYTES:
                return await asyncio.to_thread(parse, body, token=self._token)
            case Found(body):
                return parse(body, token=self._token)


def parse(body: bytes, *, token: str) -> Rules:
    """The rules in a robots.txt for the crawler called `token`. Never fails: what makes no sense is skipped."""
    text = body[:MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    return Rules(Protego.parse(text), token=token)


def product_token(user_agent: str) -> str:
    """The name robots.txt knows a sender by: «x» of «x/1.0 …» and of «Mozilla/5.0 (compatible; x/1.0 …)»."""
    match = _COMPATIBLE.search(user_agent) or _PRODUCT.match(user_agent.strip())
    return match[1] if match else "*"


_COMPATIBLE = re.compile(r"\(compatible;\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_PRODUCT = re.compile(r"([A-Za-z0-9_-]+)")
