import pytest

from scraper.observability.gpu import gpu
from scraper.observability.view import Throttle

LIMITS = Throttle(limit=2, requests_per_minute=20.0)


def state(throttle=LIMITS, *, away=None, request_seconds=0.0, answers=1, elapsed_s=60.0):
    return gpu(throttle, away or {}, request_seconds=request_seconds, answers=answers, elapsed_s=elapsed_s)


@pytest.mark.parametrize(
    ("request_seconds", "word", "share"), [(3.0, "idle", "2%"), (60.0, "working", "50%"), (118.0, "busy", "98%")]
)
def test_it_is_as_busy_as_its_slots(request_seconds, word, share):
    found = state(request_seconds=request_seconds)
    assert found.state == word
    assert found.sentence == f"{word}, {share} of its 2 slots in use over the last minute"


def test_answers_of_a_request_that_began_before_the_minute_fill_no_more_than_all_slots():
    assert "100% of its 2 slots" in state(request_seconds=500.0).sentence


def test_before_the_first_answer_what_is_in_flight_counts():
    assert state(Throttle(limit=2, in_flight=2), answers=0).state == "busy"
    assert state(Throttle(limit=2, in_flight=0), answers=0).state == "idle"


@pytest.mark.parametrize(
    ("throttle", "word", "said"),
    [
        (Throttle(limit=2, circuit="open", retry_in_s=42.0), "protected", "because it fails, next try in 42 s"),
        (Throttle(limit=2, circuit="open", circuit_ordered=True), "protected", "by an operator's order"),
        (Throttle(limit=2, circuit="half_open"), "protected", "one request"),
        (Throttle(limit=2, paused_for_s=30.0), "protected", "paused, 30 s more"),
        (Throttle(limit=2, misconfigured="VLLM_API_KEY: wrong"), "stopped", "a setting is wrong"),
        (Throttle(), "unknown", "not asked yet"),
    ],
)
def test_what_keeps_every_request_from_it_is_said_instead(throttle, word, said):
    found = state(throttle, request_seconds=118.0)
    assert found.state == word
    assert said in found.sentence


def test_a_server_that_does_not_answer_is_not_called_idle():
    assert state(away={"model server": "connection refused"}).state == "stopped"
    assert state(away={"broker": "connection refused"}).state == "idle"
