import io
import json
import logging

import pytest

from scraper.events import CircuitOpened, LlmRequest, TaskReceived, current_task
from scraper.observability.logs import log_events


@pytest.fixture
def stream():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_in_a_pipe_each_event_is_one_line_of_json(stream):
    log_events(stream=stream)(CircuitOpened(generation=1, failures=5, retry_in_s=60.0))
    [line] = lines(stream)
    assert (line["event"], line["level"], line["failures"], line["retry_in_s"]) == (
        "circuit_breaker_opened",
        "error",
        5,
        60.0,
    )
    assert {"timestamp", "pid"} <= line.keys()


def test_lines_of_a_component_that_knows_no_task_name_it_all_the_same(stream):
    observe = log_events(stream=stream)
    token = current_task.set("t-1")
    observe(LlmRequest(1, 1024, 5000))
    current_task.reset(token)
    assert lines(stream)[0]["task_id"] == "t-1"


def test_the_level_drops_what_is_quieter(stream):
    observe = log_events(level="warning", stream=stream)
    observe(TaskReceived("t", 1, 0))
    observe(CircuitOpened(1, 5, 60.0))
    assert [line["event"] for line in lines(stream)] == ["circuit_breaker_opened"]


def test_pretty_lines_are_for_people(stream):
    log_events(style="pretty", stream=stream)(CircuitOpened(1, 5, 60.0))
    assert "circuit_breaker_opened" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_librarys_warning_comes_along_without_credentials(stream):
    log_events(stream=stream)
    logging.getLogger("some.library").warning("lost amqp://me:hunter2@host/ \nsecond line")
    assert lines(stream)[0]["message"] == "lost amqp://***@host/ "


def test_a_closed_pipe_silences_the_log_and_nothing_else(stream):
    observe = log_events(stream=stream)
    stream.close()
    observe(CircuitOpened(1, 5, 60.0))
    observe(CircuitOpened(2, 5, 60.0))
