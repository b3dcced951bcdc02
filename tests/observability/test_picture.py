import json
import tracemalloc
from itertools import count

import pytest

from scraper.events import (
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    CircuitOpenedByOrder,
    EndpointMisconfigured,
    EndpointPaused,
    LlmRetry,
    QueueDepth,
    RateLimitWaiting,
    WaitingFor,
    WorkerRestarted,
    WorkerStopped,
)
from scraper.observability.health import missing
from scraper.observability.history import STEPS
from scraper.observability.picture import Picture
from scraper.observability.tally import Tally
from scraper.observability.view import Queue, duration, number_of, plain_line
from scraper.throttle.protocol import Command
from scraper.throttle.shared_admission import SharedAdmission
from tests.observability.facts import STARTED, answer, received, request, settled

NOW = 1_700_000_000.0
RESTARTED = WorkerRestarted(worker=0, exit_code=-9, restart_in_s=1.0)


def heard(*events, picture=None, at=NOW, pid=1, task_id="t"):
    picture = picture or Picture()
    for event in events:
        picture.hear(event, at=at, pid=pid, task_id=task_id)
    return picture


def tally(*events, in_hand=0):
    made = Tally()
    for event in events:
        made.add(event)
    made.in_hand = in_hand
    return made


def test_a_log_tells_what_is_in_flight_in_line_and_in_hand():
    picture = heard(STARTED)
    for number, events in enumerate([[request()], [request(), answer()], [RateLimitWaiting("rate", 1, 3.0, 1, 2)], []]):
        task = f"t{number}"
        heard(received(task), *events, picture=picture, task_id=task)
    view = picture.view(NOW)
    assert (view.throttle.in_flight, view.throttle.waiting, view.in_hand) == (1, 1, 4)
    assert (view.throttle.limit, view.throttle.requests_per_minute) == (2, 20)


def test_what_an_ended_worker_held_is_with_nobody():
    picture = heard(STARTED, received(), request(), pid=1)
    heard(STARTED, received("u"), picture=picture, pid=2, task_id="u")
    heard(WorkerStopped("now", 0, 0), picture=picture, pid=1)
    view = picture.view(NOW)
    assert (view.throttle.in_flight, view.in_hand, view.workers) == (0, 1, 1)


def test_gaps_are_those_between_all_workers_starts():
    picture = heard(STARTED)
    for number, at in enumerate([0.0, 3.0, 6.0, 12.0]):
        heard(request(), picture=picture, at=NOW + at, pid=number, task_id=str(number))
    view = picture.view(NOW + 13)
    assert view.throttle.gaps == (0, 0, 2, 0, 0, 1, 0)
    assert view.throttle.starts_last_minute == 4
    assert view.throttle.smallest_gap_s == 3.0


def test_an_open_circuit_counts_down_and_its_history_is_kept():
    picture = heard(CircuitOpened(1, 5, 60.0))
    assert picture.view(NOW + 20).throttle.retry_in_s == 40.0
    heard(CircuitHalfOpen(2), picture=picture, at=NOW + 60)
    heard(CircuitClosed(3, 61.0), picture=picture, at=NOW + 61)
    view = picture.view(NOW + 62)
    assert (view.throttle.circuit, view.throttle.retry_in_s) == ("closed", None)
    assert view.circuit_log == ((NOW, "open"), (NOW + 60, "half_open"), (NOW + 61, "closed"))
    assert [step.circuit for step in picture.history.steps] == ["open", "half_open"]


def test_a_log_tells_an_operators_order_from_a_failing_server():
    throttle = heard(CircuitOpenedByOrder(1, 0, 60.0)).throttle(NOW)
    assert (throttle.circuit, throttle.circuit_ordered) == ("open", True)


def test_the_rate_of_the_last_minute_says_how_long_it_takes():
    picture = Picture()
    for second in range(0, 121, 10):
        picture.worker_says(0, tally(*[settled()] * second), at=NOW + second)
    picture.queue_says(Queue(20, 7, 3), at=NOW)
    view = picture.view(NOW + 120)
    assert view.finished_per_minute == 60.0
    assert view.seconds_left == 30.0
    assert view.left == 30


def test_counts_of_a_restarted_worker_are_kept():
    picture = Picture()
    picture.worker_says(0, tally(settled(), settled()), at=NOW)
    picture.hear(RESTARTED, at=NOW)
    picture.worker_says(0, tally(settled("park", "robots")), at=NOW)
    picture.worker_says(1, tally(settled(), in_hand=2), at=NOW)
    view = picture.view(NOW)
    assert (view.done, view.parked, view.reasons, view.in_hand) == (3, 1, {"robots": 1}, 2)
    assert sum(step.done for step in picture.history.steps) == 3


def test_a_worker_that_died_is_none_and_holds_nothing_until_its_successor_reports():
    picture, busy = Picture(), tally(STARTED, WaitingFor("store", "disk full", 0.0), settled(), in_hand=2)
    picture.worker_says(0, busy, at=NOW)
    picture.hear(RESTARTED, at=NOW + 1)
    view = picture.view(NOW + 1)
    assert (view.workers, view.in_hand, view.away, view.done) == (0, 0, {}, 1)
    assert missing(view) == {"workers": "none is running"}
    picture.worker_says(0, tally(STARTED, settled()), at=NOW + 2)
    view = picture.view(NOW + 2)
    assert (view.workers, view.done, missing(view)) == (1, 2, {})


def test_a_log_and_sums_of_the_same_work_make_the_same_picture():
    events = [
        request(),
        LlmRetry(1, "500", 1.0),
        request(),
        answer(),
        settled(fetch=1.0, generate=3.0),
        settled("park", "robots"),
    ]
    by_log, by_sums = heard(*events), Picture()
    by_sums.worker_says(0, tally(*events), at=NOW)
    for name in (
        "outcomes",
        "reasons",
        "counts",
        "seconds",
        "latency_p50_s",
        "tokens_per_second",
        "spark",
        "limited_by",
    ):
        assert getattr(by_log.view(NOW), name) == getattr(by_sums.view(NOW), name), name
    [step], [other] = by_log.plain()["history"], by_sums.plain()["history"]
    assert step == other | {"in_flight": 1, "starts_minute": 2}  # which sums do not tell: the coordinator does


def test_the_coordinator_knows_the_throttle_better_than_a_log():
    picture = heard(STARTED, request())
    picture.throttle_says(SharedAdmission().status(0), at=NOW)
    assert picture.view(NOW).throttle.in_flight == 0
    picture.throttle_says(None, at=NOW)
    assert picture.view(NOW).throttle.in_flight == 1


WRONG = EndpointMisconfigured(401, "VLLM_API_KEY", "the server refuses the key", 30.0)


def test_a_setting_that_was_wrong_at_first_contact_limits_though_the_throttle_has_not_heard_of_it():
    own = Picture()
    own.worker_says(0, tally(WRONG), at=NOW)
    own.worker_says(1, tally(), at=NOW)
    for picture in (own, Picture.of([json.loads(json.dumps(own.plain()))])):
        picture.throttle_says(SharedAdmission().status(0), at=NOW)
        assert picture.view(NOW).limited_by == "VLLM_API_KEY: the server refuses the key"
    own.worker_says(0, tally(WRONG, request()), at=NOW)
    assert own.view(NOW).limited_by == "nothing yet"


def test_limits_that_nobody_has_brought_yet_are_those_of_an_earlier_run_and_not_shown():
    picture = Picture()
    picture.throttle_says(SharedAdmission().status(0), at=NOW)
    assert (picture.throttle(NOW).limit, picture.throttle(NOW).requests_per_minute) == (None, None)


def test_a_setting_that_got_wrong_later_is_wrong_as_long_as_the_throttle_says_so():
    picture = Picture()
    picture.worker_says(0, tally(request(), WRONG), at=NOW)
    picture.throttle_says(SharedAdmission().status(0) | {"misconfigured": "VLLM_MODEL: name one of: a, b"}, at=NOW)
    assert picture.view(NOW).limited_by == "VLLM_MODEL: name one of: a, b"
    picture.throttle_says(SharedAdmission().status(0), at=NOW)
    assert picture.view(NOW).limited_by == "nothing yet"


def test_what_is_left_of_a_log_goes_down_with_every_finished_task():
    picture = heard(STARTED, QueueDepth(2, 1, 2))
    lefts = [picture.view(NOW).left]
    for _ in range(6):
        heard(settled(), picture=picture)
        lefts.append(picture.view(NOW).left)
    assert lefts == [5, 4, 3, 2, 1, 0, 0]
    assert Queue(2, 1, 2).less(1) == Queue(1, 1, 2)
    assert Queue(2, 1, 2).less(3) == Queue(0, 1, 1)
    heard(QueueDepth(4, 0, 0), picture=picture)
    assert picture.view(NOW).left == 4


def test_one_is_not_said_to_be_several():
    assert [number_of("task", number) for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
    assert [number_of("retry", number, several="retries") for number in (1, 2)] == ["1 retry", "2 retries"]
    assert "1 retry" in plain_line(heard(LlmRetry(1, "x", 1.0), picture=Picture()).view(NOW))


def ordered(seconds):
    """The throttle's status after an operator's pause."""
    shared = SharedAdmission()
    shared.obey(Command("pause", None, None, seconds), 0)
    return shared.status(0)


def test_an_operators_pause_is_called_the_operators_and_ends_when_he_says():
    picture = heard(STARTED, *(settled() for _ in range(10)))
    picture.queue_says(Queue(5, 0, 0), at=NOW)
    picture.throttle_says(ordered(None), at=NOW)
    view = picture.view(NOW)
    assert view.limited_by == "a pause (an operator's order), until scraper throttle resume"
    assert view.seconds_left is None


def test_a_pause_comes_on_top_of_the_time_that_is_left():
    picture = heard(STARTED, *(settled() for _ in range(10)))
    picture.queue_says(Queue(5, 0, 0), at=NOW)
    running = picture.view(NOW).seconds_left
    picture.throttle_says(ordered(40.0), at=NOW)
    view = picture.view(NOW)
    assert view.limited_by == "a pause (an operator's order), 40 s more"
    assert view.seconds_left == pytest.approx(running + 40.0)


def test_a_log_tells_who_asked_for_a_pause():
    picture = heard(STARTED, EndpointPaused(20.0, "429 with Retry-After"))
    assert picture.view(NOW).limited_by == "a pause (429 with Retry-After), 20 s more"
    assert picture.view(NOW).events[-1].text == "for 20 s: 429 with Retry-After"
    heard(EndpointPaused(None, "an operator's order"), picture=picture)
    assert picture.view(NOW).limited_by == "a pause (an operator's order), until scraper throttle resume"
    assert picture.view(NOW).events[-1].text == "until resumed: an operator's order"
    heard(request(), picture=picture)
    assert picture.view(NOW).throttle.paused_for_s == 0


def test_a_picture_of_several_supervisors_is_their_sum():
    a, b = Picture(), Picture()
    a.worker_says(0, tally(request(), answer(), settled(fetch=1.0)), at=NOW)
    a.worker_says(1, tally(), at=NOW)
    b.worker_says(0, tally(request(), settled("park", "robots")), at=NOW + 1)
    heard(CircuitOpened(1, 5, 60.0), picture=b, at=NOW + 1)
    told = json.loads(json.dumps([a.plain(), b.plain()]))
    both = Picture.of(told)
    view = both.view(NOW + 1)
    assert (view.done, view.parked, view.counts["attempts"], view.workers) == (1, 1, 2, 3)
    assert [step.starts for step in both.history.steps] == [2]
    assert view.circuit_log == ((NOW + 1, "open"),)
    assert [event.name for event in view.events] == ["circuit_breaker_opened"]


def test_a_queue_depth_in_the_log_says_what_is_left():
    assert heard(QueueDepth(5, 2, 3)).view(NOW).left == 10


def test_what_workers_finished_since_the_queue_was_looked_at_is_not_left_as_well():
    picture = Picture()
    picture.worker_says(0, tally(*[settled()] * 76), at=NOW)
    picture.queue_says(Queue(218, 0, 6), at=NOW)
    picture.worker_says(0, tally(*[settled()] * 84, in_hand=6), at=NOW + 0.9)
    view = picture.view(NOW + 0.9)
    assert (view.done, view.left) == (84, 216)


def test_more_events_than_an_hour_holds_cost_no_more_memory():
    picture, numbers = heard(STARTED), count()

    def work(tasks):
        for number in (next(numbers) for _ in range(tasks)):
            task, at = f"task-{number}", NOW + number * 3.0
            for event in (received(task), request(), answer(), settled(task_id=task, fetch=1.0)):
                picture.hear(event, at=at, pid=number % 4, task_id=task)

    tracemalloc.start()
    work(1_500)  # more than an hour: every ring is full
    before, _ = tracemalloc.get_traced_memory()
    work(4_500)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(picture.history.steps) == STEPS
    assert after - before < 100_000
    assert picture.view(NOW).done == 6_000


def test_a_view_is_json_and_one_plain_line():
    picture = heard(STARTED, request(), answer(), settled(wait_rate=7.0, generate=3.0))
    picture.queue_says(Queue(3, 0, 1), at=NOW)
    view = picture.view(NOW)
    assert json.loads(view.to_json())["throttle"]["limit"] == 2
    assert plain_line(view).startswith(
        "1 done, 0 parked, 4 left · in flight 0/2 · starts 1/20 a minute · circuit closed"
    )
    assert "GPU busy, 100% of its 2 slots in use over the last minute · limited by VLLM_REQUESTS" in plain_line(view)


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_a_duration_reads_as_a_person_says_it(seconds, said):
    assert duration(seconds) == said


def test_what_a_worker_finds_worth_saying_is_said_once():
    picture, worker = Picture(), Tally()
    for event in (LlmRetry(1, "500 \x1b[2J", 1.0), request(), settled("park", "robots")):
        worker.add(event)
        worker.remember(event)
        picture.worker_says(0, Tally.from_line(worker.to_line()), at=NOW)
    assert [(event.name, event.text) for event in picture.view(NOW).events] == [
        ("llm_retry", "attempt 1: 500 \\x1b[2J; again in 1.0 s"),
        ("task_settled", "t: parked, robots"),
    ]
    picture.hear(RESTARTED, at=NOW)
    successor = Tally()
    successor.remember(settled("park", "not_html"))
    picture.worker_says(0, successor, at=NOW)
    assert [event.text for event in picture.view(NOW).events][-1] == "t: parked, not_html"
