"""`scraper throttle …` as its owner uses it: real processes share an endpoint, and the command changes what they may."""

import json
import signal
import time
from contextlib import contextmanager

import pytest

from tests.service import Service
from tests.throttle.referee import SOON_SECONDS, referee
from tests.throttle.sharer import ENDPOINT
from tests.throttle.siege import model_server, now

FAST = 1200
SLOW = 1  # a start in a minute: none while a test looks
CALLERS = 12


@pytest.fixture
def judge(tmp_path):
    with referee(tmp_path) as judge:
        yield judge


@pytest.fixture
def throttle(tmp_path, judge):
    service = Service(tmp_path, VLLM_BASE_URL=ENDPOINT, RUN_DIR=judge.run_dir)

    def run(*arguments, code=0):
        ended = service("throttle", *arguments)
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended

    return run


@pytest.fixture
def busy(judge):
    """Two processes that call as fast as they may."""
    for _ in range(2):
        judge.start(limit=3, rpm=FAST, callers=CALLERS // 2, work=0.2)
    judge.wait_for(lambda account: account.starts > 10 and started(account) == set(map(str, judge.processes)))
    return judge


def started(account):
    """Which processes have had a turn so far."""
    return {line[1] for line in account.lines if line[0] == "start"}


def state(throttle):
    return json.loads(throttle("show", "--json").stdout)


def goes_on(judge):
    before = judge.account().starts
    judge.wait_for(lambda account: account.starts > before + 3)


@contextmanager
def standing_still(judge):
    """From when all wait for something that lasts, until the block ends, nothing starts."""

    def all_wait(_):
        status = judge.status()
        lasts = max(status["paused_for_s"], status["next_start_in_s"] or 0) > 30
        return status["in_flight"] == 0 and status["waiting"] == CALLERS and lasts

    judge.wait_for(all_wait)
    judge.log.note("still")
    yield
    judge.log.note("over")
    assert starts_between(judge.account(), "still", "over") == 0


def starts_between(account, begin, end):
    """By the order of what all processes noted."""
    words = [line[0] for line in account.lines]
    return words[words.index(begin) : words.index(end)].count("start")


def company_of_those_granted_after(account, moment):
    """For each start that was granted after `moment`, how many others ran when it began."""
    running, company = set(), []
    for what, _, *fields in account.lines:
        if what == "start":
            if int(fields[1]) > moment:
                company.append(len(running))
            running.add(fields[0])
        elif what == "end":
            running.discard(fields[0])
    return company


def test_lowering_the_pace_holds_the_head_back_at_once_and_raising_it_wakes_it(busy, throttle):
    throttle("set", "--requests-per-minute", SLOW)
    with standing_still(busy):
        assert "set by command" in throttle("show").stdout
    throttle("set", "--requests-per-minute", FAST)
    goes_on(busy)
    throttle("reset")
    assert state(throttle)["set_by_command"] == {"max_concurrent": None, "requests_per_minute": None}
    assert busy.account().smallest_gap() >= 60 / FAST * 1e9


def test_lowering_the_slots_revokes_nothing_and_lets_nobody_in_until_it_fits(busy, throttle):
    throttle("set", "--max-concurrent", 1)
    lowered = time.monotonic_ns()
    goes_on(busy)
    busy.wait_for(lambda account: len(company_of_those_granted_after(account, lowered)) > 3)
    account = busy.account()
    assert set(company_of_those_granted_after(account, lowered)) == {0}
    assert account.count("lost") == 0
    assert state(throttle)["in_flight"] <= 1
    throttle("reset")
    busy.wait_for(lambda account: account.in_flight > 1)


def test_a_pause_lasts_until_it_is_ended(busy, throttle):
    said = throttle("pause").stdout
    assert "until scraper throttle resume" in said
    with standing_still(busy):
        assert "PAUSED, until scraper throttle resume: an operator's order" in throttle("show").stdout
    throttle("resume")
    goes_on(busy)


def test_an_open_circuit_counts_down_and_can_be_closed(busy, throttle):
    throttle("pause")  # the circuit of these processes opens for half a second only
    opened = json.loads(throttle("open", "--json").stdout)["circuit"]
    assert opened["state"] == "open"
    assert 0 < opened["retry_in_s"] <= opened["timeout_s"]
    assert "OPEN: an operator's order; one request tries in" in throttle("open").stdout
    assert "closed" in throttle("close").stdout
    throttle("resume")
    goes_on(busy)


def test_it_shows_the_host_and_every_process_with_what_it_brings(busy, throttle):
    shown = throttle().stdout
    assert f"process {busy.host()}" in shown
    for pid in busy.processes:
        assert any(
            line.split()[:1] == [str(pid)] and "3 in flight, 1200 a minute" in line for line in shown.splitlines()
        )


def test_a_key_that_is_refused_at_first_contact_is_named(tmp_path):
    with model_server("--api-key", "right") as server:
        service = Service(tmp_path, VLLM_BASE_URL=server.base_url, VLLM_API_KEY="wrong", WORKERS=1, DRAIN_SECONDS=1)
        (tmp_path / "tasks.jsonl").write_text(
            '{"text": "A kettle for 3 EUR", "schema": {"type": "object", "properties": {"name": {"type": "string"}}}}'
        )
        assert service("submit", "tasks.jsonl").returncode == 0
        with service.running() as process:
            until = now() + SOON_SECONDS
            while "VLLM_API_KEY: " not in (shown := service("throttle").stdout):
                assert now() < until, shown
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=SOON_SECONDS)
    assert "A SETTING IS WRONG for process " in shown


def test_where_no_process_runs_it_says_what_to_start(throttle):
    for order in (["show"], ["set", "--max-concurrent", "1"], ["pause"]):
        refused = throttle(*order, code=1).stderr
        assert "no process throttles http://localhost:8000/v1" in refused
        assert "python -m scraper.main" in refused


def test_a_host_that_does_not_answer_is_named(busy, throttle):
    host = busy.host()
    with busy.stopped(host):
        assert f"process {host} hosts the throttle but does not answer" in throttle("show", code=1).stderr


@pytest.mark.parametrize(
    "order", [["set"], ["set", "--max-concurrent", "0"], ["set", "--requests-per-minute", "nan"], ["faster"]]
)
def test_an_order_that_makes_no_sense_is_wrong_usage(throttle, order):
    assert throttle(*order, code=2).stderr
