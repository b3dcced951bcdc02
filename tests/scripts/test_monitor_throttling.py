"""The monitor as it is used: a process of its own at the end of a pipe, on a terminal, beside real workers."""

# ruff: noqa: F401, F811 - fixtures are imported, and asked for by their names

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.observability.test_monitor import log
from tests.service import Service
from tests.store.results import query
from tests.test_whole_path import ended, model, site, submit, until

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "monitor_throttling.py"
MONITOR = [sys.executable, str(SCRIPT)]
HANGS_SECONDS = 300


def monitored(text, *arguments, **options):
    return subprocess.run(
        [*MONITOR, *arguments], input=text, capture_output=True, check=True, timeout=HANGS_SECONDS, **options
    )


def test_in_a_pipe_it_says_one_line_every_ten_requests_and_passes_other_lines_through():
    said = monitored(b"not a log line\n" + log(25) + b"Traceback\n").stdout.decode().splitlines()
    assert said[0] == "not a log line"
    assert [line.partition(" · ")[0] for line in said[1:3]] == ["9 done, 0 parked", "19 done, 0 parked"]
    assert said[3] == "Traceback"
    assert said[4].startswith("25 done, 0 parked")
    assert (
        "limited by VLLM_REQUESTS_PER_MINUTE=20: tasks wait 70% of their time for it; 2 slots at 3.0 s a request "
        "would allow about 40 a minute" in said[4]
    )
    assert said[5] == "25 tasks: 25 done, 0 parked"
    assert len(said) == 6


def test_what_the_workers_said_of_their_run_it_does_not_say_again():
    said = monitored(log(25) + b"25 tasks: 25 done, 0 parked\n").stdout.decode().splitlines()
    assert said[2] == "25 tasks: 25 done, 0 parked"
    assert len(said) == 3


def test_snapshots_are_json_and_other_lines_go_to_stderr():
    said = monitored(b"other\n" + log(25), "--json")
    last = json.loads(said.stdout.splitlines()[-1])
    assert (last["outcomes"]["done"], last["throttle"]["limit"], last["change"]) == (25, 2, "VLLM_REQUESTS_PER_MINUTE")
    assert said.stderr == b"other\n"


def test_a_line_with_numbers_that_are_none_stops_nothing():
    broken = log(1).replace(b'"seconds": ', b'"seconds": NaN, "x": ')
    assert b"NaN" in broken
    assert b"25 tasks: 25 done" in monitored(log(24) + broken).stdout


def test_a_file_is_read_to_its_end_when_asked(tmp_path):
    (tmp_path / "x.log").write_bytes(log(3))
    assert b"3 tasks: 3 done" in monitored(b"", "--file", str(tmp_path / "x.log"), "--no-follow").stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--attach", "--file", "x"], "choose one"),
        (["--no-follow"], "--file"),
        (["--file", "/nowhere/x", "--no-follow"], "no such file"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments, word):
    said = subprocess.run(
        [*MONITOR, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_SECONDS,
    )
    assert said.returncode != 0
    assert word in said.stderr
    assert "Traceback" not in said.stderr


def until_interrupted(*arguments, **options):
    """The first snapshot of a monitor that is then told to stop."""
    with subprocess.Popen([*MONITOR, *arguments, "--json"], stdout=subprocess.PIPE, **options) as monitor:
        try:
            return json.loads(monitor.stdout.readline())
        finally:
            monitor.kill()


def test_where_nobody_works_it_says_so(service, tmp_path):
    attached = until_interrupted("--attach", env=service.environment, cwd=service.folder)
    assert "no worker runs on this host" in attached["limited_by"]
    missing = until_interrupted("--file", str(tmp_path / "nosuch.log"))
    assert missing["limited_by"] == f"nothing: {tmp_path}/nosuch.log is not there yet"
    assert b"limited by nothing: no worker has said anything yet" in monitored(b"").stdout


def test_it_goes_on_reading_while_nobody_reads_what_it_says():
    """Forty times what a pipe holds of lines to pass on: whoever writes them is never stopped."""
    with subprocess.Popen(MONITOR, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as monitor:
        for _ in range(40):
            monitor.stdin.write(b"other line\n" * 6000)
        monitor.stdin.write(log(25))
        monitor.stdin.close()
        said = monitor.stdout.read()
    assert said.endswith(b"25 tasks: 25 done, 0 parked\n")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_full_disk_is_one_line(arguments):
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*MONITOR, *arguments],
            input=log(3),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=HANGS_SECONDS,
        )
    assert ran.returncode == 1
    assert ran.stderr == b"Error: standard output: cannot be written (No space left on device)\n"


def test_a_log_that_cannot_be_read_is_named(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    ran = subprocess.run([*MONITOR, "--file", loop], capture_output=True, check=False, text=True, timeout=HANGS_SECONDS)
    assert ran.returncode == 1
    assert ran.stderr == f"Error: {loop}: Too many levels of symbolic links\n"


def test_a_reader_of_it_that_goes_ends_it_quietly():
    with subprocess.Popen(MONITOR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as monitor:
        monitor.stdout.close()
        monitor.stdin.write(log(25))
        monitor.stdin.flush()
        assert monitor.wait(HANGS_SECONDS) == 0
        assert monitor.stderr.read() == b""


class Terminal:
    """The monitor on a terminal of its own; `shown` is all that was ever written to it."""

    def __init__(self, *, columns=100, **environment):
        self._master, slave = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            MONITOR,
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40", **environment},
        )
        os.close(slave)

    def until(self, text):
        deadline = time.monotonic() + HANGS_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            try:
                self.shown += os.read(self._master, 1 << 16).decode(errors="replace")
            except OSError:  # the other end is closed
                break
        assert text in self.shown, self.shown

    def close(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal():
    opened = []

    def open_(**options):
        opened.append(Terminal(**options))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_on_a_terminal_it_shows_a_live_panel_and_leaves_it_clean(terminal):
    shown = terminal()
    shown.process.stdin.write(b"passed on\n" + log(25))
    shown.process.stdin.flush()
    shown.until("limited by")
    shown.until("passed on")
    shown.process.send_signal(signal.SIGINT)
    shown.until("ctrl-c again leaves at once")
    shown.process.stdin.close()
    shown.until("25 tasks: 25 done, 0 parked")
    assert shown.process.wait(HANGS_SECONDS) == 0
    assert shown.shown.count(HIDE) == shown.shown.count(SHOW) > 0


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_asked_twice_or_told_to_it_leaves_at_once_with_its_last_words(terminal, signals):
    shown = terminal()
    shown.process.stdin.write(log(5))
    shown.process.stdin.flush()
    shown.until("limited by")
    for each in signals:
        shown.process.send_signal(each)
        if len(signals) > 1:
            shown.until("ctrl-c again")
    shown.until("5 tasks: 5 done, 0 parked")
    assert shown.process.wait(HANGS_SECONDS) == 0
    assert shown.shown.count(HIDE) == shown.shown.count(SHOW)


def test_without_colours_there_are_none(terminal):
    shown = terminal(NO_COLOR="1")
    shown.process.stdin.write(log(5))
    shown.process.stdin.close()
    shown.until("5 tasks: 5 done")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown.shown)


@pytest.fixture
def service(tmp_path, model):
    return Service(
        tmp_path,
        VLLM_BASE_URL=model.base_url,
        VLLM_REQUESTS_PER_MINUTE=600,
        ALLOW_PRIVATE_ADDRESSES="on",
        FETCH_DELAY=0,
        WORKERS=2,
    )


def attached(service, *, until):
    """Snapshots of an attached monitor until one is as wanted; then what it says when it is interrupted."""
    monitor = subprocess.Popen(
        [*MONITOR, "--attach", "--json"], env=service.environment, cwd=service.folder, stdout=subprocess.PIPE
    )
    with monitor:
        try:
            while not until(view := json.loads(monitor.stdout.readline())):
                pass
            monitor.send_signal(signal.SIGINT)
            return view, json.loads(monitor.stdout.read().splitlines()[-1])
        finally:
            monitor.kill()


async def test_it_attaches_to_workers_that_run(service, site, model):
    model.freeze()
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 9)])
    with service.running() as process:
        async for _ in until(process, "llm_request", "llm_request"):
            pass
        view, _ = await asyncio.to_thread(
            attached,
            service,
            until=lambda view: (
                view["queue"] == {"ready": 2, "waiting": 0, "in_hand": 6}
                and view["in_hand"] == 6
                and view["throttle"]["in_flight"] == 2
            ),
        )
        assert view["workers"] == 2
        assert view["throttle"]["limit"] == 2
        model.thaw()
        _, last = await asyncio.to_thread(attached, service, until=lambda view: view["outcomes"].get("done") == 8)
        assert last["outcomes"] == {"done": 8}
        process.send_signal(signal.SIGTERM)
        code, said = await ended(process)
    assert code == 0, said


def run_beside_a_monitor_that_fails(service):
    """Stopped, its pipe fills and lines are left out; killed, it is closed. The exit code of the run."""
    run = subprocess.Popen(
        [sys.executable, "-m", "scraper.main", "--until-empty"],
        env=service.environment,
        cwd=service.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with run, subprocess.Popen(MONITOR, stdin=run.stderr, stdout=subprocess.PIPE) as monitor:
        try:
            run.stderr.close()
            assert monitor.stdout.readline()
            monitor.send_signal(signal.SIGSTOP)
            while done_so_far(service) < 25:
                assert run.poll() is None or done_so_far(service) >= 25
                time.sleep(0.02)
            monitor.kill()
            return run.wait(HANGS_SECONDS)
        finally:
            run.kill()
            monitor.kill()


def done_so_far(service):
    [(count,)] = query(service.folder / "scraper.db", "SELECT count(*) FROM results_rows")
    return count


async def test_workers_survive_a_monitor_that_stops_reading_and_one_that_goes(service, site):
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 41)])
    service.environment["LOG_LEVEL"] = "debug"
    assert await asyncio.to_thread(run_beside_a_monitor_that_fails, service) == 0
    assert [row["status"] for row in await asyncio.to_thread(service.results)] == ["done"] * 40
