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


def throttled_elsewhere(queue: str, *, counted: int | None, known: int | None) -> Finding | None:
    """Consumers `counted` by the broker beside those `known` to the throttle of this RUN_DIR; None: nobody runs it."""
    surplus = (counted or 0) - (known or 0)
    if surplus <= 0:
        return None
    message = (
        f"{surplus} of {counted} consumers of {queue} are not known to the throttle of this RUN_DIR, so their requests "
        "come on top of its limits: run them with the same RUN_DIR and VLLM_BASE_URL, or divide the limits between them"
    )
    return Finding("throttle scope", "warning", message)


async def look(what: str, at: Callable[[], Awaitable[str]]) -> Finding:
    """`at()` says what is well, or raises a ScraperError that names the setting and the fix, or TimeoutError."""
    try:
        return Finding(what, "ok", await at())
    except ScraperError as error:
        return Finding(what, "failed", str(error).removeprefix(f"{what}: ").removeprefix(f"{what}="))
    except TimeoutError:
        return Finding(what, "failed", "no answer in time")
