"""What a site's answer means for the page: read on, go elsewhere, come back later, give up. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from scraper.errors import Permanent, Transient
from scraper.models import ParkReason

MAX_RETRY_AFTER_SECONDS = 3600.0
UNSAID_PAUSE_SECONDS = 30.0
"""How long a site that answers 429 without saying for how long is left alone."""


def location_of(status: int, location: str | None, *, host: str, odd_port: bool = False) -> str | None:
    """Where a redirect leads, None for an answer that is the page. Raises for every other answer but 429 and 5xx.

    `odd_port`: it came over plain http from another port than 80.
    """
    if status in {301, 302, 303, 307, 308}:
        if not location:
            raise Permanent(ParkReason.REDIRECTS, f"{host}: answered {status} without saying where to")
        return location
    if status in {408, 425}:  # about this one request, not about the page
        raise Transient(f"{host}: answered {status}")
    if 200 <= status < 300 and status not in {204, 205}:
        return None
    if status < 300:
        raise Permanent(ParkReason.PAGE_GONE, f"{host}: answered {status}, there is no page")
    if status < 400:
        raise Permanent(ParkReason.REDIRECTS, f"{host}: answered {status}, which leads nowhere")
    hint = "; is it an https:// address?" if status == 400 and odd_port else ""
    raise Permanent(ParkReason.PAGE_GONE, f"{host}: answered {status}{hint}")


def pause_of(status: int, retry_after: str | None, *, now: datetime) -> float | None:
    """Seconds to come back after, for 429 and 5xx; None for every other status. 0 if the site does not say."""
    if status != 429 and not 500 <= status < 600:
        return None
    said = _seconds(retry_after, now=now)
    if said is not None:
        return min(max(0.0, said), MAX_RETRY_AFTER_SECONDS)
    return UNSAID_PAUSE_SECONDS if status == 429 else 0.0


def concerns_the_host(status: int) -> bool:
    """Whether a pause is meant for every page of the host and not for this one alone."""
    return status in {429, 503}


def _seconds(retry_after: str | None, *, now: datetime) -> float | None:
    """Retry-After in either of its two forms, a number of seconds or a date; None if it is neither."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", retry_after, re.ASCII):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
