import json

import pytest

from scraper.events import (
    Back,
    CircuitClosed,
    CircuitOpened,
    EndpointMisconfigured,
    LlmRetry,
    RateLimitWaiting,
    WaitingFor,
)
from scraper.observability.tally import Tally
from tests.observability.facts import STARTED, answer, request, settled


def tally(*events, in_hand=0):
    made = Tally()
    for event in events:
        made.add(event)
    made.in_hand = in_hand
    return made


EVERYTHING = (
    STARTED,
    request(),
    RateLimitWaiting("rate", 1, 3.0, 2, 2),
    LlmRetry(1, "500", 1.0),
    answer(),
    settled(fetch=1.0),
    settled("park", "robots"),
    CircuitOpened(1, 5, 60.0),
    WaitingFor("broker", "away", 0.0),
)


def test_a_tally_survives_the_pipe():
    before = tally(*EVERYTHING, in_hand=2)
    assert Tally.from_line(before.to_line()).plain() == before.plain()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"3", b'{"outcomes": 7}', b'{"outcomes": {"done": "x"}}'])
def test_what_is_no_tally_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        Tally.from_line(line)


def test_a_line_without_a_field_or_with_a_wrong_one_is_refused():
    plain = json.loads(tally(*EVERYTHING).to_line())
    for name in plain:
        with pytest.raises(ValueError, match=r"."):
            Tally.from_line(json.dumps({**plain, name: ["x"]}).encode())
        with pytest.raises(ValueError, match=r"."):
            Tally.from_line(json.dumps({each: value for each, value in plain.items() if each != name}).encode())


def test_what_is_handed_back_has_not_finished():
    handed_back = tally(settled("handed_back", "stopping", fetch=1.0))
    assert (handed_back.finished, handed_back.reasons, handed_back.outcomes) == (0, {}, {"handed_back": 1})


def test_the_difference_of_two_sums_is_what_came_between():
    before, after = tally(*EVERYTHING), tally(*EVERYTHING, request(), answer(7.0), settled(fetch=2.0))
    new = after.since(before)
    assert (new.counts["attempts"], new.outcomes["done"], new.seconds["fetch"]) == (1, 1, 2.0)
    assert new.latency.count == 1


def test_what_is_away_is_known_until_it_is_back():
    away = tally(WaitingFor("broker", "connection refused", 0.0))
    assert away.away == {"broker": "connection refused"}
    away.add(Back("broker", 3.0))
    assert away.away == {}


def test_a_wrong_setting_is_named_until_a_request_was_sent():
    wrong = tally(EndpointMisconfigured(401, "VLLM_API_KEY", "set it", 30.0))
    assert "VLLM_API_KEY" in wrong.wrong
    wrong.add(request())
    assert wrong.wrong == ""


def test_the_circuit_is_the_last_that_was_told():
    circuit = tally(CircuitOpened(1, 5, 60.0))
    assert circuit.circuit == "open"
    circuit.add(CircuitClosed(2, 60.0))
    assert circuit.circuit == "closed"
