from scraper.events import ThrottleScopeExceeded
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import Takes
from scraper.throttle.scope import CONFIRM_SECONDS, SAY_AGAIN_SECONDS, Scope


def heard(*reports):
    """What comes of reports (member, queue, consumers, counted, seconds), one after the other."""
    scope = Scope()
    return [
        scope.hear(member, Takes(queue, consumers, counted), ns(at))
        for member, queue, consumers, counted, at in reports
    ]


def test_as_many_consumers_as_are_known_are_no_news():
    assert heard(("a", "q", 3, 3, 0), ("b", "q", 3, 6, 60), ("a", "q", 3, 5, 120)) == [None] * 3


def test_a_surplus_is_said_when_it_lasts():
    later = CONFIRM_SECONDS
    assert heard(("a", "q", 3, 6, 0), ("a", "q", 3, 7, later)) == [None, ThrottleScopeExceeded("q", 7, 3)]


def test_a_surplus_that_was_a_worker_on_its_way_is_not_said():
    assert heard(("a", "q", 3, 6, 0), ("b", "q", 3, 6, 1), ("a", "q", 3, 9, 60)) == [None] * 3


def test_it_is_said_again_only_every_ten_minutes():
    reports = [("a", "q", 3, 6, minute * 60) for minute in range(25)]
    said = [at for at, event in enumerate(heard(*reports)) if event is not None]
    assert said == [1, 1 + SAY_AGAIN_SECONDS / 60, 1 + 2 * SAY_AGAIN_SECONDS / 60]


def test_consumers_of_another_queue_do_not_count_for_this_one():
    assert heard(("a", "q", 3, 6, 0), ("b", "other", 3, 3, 1), ("a", "q", 3, 6, 60))[2] == ThrottleScopeExceeded(
        "q", 6, 3
    )


def test_a_broker_that_does_not_count_says_nothing():
    assert heard(("a", "q", 3, None, 0), ("a", "q", 3, None, 60)) == [None, None]
