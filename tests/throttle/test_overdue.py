"""A lease is overdue when its attempt must have ended long ago."""

import pytest

from scraper.throttle.nanoseconds import ns
from scraper.throttle.overdue import Overdue
from scraper.throttle.turn import Lease

GRACE = ns(30)


def lease(*, at, attempt_seconds):
    return Lease(ns(at), 0, False, False, ns(attempt_seconds), "a")  # noqa: FBT003 - a message


EARLY, LATE = lease(at=0, attempt_seconds=10), lease(at=5, attempt_seconds=60)


@pytest.fixture
def overdue():
    return Overdue(GRACE)


def test_nothing_is_to_be_looked_at_where_nothing_is_held(overdue):
    assert overdue.look_at is None
    assert overdue.among({}, ns(100)) == []
    assert overdue.look_at is None


def test_it_looks_when_the_first_may_be_overdue(overdue):
    for each in (LATE, EARLY):
        overdue.watch(each)
    assert overdue.look_at == ns(40)


def test_a_lease_is_overdue_a_grace_after_its_attempt_must_have_timed_out(overdue):
    assert overdue.among({1: EARLY, 2: LATE}, ns(40) - 1) == []
    assert overdue.among({1: EARLY, 2: LATE}, ns(40)) == [(1, EARLY)]


def test_those_that_are_not_overdue_are_watched_on(overdue):
    overdue.among({1: EARLY, 2: LATE}, ns(40))
    assert overdue.look_at == ns(95)
