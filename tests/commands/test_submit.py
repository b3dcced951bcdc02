"""`submit` as its owner types it, over a real embedded queue."""

import json
import os
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress

import pytest
from click.testing import CliRunner

from scraper.commands import reaching
from scraper.main import main
from tests.service import Service


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'scraper.db'}")


def submitted(tmp_path, text, *options, name="urls.txt"):
    (tmp_path / name).write_text(text)
    return CliRunner().invoke(main, ["submit", *options, name])


def test_addresses_that_can_never_be_fetched_are_refused_with_their_line(tmp_path):
    said = submitted(tmp_path, "http://\nhttps://a.com/1\nftp://a.com/x\n", "--schema", "product")
    assert said.exit_code == 1
    assert said.output.splitlines() == [
        "urls.txt line 1: the address names no valid host",
        "urls.txt line 3: only http: and https: addresses are fetched, this one has ftp:",
        "1 queued, 0 skipped (done or waiting already), 2 refused",
    ]


def test_a_mistake_of_many_lines_on_end_is_said_once_with_where_it_ends(tmp_path):
    text = "https://a.com/1\nhttps://a.com/2\nhttps://a.com/3\n\nhttps://a.com/4\n{}\n"
    assert submitted(tmp_path, text).output.splitlines() == [
        "urls.txt line 1: no schema: name one with --schema, or give the task its own",
        "urls.txt lines 2 to 3: the same",
        "urls.txt line 5: no schema: name one with --schema, or give the task its own",
        "urls.txt line 6: the same",
        "0 queued, 0 skipped (done or waiting already), 5 refused",
    ]


def test_a_table_is_refused_with_what_is_read_instead(tmp_path):
    said = submitted(tmp_path, "id,url\n1,https://a.com/1\n", "--schema", "product", name="shop.CSV")
    assert said.exit_code == 1
    assert said.output == (
        "Error: shop.CSV: tables are not read; give a list with one URL a line and nothing else, or a .jsonl file with "
        "one task a line\n"
    )


def test_with_the_broker_away_it_gives_up_and_names_the_setting_and_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 0.3)
    monkeypatch.setenv("BROKER_URL", "amqp://me:hunter2@127.0.0.1:9/")
    said = submitted(tmp_path, "https://a.com/1\n", "--schema", "product")
    assert said.exit_code == 1
    assert "BROKER_URL: amqp://***@127.0.0.1:9/ cannot be reached within 0.3 s" in said.output
    assert "Start it, or correct BROKER_URL" in said.output
    assert "hunter2" not in said.output


def test_a_time_that_no_clock_reckons_with_is_wrong_usage(tmp_path):
    said = submitted(tmp_path, "https://a.com/1\n", "--schema", "product", "--expires-at", "0001-01-01T00:00:00")
    assert said.exit_code == 2
    assert "--expires-at: beyond the years" in said.output


def test_a_file_that_cannot_be_read_is_refused_and_the_others_are_queued(tmp_path):
    (tmp_path / "more.txt").write_text("https://a.com/1\n")
    said = CliRunner().invoke(main, ["submit", "--schema", "product", "/proc/self/mem", "more.txt"])
    assert said.exit_code == 1
    assert said.output.splitlines() == [
        "/proc/self/mem line 1: cannot be read (Input/output error)",
        "1 queued, 0 skipped (done or waiting already), 1 refused",
    ]


@pytest.mark.parametrize("source", ["saved", "saved/\x1b]0;hacked\x07.html", "no\x1b[2J.html"])
def test_a_terminal_is_not_steered_by_the_name_of_a_file(tmp_path, source):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "\x1b]0;hacked\x07.html").write_text(" ")
    said = CliRunner().invoke(main, ["submit", "--schema", "product", source], color=True)
    assert said.exit_code == 1
    assert "\\x1b" in said.output
    assert "\x1b" not in said.output


def test_another_task_under_a_used_id_is_refused_with_both_lines(tmp_path):
    text = '{"url": "https://a.com/1", "task_id": "row-1"}\n# the same id\n{"url": "https://a.com/2", "task_id": "row-1"}\n'
    said = submitted(tmp_path, text, "--schema", "product", name="tasks.jsonl")
    assert said.exit_code == 1
    assert said.output.splitlines() == [
        "tasks.jsonl line 3: task_id 'row-1' is that of another task, tasks.jsonl line 1",
        "1 queued, 0 skipped (done or waiting already), 1 refused",
    ]
    alone = submitted(tmp_path, text.splitlines()[2], "--schema", "product", name="later.jsonl")
    assert alone.exit_code == 1
    assert alone.output.startswith(
        "later.jsonl line 1: task_id 'row-1' is that of another task, which is done or waiting"
    )


@pytest.mark.parametrize("ending", ["the store is back", "ctrl-c"])
def test_a_wait_is_said_once_with_how_it_ends_and_ctrl_c_says_how_far_it_came(tmp_path, ending):
    tasks = [json.dumps({"url": f"https://a.com/{number}"}) for number in range(3)]
    (tmp_path / "first.jsonl").write_text("\n".join(tasks[:2]))
    service = Service(tmp_path, RESULTS_URL=f"sqlite:///{tmp_path / 'results.db'}")
    assert service("submit", "--schema", "product", "first.jsonl").returncode == 0
    os.mkfifo(tmp_path / "all.jsonl")
    with service.running("submit", "--schema", "product", "all.jsonl") as run, closing(other(tmp_path)) as held:
        assert run.stderr is not None
        with opened(tmp_path / "all.jsonl", run) as pipe:  # by both: it has begun
            held.execute("BEGIN IMMEDIATE")
            pipe.write("\n".join(tasks))
        said = [run.stderr.readline()]
        if ending == "ctrl-c":
            run.send_signal(signal.SIGINT)
        else:
            held.execute("ROLLBACK")
        said += run.stderr.read().splitlines()
        code = run.wait()
    assert said[0].startswith("waiting for the results store: database ")
    assert "it goes on by itself as soon as that is better, and ctrl-c ends it" in said[0]
    if ending == "ctrl-c":
        assert re.fullmatch(
            r"0 queued, [0-2] skipped .*, 0 refused; interrupted: submit the same once more, without --again, and what "
            r"is in is skipped",
            said[-1],
        )
        assert code == 130
    else:
        assert said[1].startswith("the results store is back after ")
        assert said[2:] == ["1 queued, 2 skipped (done or waiting already), 0 refused"]
        assert code == 0


def opened(fifo, reader):
    """For writing, once `reader` has opened it."""
    while reader.poll() is None:
        with suppress(OSError):
            return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "w")
        time.sleep(0.01)
    raise AssertionError(reader.stderr.read())


def other(tmp_path):
    """Another program that has the results open."""
    return sqlite3.connect(tmp_path / "results.db", isolation_level=None)
