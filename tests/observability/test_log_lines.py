import dataclasses
import json

import pytest

from scraper import events
from scraper.observability.log_lines import heard
from tests.observability.facts import answer, line, received, settled


@pytest.mark.parametrize(
    "event", [received(), answer(), settled("park", "robots", fetch=1.5)], ids=lambda each: each.name
)
def test_a_line_tells_the_event_it_was_made_of(event):
    said = heard(line(event, at=1_700_000_000.25, pid=7, task_id="t"))
    assert (said.event, said.at, said.pid, said.task_id) == (event, 1_700_000_000.25, 7, "t")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        "{",
        "[1]",
        '{"no": "event"}',
        '{"event": 7}',
        "{" * 100_000,
        "null",
        "\x00\xff",
    ],
)
def test_other_lines_are_nothing_of_ours(text):
    assert heard(text) is None


def test_an_event_of_another_version_is_a_line_of_ours_without_an_event():
    said = heard('{"event": "something_new", "level": "warning", "pid": 3}')
    assert (said.event, said.name, said.level, said.at) == (None, "something_new", "warning", None)


@pytest.mark.parametrize("seconds", [600.0, None])
def test_a_pause_is_heard_whether_it_ends_or_not(seconds):
    said = events.EndpointPaused(seconds, "an operator's order")
    assert heard(line(said, at=0)).event == said


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1e300", "1" + "0" * 400])
def test_numbers_that_cannot_be_added_up_tell_no_event(number):
    for event, name in ((answer(), "seconds"), (settled(), "calls"), (settled(), "timings")):
        fields = json.loads(line(event, at=0))
        value = f'{{"fetch": {number}}}' if name == "timings" else number
        text = json.dumps({**fields, name: "HERE"}).replace('"HERE"', value)
        assert heard(text).event is None


def test_fields_of_the_wrong_kind_tell_no_event():
    fields = json.loads(line(settled(fetch=1.0), at=0))
    for name in (field.name for field in dataclasses.fields(events.TaskSettled)):
        assert heard(json.dumps({**fields, name: [1]})).event is None
        assert heard(json.dumps({each: value for each, value in fields.items() if each != name})).event is None
    assert heard(json.dumps({**fields, "timings": {"fetch": "long"}})).event is None
    assert heard(json.dumps({**fields, "pid": "x", "timestamp": "yesterday"})).at is None
