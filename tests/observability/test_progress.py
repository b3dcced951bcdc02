import pytest

from scraper.events import CircuitClosed, CircuitOpened, EndpointMisconfigured, TaskSettled
from scraper.observability.progress import Progress, Report, duration, summary
from scraper.observability.tally import Tally


def settled(outcome="done", reason="", **timings):
    return TaskSettled("t", outcome, reason, 1, 1, 10, 5, 0, timings, sum(timings.values()))


def tally(*events, in_hand=0):
    made = Tally()
    for event in events:
        made.add(event)
    made.in_hand = in_hand
    return made


def test_a_tally_survives_the_pipe():
    before = tally(settled(fetch=1.0), settled("park", "robots"), CircuitOpened(1, 5, 60.0), in_hand=2)
    assert vars(Tally.from_line(before.to_line())) == vars(before)


def test_a_run_is_over_when_nothing_is_left_twice_a_second_apart():
    progress = Progress()
    progress.worker_says(0, tally())
    assert progress.read(queued=0, in_hand=0, workers=1, now=0.0)[1] is False
    progress.worker_says(0, tally())
    assert progress.read(queued=0, in_hand=0, workers=1, now=1.0)[1] is True


def test_a_worker_that_has_not_spoken_since_keeps_the_run_going():
    progress = Progress()
    progress.worker_says(0, tally())
    progress.read(queued=0, in_hand=0, workers=1, now=0.0)
    assert progress.read(queued=0, in_hand=0, workers=1, now=1.0)[1] is False


def test_what_is_in_hand_or_came_back_keeps_the_run_going():
    progress = Progress()
    for now, in_hand, queued in [(0, 0, 0), (1, 1, 0), (2, 0, 0), (2.5, 0, 3), (3, 0, 0)]:
        progress.worker_says(0, tally(in_hand=in_hand))
        assert progress.read(queued=queued, in_hand=0, workers=1, now=now)[1] is False
    progress.worker_says(0, tally())
    assert progress.read(queued=0, in_hand=0, workers=1, now=4)[1] is True


def test_what_other_processes_have_in_hand_keeps_the_run_going():
    progress = Progress()
    for now in (0, 1, 2):
        progress.worker_says(0, tally())
        assert progress.read(queued=0, in_hand=1, workers=1, now=now)[1] is False


def test_counts_of_a_restarted_worker_are_kept():
    progress = Progress()
    progress.worker_says(0, tally(settled(), settled()))
    progress.worker_says(0, tally(settled("park", "robots")))
    progress.worker_says(1, tally(settled()))
    report, _ = progress.read(queued=4, in_hand=0, workers=2, now=0.0)
    assert (report.done, report.parked, report.waiting) == (3, 1, 4)
    assert summary(progress.total()) == "4 tasks: 3 done, 1 parked (robots 1)"


def test_the_rate_of_the_last_minute_says_how_long_it_takes():
    progress = Progress()
    for second in range(0, 121, 10):
        progress.worker_says(0, tally(*[settled()] * second))
        report, _ = progress.read(queued=30, in_hand=0, workers=1, now=second)
    assert report.per_minute == 60.0
    assert report.seconds_left == 30.0


def test_it_says_what_most_of_the_time_went_to():
    assert "VLLM_REQUESTS_PER_MINUTE (75% of the time)" in tally(settled(wait_rate=3.0, fetch=1.0)).limited_by()


def test_an_open_circuit_is_what_limits():
    state = tally(settled(fetch=1.0), CircuitOpened(1, 5, 60.0))
    assert "open" in state.limited_by()
    state.add(CircuitClosed(2, 60.0))
    assert "sites" in state.limited_by()


def test_a_wrong_setting_is_named_as_what_limits():
    assert "VLLM_API_KEY" in tally(EndpointMisconfigured(401, "VLLM_API_KEY", "set it", 30.0)).limited_by()


@pytest.mark.parametrize(("seconds", "said"), [(40, "40 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_a_duration_reads_as_a_person_says_it(seconds, said):
    assert duration(seconds) == said


def test_a_report_is_one_plain_line():
    report = Report(12, 1, 7, 24.0, "the pace", 17.5)
    assert str(report) == "12 done, 1 parked, 7 waiting, 24.0/min, 18 s left; limited by the pace"


def test_the_hosts_circuit_is_the_runs():
    host = tally(CircuitOpened(1, 5, 60.0))
    progress = Progress(host)
    progress.worker_says(0, tally(settled(fetch=1.0)))
    assert "open circuit" in progress.total().limited_by()
