"""The errors of a task's earlier attempts, as they travel with it: few, short, and readable whatever they went through.

Each copy that goes to a wait queue carries what its attempts came to, so that whoever finds the task parked sees how it
got there. Bounded in number and length: a message must not grow with the times it is moved.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from scraper.json_text import read_json, write_json
from scraper.models import Failure, Json, Trail

MOST_FAILURES: Final = 10  # the latest; twice the attempts of the default MAX_ATTEMPTS
LONGEST_ERROR: Final = 300


def extended(trail: Trail, failure: Failure) -> Trail:
    """`trail` with `failure` at its end, the oldest given up where there are too many."""
    return (*trail, failure)[-MOST_FAILURES:]


def to_text(trail: Trail) -> str:
    """For a header or a column; empty where nothing has failed."""
    return write_json([_packed(failure) for failure in trail[-MOST_FAILURES:]]) if trail else ""


def from_text(text: object) -> Trail:
    """What `to_text` wrote. Whatever else a stranger put there counts as nothing."""
    if not isinstance(text, str) or not text:
        return ()
    try:
        return tuple(_unpacked(each) for each in read_json(text))[-MOST_FAILURES:]
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return ()


def _packed(failure: Failure) -> list[Json]:
    return [failure.attempt, round(failure.at.timestamp(), 3), failure.error[:LONGEST_ERROR]]


def _unpacked(packed: Json) -> Failure:
    attempt, at, error = packed
    if not isinstance(attempt, int) or not isinstance(error, str):
        raise TypeError
    return Failure(attempt, error[:LONGEST_ERROR], datetime.fromtimestamp(at, UTC))
