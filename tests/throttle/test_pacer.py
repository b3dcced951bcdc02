import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.throttle.nanoseconds import SECOND
from scraper.throttle.pacer import Pacer

MINUTE = 60 * SECOND


def starts_in_a_minute(pacer, *, step):
    """Start as often as it lets us, asking every `step` ns, for three minutes."""
    starts = []
    for now in range(0, 3 * MINUTE, step):
        if pacer.allows(now):
            pacer.take(now)
            starts.append(now)
    return starts


def test_exactly_twenty_starts_in_any_minute_of_twenty_per_minute():
    starts = starts_in_a_minute(Pacer(20), step=SECOND // 10)
    windows = [
        sum(begin <= start < begin + MINUTE for start in starts) for begin in starts if begin + MINUTE <= 3 * MINUTE
    ]
    assert set(windows) == {20}


def test_idle_time_earns_nothing():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.take(1000 * SECOND)
    assert not pacer.allows(1000 * SECOND)
    assert pacer.ready_at == 1003 * SECOND


@given(
    rpm=st.floats(0.1, 60_000),
    delays=st.lists(st.integers(0, 10**11), min_size=2, max_size=60),
)
def test_no_rate_and_no_pattern_of_asking_breaks_the_minute(rpm, delays):
    pacer, starts = Pacer(rpm), []
    for now in itertools.accumulate(delays):
        if pacer.allows(now):
            pacer.take(now)
            starts.append(now)
    assert all(later - earlier >= pacer.interval for earlier, later in itertools.pairwise(starts))
    assert pacer.interval * rpm >= MINUTE * (1 - 1e-12)


def test_lowering_the_rate_pushes_the_next_start_back_at_once():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.set_rate(10)
    assert pacer.ready_at == 6 * SECOND


def test_raising_the_rate_brings_the_next_start_nearer():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.set_rate(60)
    assert pacer.ready_at == 1 * SECOND


def test_the_pace_of_a_start_that_did_not_happen_is_refunded():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.take(3 * SECOND)
    pacer.refund(3 * SECOND)
    assert pacer.ready_at == 3 * SECOND


def test_nothing_is_refunded_once_a_later_start_was_given():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.take(3 * SECOND)
    pacer.refund(0)
    assert pacer.ready_at == 6 * SECOND


def test_nothing_is_refunded_twice():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.take(3 * SECOND)
    pacer.refund(3 * SECOND)
    pacer.refund(0)
    assert pacer.ready_at == 3 * SECOND


def test_a_postponed_start_keeps_its_distance_from_when_it_really_starts():
    pacer = Pacer(20)
    pacer.take(0)
    pacer.postpone(0, to=2 * SECOND)
    assert pacer.ready_at == 5 * SECOND


def test_the_best_case_counts_those_ahead():
    pacer = Pacer(20)
    assert pacer.earliest(7 * SECOND, ahead=0) == 7 * SECOND
    pacer.take(7 * SECOND)
    assert pacer.earliest(8 * SECOND, ahead=2) == (7 + 3 + 6) * SECOND


@pytest.mark.parametrize("rpm", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rpm):
    with pytest.raises(ValueError, match="requests_per_minute"):
        Pacer(rpm)
