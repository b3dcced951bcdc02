import pytest

from scraper.host import this_process
from scraper.observability.throttle_report import lines, surplus
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import Brings, Command, Finds, Ready, Takes
from scraper.throttle.shared_admission import SharedAdmission


@pytest.fixture
def shared():
    """The real thing, with one member."""
    shared = SharedAdmission()
    shared.begin(0)
    shared.join("a", this_process(), 0)
    for message in (Brings(2, 20.0, 5, 60.0), Takes("scraper", 3, None), Ready()):
        shared.take("a", message, 0)
    shared.turn(ns(1))
    return shared


def shown(shared, *orders, at=10.0):
    for verb, *fields in orders:
        shared.obey(Command(verb, *(fields or [None] * 3)), ns(at))
    return "\n".join(lines(shared.status(ns(at)) | {"host_pid": 7}))


def test_all_is_well(shared):
    text = shown(shared)
    for fact in (
        "host        process 7",
        "in flight   0 of 2",
        "pace        20 a minute",
        "circuit     closed: 0 of 5 failures in a row",
        "pause       none",
        "limits      the strictest that the processes bring",
        "queue       scraper: 3 consumers of these processes",
        "2 in flight, 20 a minute, circuit 5 failures / 60 s",
    ):
        assert fact in text


def test_the_next_start_and_an_open_circuit_count_down(shared):
    assert "the next start in 2.0 s at the earliest" in shown(shared, at=1.0)
    assert "OPEN: an operator's order; one request tries in 1 min 00 s" in shown(shared, ("open",), at=1.0)
    shared.turn(ns(61))
    assert "HALF OPEN: the next request tries" in shown(shared, at=61)


def test_a_pause_says_how_long_and_why(shared):
    assert "PAUSED, 30.0 s left: an operator's order" in shown(shared, ("pause", None, None, 30.0))
    assert "until scraper throttle resume" in shown(shared, ("pause",))


def test_a_setting_that_is_wrong_from_the_beginning_is_named_with_its_process(shared):
    shared.take("a", Finds("VLLM_API_KEY: give the right one"), ns(10))
    text = shown(shared)
    assert f"setting     A SETTING IS WRONG for process {this_process().pid}: VLLM_API_KEY: give the right one" in text


def test_limits_set_by_command_say_how_they_end(shared):
    shared.obey(Command("set", 1, None, None), ns(10))
    text = shown(shared, at=100)
    assert "1 in flight set by command 1 min 30 s ago, until scraper throttle reset" in text
    assert "reset; the settings say 2 in flight, 20 a minute" in text


def test_consumers_that_are_not_throttled_here_cannot_be_overlooked(shared):
    shared.take("a", Takes("scraper", 3, 5), ns(10))
    assert "5 at the broker: 2 are NOT throttled here" in shown(shared)
    assert surplus(shared.status(ns(10))["queues"][0]) == 2
