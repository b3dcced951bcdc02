"""How long to wait before a retry, and what a server's Retry-After asks for. Pure; the draw is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_HINT_SECONDS = 24 * 3600.0
"""A server that asks for more than a day does not mean it."""
HINT_SPREAD = 0.1
"""Whoever was told the same time comes back within it plus up to this share, not all at once."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_seconds` up to `cap_seconds`, ±25 %, never above the cap."""

    first_seconds: float = 1.0
    cap_seconds: float = 60.0

    def bounds(self, retry: int) -> tuple[float, float]:
        """Shortest and longest delay, seconds, before retry 1, 2, …; the cut comes before the draw: no pile-up."""
        base = min(self.cap_seconds, self.first_seconds * 2.0 ** min(retry - 1, 1000))
        return 0.75 * base, min(1.25 * base, self.cap_seconds)

    def delay(self, retry: int, *, draw: float) -> float:
        """Seconds before `retry`, for a `draw` from [0, 1)."""
        shortest, longest = self.bounds(retry)
        return shortest + draw * (longest - shortest)


def hinted_delay(hint_seconds: float, *, draw: float) -> float:
    """Seconds to stay away for a server's hint, for a `draw` from [0, 1)."""
    return hint_seconds * (1.0 + HINT_SPREAD * draw)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What the response asks for: `retry-after-ms`, or Retry-After in seconds or as a date against its own Date.

    None for none, and for what cannot be meant: negative, not a number, more than a day.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None and (hint := _sane(milliseconds / 1000)) is not None:
        return hint
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    return _sane(_until_date(text, headers.get("date")) if seconds is None else seconds)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _until_date(text: str, sent: str | None) -> float | None:
    """A date's distance from when the server sent it, by its own clock: ours may be wrong."""
    until, base = _date(text), _date(sent)
    return None if until is None or base is None else (until - base).total_seconds()


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):  # whatever its parser does not foresee
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _sane(seconds: float | None) -> float | None:
    if seconds is None or not 0 <= seconds <= LONGEST_HINT_SECONDS:  # also refuses NaN
        return None
    return seconds
