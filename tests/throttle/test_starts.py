from scraper.throttle.admission import Admission
from scraper.throttle.nanoseconds import ns
from scraper.throttle.starts import Starts
from scraper.throttle.verdict import UNSENT


def started(*times, interval=3.0):
    starts = Starts()
    for at in times:
        starts.add(at, interval=interval)
    return starts


def test_the_last_minute_is_half_open():
    starts = started(0.0, 3.0, 59.0)
    assert starts.last_minute(59.9) == 3
    assert starts.last_minute(60.0) == 2


def test_gaps_are_counted_in_intervals_of_the_pace():
    starts = started(0.0, 3.0, 7.5, 9.0, 60.0)
    assert starts.plain(60.0) == {"total": 5, "last_60s": 4, "gaps": [0, 1, 1, 0, 1, 0, 1], "smallest_gap_s": 1.5}


def test_a_start_that_was_none_leaves_no_gap():
    starts = started(0.0, 3.0, 9.0)
    starts.forget(9.0)
    starts.add(12.0, interval=3.0)
    assert starts.plain(12.0) == {"total": 3, "last_60s": 3, "gaps": [0, 0, 1, 0, 0, 1, 0], "smallest_gap_s": 3.0}


def test_one_that_a_later_start_was_spaced_from_still_lies_between():
    starts = started(0.0, 3.0, 6.0)
    starts.forget(3.0)
    assert starts.total == 2
    assert sum(starts.gaps) == 2


def test_a_million_starts_cost_the_memory_of_a_minute():
    starts = Starts()
    for number in range(1_000_000):
        starts.add(number * 0.0001, interval=0.001)
    assert starts.last_minute(100.0) == 60_000  # as many as are remembered
    assert starts.total == 1_000_000


def test_what_was_granted_and_never_sent_is_no_start():
    admission = Admission(max_concurrent=2, requests_per_minute=20)
    admission.ask(0)
    [grant] = admission.turn(0).grants
    assert admission.starts.total == 1
    admission.finish(grant.lease, UNSENT, ns(0.1))
    assert admission.starts.total == 0
