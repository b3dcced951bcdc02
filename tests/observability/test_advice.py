import pytest

from scraper.observability.advice import advice
from scraper.observability.view import Queue, Throttle

LIMITS = Throttle(limit=2, requests_per_minute=20.0)


def said(throttle=LIMITS, *, latency=3.5, queue=None, away=None, elapsed=60.0, **seconds):
    return advice(seconds, throttle=throttle, latency_mean_s=latency, queue=queue, away=away or {}, elapsed_s=elapsed)


def test_a_pace_below_what_latency_allows_says_what_it_would_allow():
    found = said(wait_rate=73.0, generate=27.0)
    assert found.sentence == (
        "VLLM_REQUESTS_PER_MINUTE=20: tasks wait 73% of their time for it; 2 slots at 3.5 s a request would allow "
        "about 34 a minute"
    )
    assert found.setting == "VLLM_REQUESTS_PER_MINUTE"


def test_a_pace_that_latency_does_not_exceed_is_not_said_to_be_the_way_out():
    assert "2 slots at 6.0 s a request (VLLM_MAX_CONCURRENT) allow no more" in said(wait_rate=9.0, latency=6.0).sentence


def test_slots_are_counted_in_what_they_finish_a_minute():
    found = said(wait_slot=60.0, generate=40.0, latency=12.0)
    assert found.sentence == (
        "VLLM_MAX_CONCURRENT=2: tasks wait 60% of their time for a free slot; at 12.0 s a request that is about 10 a minute; "
        "one more would allow about 15, if the GPU has room for it"
    )
    assert found.setting == "VLLM_MAX_CONCURRENT"


def test_one_more_slot_is_no_gain_where_the_pace_allows_no_more():
    assert (
        "one more" not in said(wait_slot=60.0, latency=5.9, throttle=Throttle(limit=2, requests_per_minute=20)).sentence
    )


def test_slots_that_stand_empty_ask_for_more_consumers():
    found = said(Throttle(limit=4, requests_per_minute=600, starts_last_minute=20), generate=9.0, latency=3.0)
    assert "25% of the slots in use" in found.sentence
    assert found.setting == "CONCURRENT_CONSUMERS_PER_WORKER"


@pytest.mark.parametrize(
    ("throttle", "elapsed"),
    [
        (Throttle(limit=2, requests_per_minute=600, starts_last_minute=4), 6.0),
        (Throttle(limit=2, requests_per_minute=600, starts_last_minute=1, in_flight=2, waiting=4), 60.0),
    ],
    ids=["a minute that has only begun", "a line that would take any"],
)
def test_slots_that_are_full_ask_for_no_more_consumers(throttle, elapsed):
    assert "GPU's own speed" in said(throttle, elapsed=elapsed, generate=9.0, latency=3.0).sentence


def test_an_operators_open_circuit_does_not_blame_the_server():
    found = said(Throttle(circuit="open", circuit_ordered=True, retry_in_s=58.0), wait_circuit=9.0)
    assert found.sentence == "the open circuit: an operator's order, next try in 58 s; scraper throttle close ends it"


def test_a_busy_gpu_is_nothing_to_set_right():
    found = said(Throttle(limit=2, requests_per_minute=600, starts_last_minute=40), generate=9.0, latency=3.0)
    assert "GPU's own speed" in found.sentence
    assert found.setting == ""


@pytest.mark.parametrize(
    ("phase", "word"),
    [
        ("host_delay", "FETCH_DELAY"),
        ("fetch", "sites"),
        ("clean", "WORKERS"),
        ("store", "RESULTS_URL"),
        ("backoff", "retries"),
    ],
)
def test_every_other_phase_is_named_in_the_owners_words(phase, word):
    assert word in said(**{phase: 3.0, "generate": 1.0}).sentence


def test_what_holds_everybody_comes_first():
    assert "open circuit" in said(Throttle(circuit="open", retry_in_s=42.0), wait_rate=9.0).sentence
    assert "42 s; look at its log" in said(Throttle(circuit="open", retry_in_s=42.0), wait_rate=9.0).sentence
    assert said(Throttle(misconfigured="VLLM_API_KEY: set it"), fetch=1.0).sentence == "VLLM_API_KEY: set it"
    assert said(Throttle(misconfigured="VLLM_API_KEY: set it")).setting == "VLLM_API_KEY"
    assert "broker" in said(away={"broker": "refused"}, fetch=1.0).sentence
    assert "pause" in said(Throttle(paused_for_s=30.0), fetch=1.0).sentence


def test_nothing_limits_where_nothing_is_left():
    assert said(queue=Queue(0, 0, 0), wait_rate=9.0).sentence == "nothing: the queue is empty"
    assert "7 tasks" in said(queue=Queue(0, 7, 0), wait_rate=9.0).sentence
    assert said().sentence == "nothing yet"


def test_without_limits_or_latency_it_says_less_and_nothing_wrong():
    assert (
        said(Throttle(), latency=None, wait_rate=1.0).sentence
        == "VLLM_REQUESTS_PER_MINUTE: tasks wait 100% of their time for it"
    )
    assert said(Throttle(), latency=None, wait_slot=1.0).setting == "VLLM_MAX_CONCURRENT"
