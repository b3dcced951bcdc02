from scraper.observability.progress import UntilEmpty, finishing, left_behind, summary, welcome, what_now
from scraper.observability.tally import Tally
from tests.observability.facts import settled


def told(*workers, ending):
    for worker in workers:
        ending.worker_said(worker)
    return ending


def test_a_run_is_over_when_nothing_is_left_twice_a_second_apart():
    ending = UntilEmpty(workers=1)
    assert told(0, ending=ending).over(left=0, now=0.0) is False
    assert told(0, ending=ending).over(left=0, now=0.9) is False
    assert told(0, ending=ending).over(left=0, now=1.0) is True


def test_a_worker_that_has_not_spoken_since_keeps_the_run_going():
    ending = UntilEmpty(workers=2)
    told(0, 1, ending=ending).over(left=0, now=0.0)
    assert told(0, ending=ending).over(left=0, now=1.0) is False
    assert told(0, 1, ending=ending).over(left=0, now=2.0) is False
    assert told(0, 1, ending=ending).over(left=0, now=3.0) is True


def test_a_place_that_is_given_up_is_waited_for_no_longer():
    ending = UntilEmpty(workers=2)
    ending.worker_given_up()
    assert told(0, ending=ending).over(left=0, now=0.0) is False
    assert told(0, ending=ending).over(left=0, now=1.0) is True


def test_what_is_left_or_came_back_keeps_the_run_going():
    ending = UntilEmpty(workers=1)
    for now, left in [(0, 0), (1, 1), (2, 0), (2.5, 3), (3, 0)]:
        assert told(0, ending=ending).over(left=left, now=now) is False
    assert told(0, ending=ending).over(left=0, now=4) is True


def test_the_last_words_name_what_became_of_the_tasks():
    total = Tally()
    for event in (settled(), settled(), settled(), settled("park", "robots"), settled("hold", "outage")):
        total.add(event)
    assert (
        summary(total.outcomes, total.reasons)
        == "4 tasks: 3 done, 1 parked (robots 1); 1 time a task went back to wait for its site or the model server"
    )


def test_the_last_words_say_why_tasks_came_more_than_once():
    assert summary({"done": 3, "retry": 2}, {}) == (
        "3 tasks: 3 done, 0 parked; 2 times one was tried again after its page or the model had failed"
    )
    assert "; 2 times a task went back to wait for its site or the model server; 1 time one was tried again" in summary(
        {"hold": 2, "retry": 1, "handed_back": 5}, {}
    )


def test_a_run_without_a_panel_says_first_what_runs_how_to_watch_and_how_to_stop_it():
    run = {"queue": "sqlite:///q.db", "model_server": "http://m/v1", "limits": "2 in flight"}
    alone = welcome(workers=1, consumers=3, page="", **run).splitlines()
    assert alone[0] == "1 worker with 3 consumers for sqlite:///q.db, asking http://m/v1 with 2 in flight"
    assert "`scraper status`" in alone[1]
    assert "`scraper dashboard`" in alone[1]
    assert "ctrl-c" in alone[2]
    served = welcome(workers=2, consumers=3, page="http://127.0.0.1:8080/", **run)
    assert served.startswith("2 workers with 3 consumers each for")
    assert "http://127.0.0.1:8080/" in served


def test_a_first_ctrl_c_is_answered_with_what_is_in_hand_and_how_to_stop_at_once():
    assert finishing(in_hand=6, drain_seconds=30.0) == (
        "6 tasks in hand: those at the model finish (30 s at most, DRAIN_SECONDS), the others go back; "
        "ctrl-c again stops at once"
    )
    assert "1 task in hand" in finishing(in_hand=1, drain_seconds=30.0)
    assert finishing(in_hand=0, drain_seconds=30.0) == "stopping; ctrl-c again stops at once"


def test_an_interrupted_run_says_what_it_leaves_if_the_broker_knows():
    assert left_behind(38) == "interrupted, 38 left in the queue"
    assert left_behind(None) == "interrupted, the broker does not say what is left"


def test_a_run_ends_with_the_command_that_its_owner_needs_next():
    assert what_now({"done": 3}, queue="sqlite:///x.db") == ""
    assert "scraper dead list" in what_now({"done": 3, "park": 1}, queue="sqlite:///x.db")
    assert "nothing was in the queue sqlite:///x.db" in what_now({}, queue="sqlite:///x.db")
