import pytest

from scraper.events import Back, CircuitOpened, EndpointMisconfigured, WaitingFor
from scraper.observability.health import missing
from scraper.observability.picture import Picture
from scraper.observability.view import Queue
from tests.observability.facts import STARTED, received, request
from tests.observability.test_picture import NOW, heard, tally


def running(*events, in_hand=0):
    picture = Picture()
    picture.worker_says(0, tally(STARTED, *events, in_hand=in_hand), at=NOW)
    return picture


def absent(picture, at=NOW):
    return missing(picture.view(at))


def test_workers_that_have_everything_are_ready():
    assert absent(running(request())) == {}


def test_without_a_worker_nothing_is():
    assert absent(Picture()) == {"workers": "none is running"}


@pytest.mark.parametrize(("what", "name"), [("broker", "broker"), ("store", "store"), ("model server", "model_server")])
def test_a_dependency_that_is_away_is_named_with_its_reason(what, name):
    assert absent(running(WaitingFor(what, "connection refused", 0.0))) == {name: "connection refused"}
    assert absent(running(WaitingFor(what, "connection refused", 0.0), Back(what, 1.0))) == {}


def test_a_wrong_setting_and_an_open_circuit_are_a_missing_model_server():
    assert "VLLM_API_KEY" in absent(running(EndpointMisconfigured(401, "VLLM_API_KEY", "set it", 30.0)))["model_server"]
    assert absent(heard(STARTED, CircuitOpened(1, 5, 60.0)), NOW + 20) == {
        "model_server": "the circuit is open; next try in 40 s"
    }


def looked_at(picture, seconds, *, ready=5, in_hand=0, events=()):
    """The queue is looked at every five seconds while the worker tells the same."""
    for second in range(0, seconds + 1, 5):
        picture.worker_says(0, tally(STARTED, *events, in_hand=in_hand), at=NOW + second)
        picture.queue_says(Queue(ready, 0, in_hand), at=NOW + second)
    return absent(picture, NOW + seconds)


def test_a_consumer_that_receives_nothing_although_messages_wait_is_not_ready():
    assert looked_at(running(), 25) == {}
    assert looked_at(running(), 30) == {
        "consumers": "5 tasks are ready and consumers are idle, but none was received for 30 s"
    }


def test_busy_consumers_and_an_empty_queue_are_no_trouble():
    assert looked_at(running(), 120, in_hand=3) == {}
    assert looked_at(running(), 120, ready=0) == {}


def test_whoever_receives_something_is_not_stuck():
    picture = running()
    for second in range(0, 121, 5):
        picture.worker_says(0, tally(STARTED, *[received()] * (1 + second // 20), in_hand=1), at=NOW + second)
        picture.queue_says(Queue(5, 0, 1), at=NOW + second)
    assert absent(picture, NOW + 120) == {}
