import gc
import tracemalloc

import pytest

from scraper.events import CircuitClosed, CircuitHalfOpen, CircuitOpened, CircuitOpenedByOrder
from scraper.throttle.circuit_breaker import CircuitBreaker, CircuitOpen, CircuitState
from scraper.throttle.nanoseconds import SECOND
from scraper.throttle.verdict import Effect

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
NOW = 1000 * SECOND


def closed(failures=0):
    breaker = CircuitBreaker()
    for _ in range(failures):
        breaker.record(Effect.FAILURE, generation=0, now=NOW)
    return breaker


def opened():
    return closed(failures=5)


def half_open():
    breaker = opened()
    breaker.advance(NOW + 60 * SECOND)
    return breaker


def probing():
    breaker = half_open()
    assert breaker.permit(NOW + 60 * SECOND) is True
    return breaker


@pytest.mark.parametrize(
    ("state", "effect", "then", "failures"),
    [
        (lambda: closed(3), Effect.SUCCESS, CLOSED, 0),
        (lambda: closed(3), Effect.FAILURE, CLOSED, 4),
        (lambda: closed(4), Effect.FAILURE, OPEN, 5),
        (lambda: closed(3), Effect.ALIVE, CLOSED, 3),
        (lambda: closed(3), Effect.NEUTRAL, CLOSED, 3),
        (lambda: closed(3), Effect.NONE, CLOSED, 3),
        (probing, Effect.SUCCESS, CLOSED, 0),
        (probing, Effect.FAILURE, OPEN, 6),
        (probing, Effect.ALIVE, CLOSED, 0),
        (probing, Effect.NEUTRAL, HALF_OPEN, 5),
        (probing, Effect.NONE, HALF_OPEN, 5),
        (opened, Effect.SUCCESS, OPEN, 5),
        (opened, Effect.FAILURE, OPEN, 5),
        (opened, Effect.ALIVE, OPEN, 5),
    ],
)
def test_a_result_does_what_the_table_says(state, effect, then, failures):
    breaker = state()
    breaker.record(effect, generation=breaker.generation, now=NOW + 61 * SECOND)
    assert (breaker.state, breaker.failures) == (then, failures)


@pytest.mark.parametrize("effect", list(Effect))
@pytest.mark.parametrize("state", [opened, half_open, probing])
def test_a_result_of_an_older_generation_changes_nothing(state, effect):
    breaker = state()
    before = breaker.snapshot()
    assert breaker.record(effect, generation=breaker.generation - 1, now=NOW + 61 * SECOND) is None
    assert breaker.snapshot() == before


def test_it_stays_open_exactly_its_timeout():
    breaker = opened()
    assert breaker.held_at(NOW + 60 * SECOND - 1)
    assert breaker.advance(NOW + 60 * SECOND - 1) is None
    assert isinstance(breaker.advance(NOW + 60 * SECOND), CircuitHalfOpen)


def test_every_transition_is_told_and_raises_the_generation():
    breaker = closed(4)
    told = [
        breaker.record(Effect.FAILURE, generation=0, now=NOW),
        breaker.advance(NOW + 60 * SECOND),
    ]
    breaker.permit(NOW + 60 * SECOND)
    told.append(breaker.record(Effect.SUCCESS, generation=2, now=NOW + 61 * SECOND))
    assert told == [CircuitOpened(1, 5, 60.0), CircuitHalfOpen(2), CircuitClosed(3, 61.0)]


def test_an_owners_order_is_told_as_one_and_is_no_failure():
    breaker = half_open()
    assert breaker.open(NOW + 61 * SECOND, ordered=True) == CircuitOpenedByOrder(3, 5, 60.0)
    assert breaker.ordered
    breaker.advance(NOW + 121 * SECOND)
    breaker.permit(NOW + 121 * SECOND)
    assert breaker.record(Effect.FAILURE, generation=4, now=NOW + 122 * SECOND) == CircuitOpened(5, 6, 60.0)
    assert not breaker.ordered


def test_exactly_one_of_fifty_becomes_the_probe():
    breaker = half_open()
    answers = []
    for _ in range(50):
        try:
            answers.append(breaker.permit(NOW + 60 * SECOND))
        except CircuitOpen:
            answers.append("refused")
    assert answers.count(True) == 1
    assert answers.count("refused") == 49


def test_a_probe_that_leaves_without_a_result_makes_room_for_the_next():
    breaker = probing()
    breaker.record(Effect.NONE, generation=2, now=NOW + 61 * SECOND)
    assert breaker.permit(NOW + 61 * SECOND) is True


def test_a_probe_that_hangs_counts_as_failed():
    breaker = half_open()
    breaker.permit(NOW + 60 * SECOND, probe_seconds=125)
    assert breaker.advance(NOW + 185 * SECOND - 1) is None
    assert isinstance(breaker.advance(NOW + 185 * SECOND), CircuitOpened)
    assert breaker.held_at(NOW + 245 * SECOND - 1)
    assert not breaker.held_at(NOW + 245 * SECOND)


def test_with_nobody_waiting_it_stays_half_open():
    breaker = half_open()
    assert breaker.advance(NOW + 10_000 * SECOND) is None
    assert breaker.state is HALF_OPEN


def test_a_refusal_says_when_to_ask_again():
    breaker = opened()
    with pytest.raises(CircuitOpen) as refused:
        breaker.permit(NOW + 45 * SECOND)
    assert refused.value.retry_in_seconds == 15


def test_memory_stays_flat_over_a_hundred_thousand_refusals():
    breaker = opened()

    def refused():
        try:
            breaker.permit(NOW)
        except CircuitOpen as error:
            return error
        raise AssertionError("a permit from an open circuit")

    for _ in range(1000):
        refused()
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(100_000):
        last = refused()
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000
    assert peak - before < 100_000
    assert len(last.__traceback__.tb_frame.f_code.co_name) > 0
    assert last.__traceback__.tb_next.tb_next is None  # its own traceback, grown by nobody else


def test_an_owner_can_open_and_close_it():
    breaker = closed()
    breaker.open(NOW)
    assert breaker.held_at(NOW)
    breaker.close(NOW)
    assert breaker.permit(NOW) is False


def test_it_goes_on_from_its_snapshot():
    breaker = probing()
    other = CircuitBreaker()
    other.restore(breaker.snapshot())
    assert other.snapshot() == breaker.snapshot()
    assert other.held_at(NOW + 61 * SECOND)


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"timeout_seconds": 0}, {"timeout_seconds": -1}])
def test_bounds_are_checked(wrong):
    with pytest.raises(ValueError, match="threshold must"):
        CircuitBreaker(**wrong)
