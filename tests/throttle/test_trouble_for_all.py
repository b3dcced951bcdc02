"""What one process learns of the model server holds for all: real processes with the real client, and a server that fails.

The server says what reached it and when; events are noted by whoever hosts the throttle.
"""

import tempfile
import time
from pathlib import Path

import pytest

from tests.throttle.referee import SOON_SECONDS, referee
from tests.throttle.siege import model_server, now

T = 0.1
LIMIT = 2
ON_THE_WAY = LIMIT - 1
"""So many others have a slot when one of those in flight brings news; they may start however late."""


@pytest.fixture
def besieged(request):
    """A server, and a referee of processes that ask it; parameters are options of the server's command."""
    with (
        tempfile.TemporaryDirectory() as folder,
        model_server(*getattr(request, "param", ()), time_scale=2) as server,
        referee(Path(folder), program="tests.throttle.attacked", endpoint=server.base_url) as judge,
    ):
        yield server, judge


def start(judge, url, count=3, **options):
    pids = [judge.start(**{"url": url, "callers": 2, "rpm": 60 / T, "limit": LIMIT, **options}) for _ in range(count)]
    judge.wait_for(lambda account: account.count("ready") == count)
    return pids


def wait_until(condition):
    until = now() + SOON_SECONDS
    while not condition():
        assert now() < until, "did not happen"
        time.sleep(0.02)


def ends_of(server, status):
    return sorted(end for _, end, code, _, _ in server.stats()["intervals"] if code == status)


def starts_between(server, begin, end):
    return [moment for moment in server.stats()["starts"] if begin < moment < end]


def noted(judge, name):
    """When whoever hosts the throttle had taken it in."""
    return next(float(line[4]) for line in judge.account().lines if line[0] == "event" and line[2] == name)


def all_wait(judge, *, waiting, in_flight=0):
    """Until that many wait while no more than `in_flight` have a slot; what holds them back."""

    def all_do():
        status = judge.status()
        return (status["waiting"], status["in_flight"]) == (waiting, in_flight)

    wait_until(all_do)
    return judge.status()["blocked_by"]


def test_a_retry_after_that_one_process_was_told_holds_all(besieged):
    server, judge = besieged
    start(judge, server.base_url)
    wait_until(lambda: len(server.stats()["starts"]) > 5)
    server.order(faults="429=1x:2")
    judge.wait_for(lambda account: account.count("endpoint_paused"))
    [told] = ends_of(server, 429)
    wait_until(lambda: starts_between(server, told + 2, now()))
    assert len(starts_between(server, noted(judge, "endpoint_paused"), told + 2)) <= ON_THE_WAY
    assert judge.account().count("endpoint_paused") == 1
    assert judge.account().count("raised") == 0


def test_five_failures_anywhere_open_the_circuit_for_all_and_one_probe_closes_it(besieged):
    server, judge = besieged
    start(judge, server.base_url, open_seconds=2, limit=1)  # with two, a good answer may be told between the failures
    wait_until(lambda: len(server.stats()["starts"]) > 5)
    server.order(faults="500=5x")
    judge.wait_for(lambda account: account.count("circuit_breaker_closed"))
    *_, fifth = ends_of(server, 500)
    assert len(ends_of(server, 500)) == 5
    assert starts_between(server, fifth, fifth + 2) == []
    intervals = sorted(interval for interval in server.stats()["intervals"] if interval[0] > fifth + 2)
    probe, *others = intervals
    assert all(other[0] > probe[1] for other in others), "somebody started beside the probe"
    said = [line[2] for line in judge.account().lines if line[0] == "event" and line[2].startswith("circuit")]
    assert said == ["circuit_breaker_opened", "circuit_breaker_half_open", "circuit_breaker_closed"]
    assert judge.account().count("raised") == 0


def test_when_the_process_of_the_only_probe_is_killed_the_next_one_probes(besieged):
    server, judge = besieged
    start(judge, server.base_url, open_seconds=2, limit=1, attempt=1000)
    wait_until(lambda: len(server.stats()["starts"]) > 5)
    server.order(faults="500=5x,hang=1x")
    judge.wait_for(lambda account: account.count("circuit_breaker_half_open"))
    wait_until(lambda: server.stats()["in_flight"] == 1)
    [began] = starts_between(server, ends_of(server, 500)[-1] + 2, now())
    assert all_wait(judge, waiting=5, in_flight=1) == "circuit"
    assert starts_between(server, began, now()) == []  # all wait for this one
    last = [line for line in judge.account().lines if line[0] == "event" and line[2] == "llm_request"][-1]
    judge.kill(int(last[1]))
    judge.wait_for(lambda account: account.count("circuit_breaker_closed"))
    assert judge.account().count("circuit_breaker_opened") == 1
    assert judge.account().count("circuit_breaker_half_open") == 1


@pytest.mark.parametrize(
    ("besieged", "path", "options"),
    [
        (("--api-key", "right"), "", {"key": "wrong"}),
        ((), "", {"model": "another"}),
        ((), "/elsewhere", {}),
    ],
    ids=["key", "model", "url"],
    indirect=["besieged"],
)
def test_a_wrong_setting_holds_everybody_and_fails_nobody(besieged, path, options):
    server, judge = besieged
    start(judge, server.base_url + path, count=2, callers=5, **options)
    judge.wait_for(lambda account: account.count("endpoint_misconfigured"))
    assert all_wait(judge, waiting=10) == "server_pause"
    account = judge.account()
    assert account.count("llm_request") <= LIMIT  # those in flight together when it was found out
    assert account.count("raised") == 0  # no task would be parked, or have spent an attempt
    assert account.count("endpoint_misconfigured") == 1
    assert set(judge.end()) == {0}
