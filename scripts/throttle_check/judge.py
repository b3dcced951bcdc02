"""What was measured → what is said of it. Pure.

The server sees a request a little after it was written; how much a busy machine smeared the times is measured too and
allowed for, so that no verdict depends on the machine. A throttle that does not hold is off by far more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from scraper.throttle.backoff import Backoff
from scraper.throttle.pacer import EARLIEST_LAPSE_SECONDS, LATEST_WRITE_SECONDS
from throttle_check.plan import Limits
from throttle_check.trial import Measured

Verdict: TypeAlias = Literal["kept", "BROKEN", "not measured"]
_ROUNDING = 0.002  # seconds: events carry milliseconds
_NEARLY = 0.99
"""A timer may be that much of itself early by rounding; nothing here is that close to a violation."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise."""

    what: str
    asked: str
    measured: str
    verdict: Verdict
    why: str = ""


def slots(limits: Limits, measured: Measured) -> Row:
    most = measured.max_in_flight
    asked = f"at most {limits.max_concurrent}"
    return _row("requests in flight", asked, str(most), measured=measured, kept=most <= limits.max_concurrent)


def pace(limits: Limits, measured: Measured) -> list[Row]:
    """Starts in a minute, and their distances, in the owner's time."""
    starts, scale, tried = measured.starts, measured.trial.scale, measured.trial.limits
    asked = f"at most {limits.requests_per_minute:g}"
    if len(starts) < 3:
        return [Row("starts in a minute", asked, "-", "BROKEN", _few(measured))]
    interval, late = tried.interval, good_for(tried.interval) + measured.smear
    excess = starts_too_many(starts, interval=interval, late=late)
    rate = (len(starts) - 1) / (starts[-1] - starts[0]) * 60.0 / scale
    gap = min(later - earlier for earlier, later in pairwise(starts))
    return [
        _row(
            "starts in a minute",
            f"{asked}; each up to {late * scale:.2g} s late on its way",
            f"{rate:.1f} ({rate / limits.requests_per_minute:.0%} of it)",
            measured=measured,
            kept=excess == 0,
            why=f"{excess} starts more than the pace allows",
        ),
        _row(
            "smallest gap of two starts",
            f"{limits.interval:.3g} s; on arrival at least {max(0.0, limits.interval - late * scale):.3g} s",
            f"{gap * scale:.3g} s",
            measured=measured,
            kept=gap >= interval - late - _ROUNDING,
        ),
    ]


def starts_too_many(starts: Sequence[float], *, interval: float, late: float) -> int:
    """How many starts any stretch of time holds beyond one each `interval`, where each may be `late` on its way."""
    # From the i-th to the j-th start lie j - i intervals; the worst stretch up to j begins where
    # i - start_i / interval was least.
    most, least = 0.0, float("inf")
    for number, start in enumerate(starts):
        turns = number - start / interval
        least = min(least, turns)
        most = max(most, turns - least)
    return max(0, math.ceil(most - late / interval - 0.5))


def good_for(interval: float) -> float:
    """Seconds that a request may be written after its grant."""
    return max(min(interval / 2, LATEST_WRITE_SECONDS), EARLIEST_LAPSE_SECONDS)


def breaker(limits: Limits, measured: Measured) -> list[Row]:
    """Opens after so many failures, lets nobody through while it is open, tries once, and closes."""
    record, tried, scale = measured.record, measured.trial.limits, measured.trial.scale
    asked = f"after {limits.threshold} failures in a row"
    if not record.opened:
        return [Row("the circuit opens", asked, "it did not", "BROKEN", _few(measured))]
    opened = sorted(record.opened)
    at, failures = opened[0]
    reached = [began for began in measured.starts if began > at + measured.smear + good_for(tried.interval)]
    quiet = [began for began in reached if began < at + _NEARLY * tried.timeout]
    first = min(reached, default=None)
    rows = [
        _row("the circuit opens", asked, f"after {failures}", measured=measured, kept=failures == limits.threshold),
        _row(
            "requests while it is open",
            f"0 for {limits.timeout:g} s, less {1 - _NEARLY:.0%}",
            f"{len(quiet)}" + ("" if first is None else f", the next after {(first - at) * scale:.3g} s"),
            measured=measured,
            kept=not quiet,
        ),
    ]
    return [*rows, _probes(measured, opened), _closes(measured)]


def _probes(measured: Measured, opened: Sequence[tuple[float, int]]) -> Row:
    """Between two openings lies exactly one request."""
    what, asked = "requests that try it again", "1 at a time"
    counts = []
    for (before, _), (after, _) in pairwise(opened):
        begin = before + _NEARLY * measured.trial.limits.timeout
        counts.append(sum(begin <= began < after for began in measured.starts))
    if not counts:
        return Row(what, asked, "-", "not measured", "the server was well at the first try")
    shown = ", ".join(map(str, counts))
    return _row(what, asked, shown, measured=measured, kept=all(count == 1 for count in counts))


def _closes(measured: Measured) -> Row:
    closed, mended = measured.record.closed, measured.mended_at
    what, asked = "the circuit closes", "when one succeeds"
    if mended is None or not closed or max(closed) < mended:
        return Row(what, asked, "it did not", "BROKEN", _few(measured))
    after = (max(closed) - mended) * measured.trial.scale
    return _row(what, asked, f"{after:.3g} s after the server was well", measured=measured, kept=after > 0)


def backoff(limits: Limits, measured: Measured) -> list[Row]:
    """Each delay of a call that always fails, as drawn and as it was at the server, where it may be late."""
    tried, scale = measured.trial.limits, measured.trial.scale
    attempts, most = len(measured.starts), 1 + tried.max_retries
    retries = [delay for _, delay in sorted(measured.record.retries)]
    gaps = [later - earlier for earlier, later in pairwise(measured.starts)]
    plan, owner = Backoff(tried.base_backoff, tried.max_backoff), Backoff(limits.base_backoff, limits.max_backoff)
    rows = [_row("attempts of a call", str(most), str(attempts), measured=measured, kept=attempts == most)]
    for number, (delay, gap) in enumerate(zip(retries, gaps, strict=False), start=1):
        shortest, longest = owner.bounds(number)
        earliest = delay - measured.smear - _ROUNDING
        kept = _within(delay, plan.bounds(number)) and gap >= earliest
        what, arrival = f"delay before retry {number}", max(0.0, earliest) * scale
        asked = f"{shortest:.3g} to {longest:.3g} s drawn; on arrival at least {arrival:.3g} s"
        shown = f"{delay * scale:.3g} s drawn, {gap * scale:.3g} s on arrival"
        rows.append(_row(what, asked, shown, measured=measured, kept=kept))
    return rows


def _within(delay: float, bounds: tuple[float, float]) -> bool:
    shortest, longest = bounds
    return shortest - _ROUNDING <= delay <= longest + _ROUNDING


def _row(what: str, asked: str, shown: str, *, measured: Measured, kept: bool, why: str = "") -> Row:
    if measured.trouble:
        return Row(what, asked, shown, "BROKEN", measured.trouble)
    return Row(what, asked, shown, "kept" if kept else "BROKEN", "" if kept else why)


def _few(measured: Measured) -> str:
    return measured.trouble or "; ".join(measured.record.errors[:1]) or f"only {len(measured.starts)} requests came"
