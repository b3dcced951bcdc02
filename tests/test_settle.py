from typing import get_args

import pytest

from scraper.errors import Held, ModelFailed, Permanent, Transient, Unavailable
from scraper.models import Hold, Park, ParkReason, Retry, Standing
from scraper.settle import seen_before, settle, worth_finishing
from scraper.trace import Phase

ROWS = [
    (Held("host's turn", after_seconds=7), 0, Hold(7, "host's turn")),
    (Held("circuit open", after_seconds=60), 4, Hold(60, "circuit open")),
    (ModelFailed("HTTP 503", outage=True), 0, Hold(60, "HTTP 503")),
    (ModelFailed("HTTP 503", outage=True, after_seconds=120), 4, Hold(120, "HTTP 503")),
    (ModelFailed("HTTP 500", outage=False), 0, Retry(5, "HTTP 500")),
    (Transient("HTTP 502"), 0, Retry(5, "HTTP 502")),
    (Transient("HTTP 502"), 1, Retry(15, "HTTP 502")),
    (Transient("HTTP 502"), 2, Retry(60, "HTTP 502")),
    (Transient("HTTP 502"), 3, Retry(300, "HTTP 502")),
    (Transient("HTTP 429", after_seconds=40), 0, Retry(40, "HTTP 429")),
    (Transient("HTTP 429", after_seconds=2), 1, Retry(15, "HTTP 429")),
    (Transient("timeout"), 4, Park(ParkReason.ATTEMPTS, "timeout (attempt 5 of 5)")),
    (ModelFailed("HTTP 500", outage=False), 4, Park(ParkReason.ATTEMPTS, "HTTP 500 (attempt 5 of 5)")),
    (Unavailable("gone"), 0, Retry(5, "unexpected Unavailable")),
    (ValueError("text of a page"), 0, Retry(5, "unexpected ValueError")),
    (ValueError("text of a page"), 4, Park(ParkReason.ATTEMPTS, "unexpected ValueError (attempt 5 of 5)")),
]


@pytest.mark.parametrize(("error", "attempts", "outcome"), ROWS)
def test_whose_fault_it_is_decides_what_happens(error, attempts, outcome):
    assert settle(error, attempts=attempts, max_attempts=5) == outcome


@pytest.mark.parametrize("reason", list(ParkReason))
def test_what_no_attempt_can_help_is_parked_with_its_own_reason(reason):
    assert settle(Permanent(reason, "why"), attempts=0, max_attempts=5) == Park(reason, "why")


def test_an_outage_never_spends_the_last_attempt():
    assert isinstance(settle(ModelFailed("refused", outage=True), attempts=4, max_attempts=5), Hold)


@pytest.mark.parametrize(
    ("standing", "content", "submission", "seen"),
    [
        (None, "a", 0, "new"),
        (Standing("parked", "a", 0), "a", 0, "stored"),
        (Standing("parked", "b", 0), "a", 0, "new"),
        (Standing("parked", "a", 7), "a", 0, "stored"),
        (Standing("parked", "a", 7), "a", 6, "new"),  # of a clock that was put back: somebody wants it run
        (Standing("parked", "b", 7), "a", 0, "new"),
        (Standing("parked", "a", 7), "a", 7, "stored"),
        (Standing("parked", "b", 7), "a", 7, "new"),
        (Standing("parked", "a", 7), "a", 8, "new"),
        (Standing("done", "a", 0), "a", 0, "stored"),
        (Standing("done", "b", 0), "a", 0, "duplicate"),
        (Standing("done", "a", 0), "a", 5, "new"),
        (Standing("done", "b", 0), "a", 5, "new"),
        (Standing("done", "a", 5), "a", 5, "stored"),
        (Standing("done", "a", 5), "a", 3, "stored"),
        (Standing("done", "b", 5), "a", 3, "stored"),
    ],
)
def test_the_newest_submission_wins_and_a_repetition_costs_nothing(standing, content, submission, seen):
    assert seen_before(standing, content_sha256=content, submission=submission) == seen


@pytest.mark.parametrize(
    ("standing", "seen"),
    [
        (None, "new"),
        (Standing("parked", "a", 0), "anew"),
        (Standing("parked", "b", 7), "anew"),
        (Standing("done", "a", 0), "stored"),
        (Standing("done", "b", 0), "duplicate"),
        (Standing("done", "b", 7), "stored"),
    ],
)
def test_a_strangers_message_of_a_parked_task_is_a_new_wish_and_of_a_done_one_a_repetition(standing, seen):
    assert seen_before(standing, content_sha256="a", submission=0, unnumbered=True) == seen


@pytest.mark.parametrize("store_away", [False, True])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("model_away", [False, True])
@pytest.mark.parametrize("phase", get_args(Phase))
def test_a_stopping_worker_finishes_what_the_gpu_works_or_has_worked_for(phase, answered, model_away, store_away):
    at_work = {"first_token", "generate", "validate"}
    one_turn_more = {"wait_slot", "backoff"} if answered and not model_away else set()
    kept = {"store"} if answered or not store_away else set()
    finishes = worth_finishing(phase, answered=answered, model_away=model_away, store_away=store_away)
    assert finishes == (phase in at_work | one_turn_more | kept)
