import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.throttle.backoff import Backoff, hinted_delay, retry_after_seconds


@pytest.mark.parametrize(
    ("retry", "shortest", "longest"),
    [(1, 0.75, 1.25), (2, 1.5, 2.5), (3, 3, 5), (4, 6, 10), (5, 12, 20), (6, 24, 40), (7, 45, 60), (1_000_000, 45, 60)],
)
def test_delays_double_up_to_the_cap(retry, shortest, longest):
    assert Backoff().bounds(retry) == (shortest, longest)


def test_five_retries_take_23_to_39_seconds_in_all():
    bounds = [Backoff().bounds(retry) for retry in range(1, 6)]
    assert (sum(low for low, _ in bounds), sum(high for _, high in bounds)) == (23.25, 38.75)


@given(
    first=st.floats(0.01, 1000),
    cap=st.floats(0.01, 1000),
    retry=st.integers(1, 5000),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_no_draw_leaves_the_bounds_or_the_cap(first, cap, retry, draw):
    backoff = Backoff(first, cap)
    low, high = backoff.bounds(retry)
    assert low * (1 - 1e-12) <= backoff.delay(retry, draw=draw) <= high * (1 + 1e-12)
    assert high <= cap


def test_delays_at_the_cap_do_not_pile_up_there():
    delays = [Backoff().delay(9, draw=draw / 100) for draw in range(100)]
    assert len(set(delays)) == 100


def test_those_who_were_told_the_same_time_do_not_all_come_back_at_once():
    assert [hinted_delay(10, draw=draw) for draw in (0.0, 0.5)] == [10, 10.5]


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, None),
        ({"retry-after": "Fri, 23 Oct 2026 07:28:00 GMT", "date": DATE}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 +99999999999999999999", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:30 GMT", "date": DATE}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 99999999999999:28:00 GMT"}, None),
        ({"retry-after-ms": "-5", "retry-after": "9"}, 9),
    ],
)
def test_retry_after_is_read_or_ignored(headers, seconds):
    assert retry_after_seconds(headers) == seconds
