"""Real processes, killed, stopped, stalled and cancelled: what the endpoint sees stays within its limits.

Times are scaled. Every process notes its attempts in one file, so their order is what happened; how fast the machine
is changes how many attempts there are, never what may be asserted of them.
"""

import asyncio
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scraper.throttle import operations
from scraper.throttle.run_dir import MeetingPlace
from scraper.throttle.shared_limiter import SharedRateLimiter
from tests.throttle.referee import SOON_SECONDS, referee
from tests.throttle.sharer import ENDPOINT

RPM = 1200
T = 60_000_000_000 // RPM
LIMITS = {"limit": 2, "rpm": RPM}


@pytest.fixture
def judge(tmp_path):
    with referee(tmp_path) as judge:
        yield judge


def assert_within_limits(account, *, limit=2, interval=T):
    assert account.most_in_flight <= limit
    assert account.smallest_gap() >= interval


def wait_until(condition):
    until = time.monotonic() + SOON_SECONDS
    while time.monotonic() < until:
        if it := condition():
            return it
        time.sleep(0.02)
    raise AssertionError("did not happen")


def ready(judge, count, **options):
    pids = [judge.start(**LIMITS, **options) for _ in range(count)]
    judge.wait_for(lambda account: account.count("ready") >= count)
    return pids


def test_many_processes_killed_stalled_and_cancelled_never_exceed_the_limits_and_leave_nothing(judge):
    """The coordinator is killed every second, a client every second, one is stopped, loops stall, callers give up."""
    options = {**LIMITS, "callers": 20, "work": 0.08, "patience": 0.5, "stall": 0.06, "stall_every": 1.0}
    draw = random.Random(3)
    for _ in range(5):
        judge.start(**options)
    judge.wait_for(lambda account: account.count("ready") == 5)
    for _ in range(8):
        judge.kill(wait_until(judge.host))
        judge.start(**options)
        time.sleep(0.4)
        judge.kill(draw.choice(list(judge.processes)))
        judge.start(**options)
        with judge.stopped(draw.choice(list(judge.processes))):
            time.sleep(0.2)
        time.sleep(0.3)
        before = judge.account().starts
        judge.wait_for(lambda account, before=before: account.starts > before + 2)  # it always goes on
    judge.wait_for(lambda account: set(map(str, judge.processes)) <= account.ready)  # some were killed before they were
    assert set(judge.end()) == {0}
    account = judge.account()
    assert_within_limits(account)
    assert account.in_flight == 0
    assert asyncio.run(left_behind(judge)) == (0, 0)


async def left_behind(judge):
    """What whoever comes next finds."""
    async with SharedRateLimiter(ENDPOINT, run_dir=judge.run_dir, requests_per_minute=RPM) as throttle:
        async with throttle.admit():
            pass
        status = await operations.show(ENDPOINT, judge.run_dir)
        return status["in_flight"], status["waiting"]


def test_undisturbed_processes_use_nearly_all_of_the_pace(judge):
    """What else the machine does disturbs them too, so the fastest eighty starts are taken, and as many as that needs."""
    ready(judge, 4, callers=5, work=0.02)

    def fast_enough(account):
        grants = account.grants[20:]
        return any(last - first < 2 * 79 * T for first, last in zip(grants, grants[79:], strict=False))

    assert_within_limits(judge.wait_for(fast_enough))


def test_a_killed_client_gives_its_slots_back_at_once(judge):
    holder = judge.start(limit=1, rpm=RPM, callers=1, work=1000, attempt=10_000)
    judge.wait_for(lambda account: account.starts == 1)
    judge.start(limit=1, rpm=RPM, callers=1, work=0.01)
    wait_until(lambda: judge.status()["waiting"] == 1)
    judge.kill(holder)
    judge.wait_for(lambda account: account.starts > 3)
    assert_within_limits(judge.account(), limit=1)


def test_a_stopped_client_keeps_its_lease_until_it_is_reaped_and_then_stops_its_request(judge):
    holder = judge.start(limit=1, rpm=RPM, callers=1, work=1000, attempt=10_000, reap_after=1)
    judge.wait_for(lambda account: account.starts == 1)
    # The holder hosts: another host is needed that is not stopped.
    other = judge.start(limit=1, rpm=RPM, callers=1, work=0.01, attempt=10_000, reap_after=1)
    judge.wait_for(lambda account: account.count("ready") == 2)
    assert judge.host() == holder
    judge.kill(holder)
    judge.wait_for(lambda account: account.count("throttle_hosted") == 2)
    stopped = judge.start(limit=1, rpm=RPM, callers=1, work=1000, attempt=1, stops_itself=1)
    judge.wait_for(lambda account: any(line[0] == "start" and line[1] == str(stopped) for line in account.lines))
    before = judge.account().starts
    with judge.stopped(stopped):
        judge.wait_for(lambda account: account.count("lease_reaped"))
        judge.wait_for(lambda account: account.starts > before)
    judge.wait_for(lambda account: account.count("lost", str(stopped)))
    assert judge.host() == other
    held = [line for line in judge.account().lines if line[0] == "event" and line[2] == "lease_reaped"]
    assert held[0][3] == str(stopped)


def test_a_stopped_coordinator_stops_all_grants_is_named_and_goes_on_when_it_wakes(judge):
    (host,) = ready(judge, 1, callers=2, silent=0.4)
    ready(judge, 2, callers=2, silent=0.4)
    assert judge.host() == host
    with judge.stopped(host):
        time.sleep(0.1)
        before = judge.account().starts
        account = judge.wait_for(lambda account: account.count("throttle_degraded"))
        assert account.starts <= before + 2  # grants that were on their way
        named = {line[3] for line in account.lines if line[0] == "event" and line[2] == "throttle_degraded"}
        assert named == {str(host)}
    judge.wait_for(lambda account: account.starts > before + 10)
    assert_within_limits(judge.account())


def test_a_stopped_coordinator_that_is_killed_is_replaced(judge):
    (host,) = ready(judge, 1, callers=2)
    ready(judge, 2, callers=2)
    with judge.stopped(host):
        judge.kill(host)
        before = judge.account().starts
        judge.wait_for(lambda account: account.starts > before + 5)
    assert_within_limits(judge.account())
    assert judge.account().count("throttle_hosted") == 2


def test_a_lease_outlives_the_coordinator_that_gave_it(judge):
    (host,) = ready(judge, 1, callers=0)
    holder = judge.start(limit=1, rpm=RPM, callers=1, work=1000, attempt=10_000)
    judge.wait_for(lambda account: account.starts == 1)
    third = judge.start(limit=1, rpm=RPM, callers=1, work=0.01)
    judge.wait_for(lambda account: account.count("ready") == 3)
    judge.kill(host)
    judge.wait_for(lambda account: account.count("throttle_hosted") == 2)
    wait_until(lambda: len(judge.status()["processes"]) == 2)
    assert judge.status()["in_flight"] == 1
    assert judge.account().starts == 1
    judge.kill(holder)
    judge.wait_for(lambda account: any(line[:2] == ["start", str(third)] for line in account.lines))
    assert_within_limits(judge.account(), limit=1)


def test_all_killed_at_once_leave_their_pace_and_none_of_their_leases(judge):
    ready(judge, 3, callers=5, work=0.05)
    judge.wait_for(lambda account: account.starts > 10)
    for pid in list(judge.processes):
        judge.kill(pid)
    before = judge.account().starts
    judge.start(**LIMITS, callers=5, work=0.05)
    judge.wait_for(lambda account: account.starts > before + 5)
    assert_within_limits(judge.account())


def test_failures_in_different_processes_open_the_circuit_for_all(judge):
    pids = ready(judge, 3, callers=1, work=0.01, ending="no_answer", threshold=5)
    account = judge.wait_for(lambda account: account.count("circuit_breaker_opened"))
    opened = next(number for number, line in enumerate(account.lines) if line[0] == "event" and "opened" in line[2])
    starts = [line for line in account.lines[:opened] if line[0] == "start"]
    assert 5 <= len(starts) <= 6  # five have failed; another may run
    assert len(pids) == 3


def test_a_forked_child_connects_for_itself_and_does_not_keep_its_parents_lease(judge):
    judge.start(limit=1, rpm=RPM, callers=0)
    judge.wait_for(lambda account: account.count("ready") == 1)
    (began, begin), (ended, end) = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        os._exit(asyncio.run(hold_and_fork(judge.run_dir, begin, ended)))
    child = int(os.read(began, 20))
    wait_until(lambda: judge.status()["in_flight"] == 1)
    assert {process["pid"] for process in judge.status()["processes"]} >= {parent}
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    wait_until(lambda: parent not in {process["pid"] for process in judge.status()["processes"]})
    wait_until(lambda: {process["pid"] for process in judge.status()["processes"]} >= {child})
    wait_until(lambda: judge.status()["in_flight"] == 1)  # the child's own, which only now had its turn
    os.write(end, b"x")
    wait_until(lambda: judge.status()["in_flight"] == 0)
    for pipe in (began, begin, ended, end):
        os.close(pipe)


async def hold_and_fork(run_dir, begin, ended):
    """The parent holds the only slot; its child, who inherited everything, asks for one as well."""
    throttle = SharedRateLimiter(ENDPOINT, run_dir=run_dir, max_concurrent=1, requests_per_minute=RPM)
    async with throttle, throttle.admit(attempt_seconds=10_000):
        child = os.fork()
        if child == 0:
            os._exit(run_in_a_new_thread(ask_in_the_child(throttle, ended)))
        os.write(begin, str(child).encode())
        await asyncio.sleep(1000)
    return 0


async def ask_in_the_child(throttle, ended):
    async with throttle.admit(attempt_seconds=10_000):
        os.read(ended, 1)
    await throttle.aclose()
    return 0


def run_in_a_new_thread(coroutine):
    """A loop of its own: this thread still believes to run its parent's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_the_files_of_the_endpoint_are_for_its_user_alone(judge):
    ready(judge, 1, callers=1)
    place = MeetingPlace.of(ENDPOINT, judge.run_dir)
    judge.wait_for(lambda account: account.starts)
    assert [path.stat().st_mode & 0o777 for path in (place.lock, place.socket, place.state)] == [0o600] * 3
    assert judge.run_dir.stat().st_mode & 0o777 == 0o700
