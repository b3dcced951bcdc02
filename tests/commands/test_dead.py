"""The workbench as its owner types it, over a real results store and a real embedded queue."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from scraper.commands.dead import COMMANDS
from scraper.commands.dead.list import NARROW, row
from scraper.main import main
from scraper.models import Failure, Page, ParkReason, Remains
from scraper.store.sqlite import SqliteStore
from tests.store.results import done, parked

HOSTILE = "\x1b[2J\x9b31m\u202e"
BODY = {
    "url": "https://me:hunter2@shop.example/1",
    "schema": {"title": "Product", "type": "object"},
    "instructions": HOSTILE,
}


def body(task_id):
    return json.dumps(BODY | {"task_id": task_id}).encode()


PAGE = f"<html><body><p>Kettle 49.00 {HOSTILE}</p></body></html>"
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'scraper.db'}")


def put(*rows):
    async def save():
        async with SqliteStore("scraper.db") as store:
            for result, remains in rows:
                await store.save(result, remains)

    asyncio.run(save())


@pytest.fixture
def shelf():
    """Three parked tasks of two reasons, and a done one."""
    invalid = {"reason": ParkReason.SCHEMA_INVALID, "error": f"no price {HOSTILE}", "url": "https://shop.example/1"}
    trail = (Failure(1, "HTTP 502", NOW),)
    put(
        (parked("one", **invalid, finished_at=NOW - timedelta(days=3), timings={"fetch": 0.5}, attempts=2),
         Remains(body("one"), Page("https://shop.example/1", PAGE), f'{{"price": {HOSTILE}', trail)),
        (parked("two", url="https://b.example/", finished_at=NOW), Remains(body("two"))),
        (parked("body-1", ParkReason.BAD_TASK, error="not JSON", finished_at=NOW), Remains(b"\xff{")),
        (done("four"), None),
    )  # fmt: skip


def said(*arguments, code=0, stdin=None):
    result = CliRunner().invoke(main, ["dead", *arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result


def harmless(text):
    return not any(character in text for character in "\x1b\x9b\u202e")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example(command):
    assert "Example" in said(command, "--help").output


# ---- list


def test_a_page_that_came_as_a_file_is_listed_by_its_name():
    put((parked("three", metadata={"file": f"saved/kettle{HOSTILE}.html"}), Remains(body("three"))))
    listed = said("list").output
    assert "saved/kettle" in listed
    assert harmless(listed)


def test_list_counts_by_reason_first_and_then_names_the_latest_first(shelf):
    lines = said("list").stdout.splitlines()
    assert sorted(line.split() for line in lines[:3]) == [
        ["1", "bad_task"],
        ["1", "page_gone"],
        ["1", "schema_invalid"],
    ]
    assert lines[3].split() == ["3", "parked"]
    assert [line.split()[2] for line in lines[-3:]] == ["body-1", "two", "one"]
    assert "3d" in lines[-1]


def test_list_shows_no_control_characters_of_pages(shelf):
    assert harmless(said("list").stdout)
    assert "no price \\x1b[2J" in said("list").stdout


def test_list_is_narrowed_and_shows_no_more_than_asked(shelf):
    assert said("list", "--host", "*.example", "--older-than", "1d").stdout.splitlines()[-1].split()[2] == "one"
    short = said("list", "--limit", "1")
    assert "… and 2 more" in short.stderr
    assert "schema_invalid" in short.stdout
    assert "one" not in short.stdout.split()


def test_list_for_programs_is_one_object(shelf):
    listed = json.loads(said("list", "--json").stdout)
    assert listed["counts"] == {"page_gone": 1, "bad_task": 1, "schema_invalid": 1}
    assert [task["task_id"] for task in listed["tasks"]] == ["body-1", "two", "one"]
    assert (listed["waiting_again"], listed["not_shown"]) == (0, 0)
    narrowed = json.loads(said("list", "--json", "--reason", "robots").stdout)
    assert narrowed == {"counts": {}, "waiting_again": 0, "tasks": [], "not_shown": 0}


def test_a_reason_or_age_that_is_none_is_wrong_usage_and_names_the_right_ones(shelf):
    assert "schema_invalid" in said("list", "--reason", "no_such", code=2).output
    assert "30d" in said("list", "--older-than", "yesterday", code=2).output


# ---- show


def test_show_tells_the_whole_story_without_the_page(shelf):
    shown = said("show", "one").stdout
    for part in ("schema_invalid", "attempt 1: HTTP 502", "attempt 2: no price", "fetch", '{"price": ', "Product"):
        assert part in shown
    assert "Kettle" not in shown
    assert "hunter2" not in shown
    assert harmless(shown)


def test_show_gives_page_and_input_on_demand(shelf):
    shown = said("show", "one", "--page").stdout
    assert "<p>Kettle 49.00 \\x1b[2J" in shown
    assert harmless(shown)
    shown = said("show", "one", "--input").stdout
    assert "Kettle 49.00" in shown
    assert "<p>" not in shown
    assert harmless(shown)


def test_show_says_where_nothing_is_stored(shelf):
    assert "page: not stored" in said("show", "two", "--page").stdout
    assert "no JSON object" in said("show", "body-1", "--page", "--input").stdout


def test_show_for_programs_is_ascii_json(shelf):
    story = said("show", "one", "--json", "--page", "--input").stdout
    assert story.isascii()
    told = json.loads(story)
    assert told["task"] == BODY | {"task_id": "one"}
    assert told["page"] == PAGE
    assert [error["attempt"] for error in told["errors"]] == [1, 2]


def test_show_of_what_is_not_parked_says_where_to_look(shelf):
    assert "scraper dead list" in said("show", "four", code=1).output


def test_of_an_id_cut_too_short_it_says_how_much_is_needed(shelf):
    assert "give 8 characters or more" in said("show", "9572413", code=1).output
    assert "give 8 characters or more" in said("drop", "9572413", "--yes", code=1).stderr
    assert "characters" not in said("show", "order-1", code=1).output


def test_a_narrow_terminal_shows_the_error_below_and_cuts_no_pipe_off():
    task = ("4s", "not_html", "f5c81acff428ce997f0058bf7b726b52", "https://shop.example/a", "not a web page but a PDF")
    assert row(*task, width=80) == [
        "  4s  not_html         f5c81acff428ce997f0058bf7b726b52",
        "      https://shop.example/a                    not a web page but a PDF",
    ]
    assert len(row(*task, width=NARROW)) == len(row(*task, width=0)) == 1
    assert len(row(*task[:-1], "e" * 500, width=0)[0]) > 500
    assert max(map(len, row(*task[:-1], "e" * 500, width=80))) == 80


# ---- replay


def test_replay_puts_them_into_the_queue_and_they_wait_then(shelf):
    assert "2 in the queue again" in said("replay", "--reason", "schema_invalid", "--reason", "page_gone").stderr
    listed = json.loads(said("list", "--json").stdout)
    assert (listed["counts"], listed["waiting_again"]) == ({"bad_task": 1}, 2)
    status = CliRunner().invoke(main, ["status", "--json"])
    assert json.loads(status.stdout)["tasks"] == 2


def test_replay_needs_to_be_told_what(shelf):
    assert "--all" in said("replay", code=2).output
    assert "not both" in said("replay", "--all", "one", code=2).output
    assert "3 in the queue again" in said("replay", "--all").stderr


def test_replay_says_why_it_finds_nothing_that_is_parked_so(shelf):
    said("replay", "--reason", "page_gone")
    assert (
        "0 in the queue again, 0 refused: nothing of that kind is parked; 1 parked task waits in the queue again"
        in (said("replay", "--reason", "page_gone").stderr)
    )


def test_replay_says_which_it_could_not_change_or_find(shelf):
    refused = said("replay", "one", "body-1", "nobody", "--set", "instructions=in EUR", code=1)
    assert "body-1: what was queued is no JSON object" in refused.stderr
    assert "1 in the queue again, 1 refused, 1 of the named are not parked" in refused.stderr
    counted = said("replay", "one", "--json", code=1)
    assert json.loads(counted.stdout) == {"replayed": 0, "refused": 0, "not_parked": 1}


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ("url=https://b.example", 2, "schema, instructions"),
        ("schema", 2, "FIELD=VALUE"),
        ("schema=./nowhere.json", 1, "cannot be read"),
        ("schema=no-such-schema", 1, "there is no schema named"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_before_anything_is_queued(shelf, change, code, why):
    assert why in said("replay", "--all", "--set", change, code=code).output
    assert json.loads(said("list", "--json").stdout)["waiting_again"] == 0


# ---- drop


def test_drop_asks_first(shelf):
    asked = said("drop", "--reason", "page_gone", code=1, stdin="n\n")
    assert "Forget 1 parked task for good?" in asked.output
    assert "1 forgotten" in said("drop", "--reason", "page_gone", stdin="y\n").output
    assert "2 forgotten" in said("drop", "--all", "--yes").output
    assert json.loads(said("list", "--json").stdout)["counts"] == {}


def test_drop_says_of_what_waits_again_why_it_is_not_forgotten(shelf):
    said("replay", "--reason", "page_gone")
    assert "0 forgotten: nothing of that kind is parked; 1 parked task waits in the queue again" in (
        said("drop", "--reason", "page_gone", "--yes").stderr
    )


def test_drop_forgets_no_more_than_it_asked_about_however_long_the_answer_took(shelf, monkeypatch):
    def confirm(question, **_):
        assert "Forget 1 parked task" in question
        put((parked("meanwhile", ParkReason.PAGE_GONE, finished_at=datetime.now(UTC)), Remains(body("meanwhile"))))

    monkeypatch.setattr(click, "confirm", confirm)
    assert "1 forgotten" in said("drop", "--reason", "page_gone").output
    assert "meanwhile" in {task["task_id"] for task in json.loads(said("list", "--json").stdout)["tasks"]}


def test_drop_without_anybody_to_ask_changes_nothing(shelf):
    said("drop", "--all", code=1, stdin="")
    assert sum(json.loads(said("list", "--json").stdout)["counts"].values()) == 3


# ---- ids

MADE = ("4f1c0a7e" + "0" * 24, "4f1c0a7f" + "1" * 24, "4f1c0a7f" + "2" * 24)


@pytest.mark.parametrize("command", [("show",), ("replay",), ("drop", "--yes")])
def test_the_beginning_of_an_id_that_was_made_will_do_if_no_other_begins_so(command):
    put(*((parked(task_id), Remains(body(task_id))) for task_id in MADE))
    ambiguous = said(*command, "4f1c0a7f", code=1).output
    assert MADE[1] in ambiguous
    assert MADE[2] in ambiguous
    assert sum(json.loads(said("list", "--json").stdout)["counts"].values()) == 3
    said(*command, "4f1c0a7e")
    left = [task["task_id"] for task in json.loads(said("list", "--json").stdout)["tasks"]]
    assert sorted(left) == sorted(MADE if command == ("show",) else MADE[1:])


@pytest.mark.parametrize("command", [("show",), ("replay",), ("drop", "--yes"), ("drop",)])
@pytest.mark.parametrize("task_id", ["4f1c0a7", "deadbeef", "order-1", "12345678"])
def test_an_id_that_nothing_parked_has_is_said_in_the_same_words_and_changes_nothing(command, task_id):
    put(*((parked(each), Remains(body(each))) for each in (MADE[0], "order-10", "123456789")))
    assert (
        f"no task '{task_id}' is parked; `scraper dead list` shows which are" in said(*command, task_id, code=1).output
    )
    assert sum(json.loads(said("list", "--json").stdout)["counts"].values()) == 3


def test_drop_does_what_it_can_and_says_how_many_it_could_not(shelf):
    assert "1 forgotten, 1 of the named are not parked" in said("drop", "two", "nobody", "--yes", code=1).stderr


# ---- export


def test_export_gives_each_task_with_all_it_left(shelf, tmp_path):
    lines = [json.loads(line) for line in said("export").stdout.splitlines()]
    assert [line["task_id"] for line in lines] == ["one", "two", "body-1"]
    assert lines[0]["task"] == BODY | {"task_id": "one"}
    assert "page" not in lines[0]
    assert (lines[2]["task"], base64.b64decode(lines[2]["body_base64"])) == (None, b"\xff{")
    told = said("export", "--pages", "--reason", "schema_invalid", "-o", "out.jsonl")
    assert "1 parked task in out.jsonl" in told.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["page"] == PAGE


@pytest.mark.parametrize(
    "command", [["list"], ["show", "x"], ["replay", "--all"], ["drop", "--all", "--yes"], ["export"]]
)
def test_a_store_that_is_not_there_is_named(command):
    assert "there is no database" in said(*command, code=1).output
