"""What a client remembers of its verdicts until a coordinator is known to have written them down."""

from scraper.throttle.unsettled import Unsettled
from scraper.throttle.verdict import Ending, Verdict
from scraper.throttle.verdict_message import finish_of


def given(*leases):
    unsettled = Unsettled()
    for lease in leases:
        unsettled.add(finish_of(lease, Verdict(Ending.ANSWERED)))
    return unsettled


def leases(unsettled):
    return [finish.lease for finish in unsettled.again()]


def test_the_first_that_were_said_are_settled_first_and_each_once():
    unsettled = given(7, 3, 9, 4)
    unsettled.settle(1)
    unsettled.settle(3)
    unsettled.settle(3)
    assert leases(unsettled) == [4]


def test_a_new_connection_counts_from_the_beginning():
    unsettled = given(7, 3, 9)
    unsettled.settle(2)
    assert leases(unsettled) == [9]
    unsettled.add(finish_of(5, Verdict(Ending.NO_ANSWER)))
    unsettled.settle(1)
    assert leases(unsettled) == [5]


def test_a_count_beyond_all_that_was_said_settles_no_more_than_that():
    unsettled = given(7)
    unsettled.settle(100)
    assert leases(unsettled) == []
