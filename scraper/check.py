"""Is everything reachable and sanely set? One finding a thing, each with its fix."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from scraper.errors import ScraperError


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and what was found there."""

    what: str
    verdict: Literal["ok", "warning", "failed"]
    message: str


async def look(what: str, at: Callable[[], Awaitable[str]]) -> Finding:
    """`at()` says what is well, or raises a ScraperError that names the setting and the fix, or TimeoutError."""
    try:
        return Finding(what, "ok", await at())
    except ScraperError as error:
        return Finding(what, "failed", str(error))
    except TimeoutError:
        return Finding(what, "failed", "no answer in time")
