from datetime import UTC, datetime

from scraper.models import Failure
from scraper.trail import LONGEST_ERROR, MOST_FAILURES, extended, from_text, to_text

MOMENT = datetime(2026, 5, 4, 3, 2, 1, 250000, tzinfo=UTC)


def test_a_trail_comes_back_as_it_was():
    trail = (Failure(1, "HTTP 502", MOMENT), Failure(2, "größer \ud800 🦆", MOMENT))
    assert from_text(to_text(trail)) == trail
    assert from_text(to_text(())) == ()


def test_a_trail_keeps_the_latest_and_stays_small():
    trail = ()
    for attempt in range(1, 1000):
        trail = extended(trail, Failure(attempt, "🦆" * 10_000, MOMENT))
    assert [failure.attempt for failure in trail] == list(range(1000 - MOST_FAILURES, 1000))
    assert len(to_text(trail).encode()) < 5 * MOST_FAILURES * LONGEST_ERROR
    assert len(from_text(to_text(trail))) == MOST_FAILURES
