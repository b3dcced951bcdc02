"""Clients and coordinators over real sockets on one loop in virtual time: what each of them sees of the shared throttle."""

import asyncio
import json
import math
import os
import socket

import pytest

from scraper.errors import Held, Misconfigured, Unavailable
from scraper.events import (
    Back,
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    LeaseReaped,
    RateLimitAcquired,
    RateLimitWaiting,
    ThrottleDegraded,
    ThrottleHosted,
    ThrottleLimitsDiffer,
)
from scraper.host import boot_id, pid_namespace
from scraper.throttle import operations
from scraper.throttle.brought_limits import DIFFER_SECONDS
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.coordinator import Coordinator
from scraper.throttle.election import Seat
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.office import GUARD_SECONDS
from scraper.throttle.protocol import (
    VERSION,
    Ask,
    Brings,
    Command,
    Finish,
    Granted,
    Hello,
    Ready,
    Welcome,
    decode,
    encode,
)
from scraper.throttle.run_dir import MeetingPlace
from scraper.throttle.seam import LeaseLost, NotAdmitted
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.snapshot_file import SnapshotFile
from scraper.throttle.verdict import UNSENT, Ending, Verdict

pytestmark = pytest.mark.virtual_time

URL = "http://localhost:8000/v1"
ANSWERED = Verdict(Ending.ANSWERED)
T = 3.0


@pytest.fixture
def events():
    return []


@pytest.fixture
def share(tmp_path, events):
    """A client of its own, as another process would have one; events of all go to one list."""

    def make(**options):
        return SharedRateLimiter(URL, run_dir=tmp_path, observe=options.pop("observe", events.append), **options)

    return make


def now():
    return asyncio.get_running_loop().time()


async def attempt(throttle, *, seconds=0.0, ending=Ending.ANSWERED, **asked):
    """One attempt; when it was granted."""
    async with throttle.admit(**asked) as permit:
        await asyncio.sleep(seconds)
        permit.report(Verdict(ending))
        return permit.granted_at


async def settle(seconds=0.1):
    """Let all that can happen now happen."""
    await asyncio.sleep(seconds)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


# --- as in one process --------------------------------------------------------------------------------------------


async def test_two_clients_together_keep_the_pace_of_one(share):
    async with share() as a, share() as b:
        grants = await asyncio.gather(*(attempt(throttle) for throttle in (a, b, a, b)))
    assert sorted(grants) == pytest.approx([T, 2 * T, 3 * T, 4 * T])  # the first after an interval: nothing was known


async def test_two_clients_together_have_the_slots_of_one(share):
    async with share(requests_per_minute=60_000) as a, share(requests_per_minute=60_000) as b:
        running, most = 0, 0

        async def work(throttle):
            nonlocal running, most
            async with throttle.admit() as permit:
                running += 1
                most = max(most, running)
                await asyncio.sleep(1)
                running -= 1
                permit.report(ANSWERED)

        await asyncio.gather(*(work(throttle) for throttle in (a, b) * 5))
        assert most == 2
        assert now() == pytest.approx(5 + 1, abs=0.1)


async def test_waiting_is_split_by_its_reasons_as_in_one_process(share):
    async with share(max_concurrent=1) as a, share(max_concurrent=1) as b:
        await attempt(a)
        holder = asyncio.create_task(attempt(a, seconds=10))
        await settle()
        async with b.admit() as permit:
            assert permit.waited.rate == pytest.approx(T - 0.1, abs=0.01)
            assert permit.waited.slot == pytest.approx(10, abs=0.01)
        await holder


async def test_a_wait_is_announced_with_place_and_estimate_and_again_every_thirty_seconds(share, events):
    async with share(max_concurrent=1) as a, share(max_concurrent=1) as b:
        await attempt(a)
        holder = asyncio.create_task(attempt(a, seconds=70))
        await settle()
        await attempt(b)
        await holder
    waits = [event for event in of(RateLimitWaiting, events) if event.reason == "slot"]
    assert [(event.position, event.in_flight, event.limit) for event in waits] == [(1, 1, 1)] * 2
    assert of(RateLimitAcquired, events)[-1].waited_s == pytest.approx(72.9, abs=0.2)


async def test_a_retry_keeps_its_calls_place(share):
    async with share() as a, share() as b:
        async with a.admit() as permit:
            place = permit.place
            permit.report(Verdict(Ending.NO_ANSWER))
        order = []

        async def call(name, throttle, place=None):
            async with throttle.admit(place=place):
                order.append(name)

        newcomers = [asyncio.create_task(call(f"new {number}", b)) for number in range(2)]
        await settle()
        await call("retry", a, place)
        await asyncio.gather(*newcomers)
    assert order == ["retry", "new 0", "new 1"]


async def test_a_wait_ends_when_its_time_is_over(share):
    async with share(max_concurrent=1) as a, share(max_concurrent=1) as b:
        holder = asyncio.create_task(attempt(a, seconds=100))
        await asyncio.sleep(T + 1)
        with pytest.raises(NotAdmitted) as refused:
            await attempt(b, hold_seconds=20)
        assert now() == pytest.approx(T + 21, abs=0.1)
        assert (refused.value.out_of, refused.value.reason) == ("hold", "slot")
        holder.cancel()


async def test_who_is_cancelled_in_line_leaves_no_trace(share):
    async with share() as a, share() as b:
        await attempt(a)
        waiting = asyncio.create_task(attempt(b))
        await settle()
        waiting.cancel()
        await settle()
        assert await attempt(a) == pytest.approx(2 * T)


async def test_who_is_cancelled_in_the_tick_of_its_grant_hands_it_on(share):
    async with share(max_concurrent=1) as a, share(max_concurrent=1) as b:
        waiting = asyncio.create_task(attempt(a))
        other = asyncio.create_task(attempt(b))
        await settle()
        for _ in range(400):  # somewhere in here it is granted
            await asyncio.sleep(0.01)
            if a.snapshot()["held_here"] or waiting.done():
                break
            if now() >= T - 0.015:
                waiting.cancel()
        assert await other <= 2 * T + 0.1
        await settle()
        assert (await status(a))["in_flight"] == 0


async def test_a_grant_that_meets_nobody_any_more_goes_back_at_whichever_step_of_the_loop(share):
    limits = {"max_concurrent": 1, "requests_per_minute": 60_000}
    async with share(**limits) as a, share(**limits) as b:
        for steps in range(30):  # in some of them the grant is on its way
            async with a.admit():
                waiting = asyncio.create_task(attempt(b))
                await settle()
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            async with asyncio.timeout(5):
                await attempt(a)


async def status(throttle):
    return await operations.show(URL, throttle._run_dir)


async def test_a_storm_of_cancellations_leaves_nothing_behind(share):
    async with share(requests_per_minute=6000) as a, share(requests_per_minute=6000) as b:
        for round_ in range(20):
            calls = [asyncio.create_task(attempt(throttle, seconds=0.05)) for throttle in (a, b) for _ in range(25)]
            await asyncio.sleep(0.02 + round_ * 0.003)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await settle()
        left = await status(a)
        assert (left["in_flight"], left["waiting"]) == (0, 0)
        assert (a.waiting, b.waiting) == (0, 0)


async def test_a_grant_that_came_too_late_is_known_as_such_and_goes_back(share):
    async with share(requests_per_minute=20) as a:
        async with a.admit() as permit:
            assert not permit.too_late()
            asyncio.get_running_loop().advance(1.2)  # the loop stalls
            assert permit.too_late()
            permit.report(UNSENT)
        assert await attempt(a) < 2 * T  # refunded: no later grant was given


async def test_success_of_anybody_is_known_to_all(share):
    async with share() as a, share() as b:
        began = now()
        assert not b.succeeded_since(began)
        await attempt(a)
        assert a.succeeded_since(began)
        await attempt(b, ending=Ending.REFUSED)
        assert b.succeeded_since(began)
        assert not b.succeeded_since(now())


# --- circuit, pause, limits ---------------------------------------------------------------------------------------


async def test_failures_anywhere_open_the_circuit_for_everyone_and_it_is_said_once(share, events):
    breaker = CircuitBreaker(threshold=3, timeout_seconds=10)
    async with share(breaker=breaker) as a, share(breaker=breaker) as b:
        for throttle in (a, b, a):
            await attempt(throttle, ending=Ending.NO_ANSWER)
        opened = now()
        await settle()
        assert (a.blocked_by, b.blocked_by) == ("circuit", "circuit")
        async with b.admit() as permit:
            assert permit.probe
            assert permit.granted_at == pytest.approx(opened + 10)
            permit.start()
            permit.report(ANSWERED)
        await settle()
        assert a.blocked_by != "circuit"
    circuit = [type(event) for event in events if isinstance(event, CircuitOpened | CircuitHalfOpen | CircuitClosed)]
    assert circuit == [CircuitOpened, CircuitHalfOpen, CircuitClosed]


async def test_a_pause_that_one_was_told_holds_all(share):
    async with share() as a, share() as b:
        async with a.admit() as permit:
            permit.report(Verdict(Ending.TOO_MANY, pause_seconds=30, pause_reason="retry-after"))
        told = now()
        await settle()
        assert b.blocked_by == "server_pause"
        assert await attempt(b) == pytest.approx(told + 30)


async def test_the_strictest_limits_hold_and_differing_ones_are_said(share, events):
    async with share(requests_per_minute=20) as a, share(requests_per_minute=10):
        await settle()
        first = await attempt(a)
        assert await attempt(a) - first == pytest.approx(6)
        await settle(DIFFER_SECONDS)
    (differ,) = of(ThrottleLimitsDiffer, events)
    assert (differ.limits, differ.other_limits) == ("2 in flight, 10/min", "2 in flight, 20/min")


async def test_limits_that_all_change_within_a_moment_are_in_force_at_once_and_no_word_is_said_of_them(share, events):
    async with share() as a, share() as b:
        for per_minute in (1200, 10):
            a.set_limits(requests_per_minute=per_minute)
            await settle(0.9 * DIFFER_SECONDS)
            b.set_limits(requests_per_minute=per_minute)
            await settle(2 * DIFFER_SECONDS)
            assert (await status(a))["requests_per_minute"] == per_minute
    assert of(ThrottleLimitsDiffer, events) == []


async def test_limits_change_at_run_time_at_once(share):
    async with share() as a:
        await attempt(a)
        waiting = asyncio.create_task(attempt(a))
        await settle()
        a.set_limits(requests_per_minute=60)
        assert await waiting == pytest.approx(T + 1)
        a.set_limits(requests_per_minute=6)
        assert await attempt(a) == pytest.approx(T + 1 + 10)


async def test_limits_that_make_no_sense_are_refused(share):
    for options in (
        {"max_concurrent": 0},
        {"max_concurrent": 1 << 63},
        {"requests_per_minute": 0},
        {"requests_per_minute": 1e-300},
        {"requests_per_minute": math.inf},
        {"requests_per_minute": math.nan},
    ):
        with pytest.raises(ValueError, match="must be"):
            share(**options)


# --- operators ----------------------------------------------------------------------------------------------------


async def test_an_operator_sees_sets_and_resets(share, tmp_path):
    async with share() as a:
        await settle()
        seen = await operations.show("http://127.0.0.1:8000", tmp_path)
        assert (seen["max_concurrent"], seen["requests_per_minute"], seen["host_pid"]) == (2, 20, os.getpid())
        assert seen["host_pids"] == pid_namespace()
        assert [process["pid"] for process in seen["processes"]] == [os.getpid()]
        seen = await operations.set_limits(URL, tmp_path, max_concurrent=1, requests_per_minute=60)
        assert (seen["max_concurrent"], seen["requests_per_minute"]) == (1, 60)
        first = await attempt(a)
        assert await attempt(a) - first == pytest.approx(1)
        seen = await operations.reset_limits(URL, tmp_path)
        assert (seen["max_concurrent"], seen["requests_per_minute"]) == (2, 20)


async def test_an_operator_sees_what_is_wrong_for_whom_whoever_hosts(share, tmp_path):
    async def wrong():
        return sorted(process["wrong"] for process in (await operations.show(URL, tmp_path))["processes"])

    host = await share().__aenter__()
    async with share() as a, share():
        await settle()
        a.found_wrong("VLLM_API_KEY: give the right one")
        await settle()
        assert await wrong() == ["", "", "VLLM_API_KEY: give the right one"]
        await host.aclose()
        await settle(2)
        assert await wrong() == ["", "VLLM_API_KEY: give the right one"]
        a.found_wrong("")
        await settle()
        assert await wrong() == ["", ""]


async def test_an_operator_pauses_and_resumes(share, tmp_path):
    async with share() as a:
        await operations.pause(URL, tmp_path)
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(1000)
        assert not waiting.done()
        await operations.resume(URL, tmp_path)
        assert await waiting == pytest.approx(1000, abs=0.1)


async def test_an_operator_opens_and_closes_the_circuit(share, tmp_path):
    async with share() as a:
        seen = await operations.open_circuit(URL, tmp_path)
        assert (seen["circuit"]["state"], seen["circuit"]["retry_in_s"]) == ("open", 60)
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(5)
        assert (await operations.close_circuit(URL, tmp_path))["circuit"]["state"] == "closed"
        assert await waiting == pytest.approx(5, abs=0.1)


async def test_an_operator_where_nobody_works_is_told_so(tmp_path):
    with pytest.raises(Unavailable, match="no process throttles"):
        await operations.show(URL, tmp_path)


# --- who hosts ----------------------------------------------------------------------------------------------------


async def test_a_supervisor_hosts_without_taking_part(share, events, tmp_path):
    async with Coordinator(URL, run_dir=tmp_path, observe=events.append) as coordinator:
        assert coordinator.is_hosting
        async with share() as a, share() as b:
            assert await attempt(a) < await attempt(b)
    assert len(of(ThrottleHosted, events)) == 1


async def test_one_who_stands_by_hosts_when_the_seat_is_free(tmp_path):
    other = await Coordinator(URL, run_dir=tmp_path).__aenter__()
    async with Coordinator(URL, run_dir=tmp_path) as next_in_line:
        assert not next_in_line.is_hosting
        await other.__aexit__(None, None, None)
        await asyncio.sleep(1)
        assert next_in_line.is_hosting


async def test_who_had_to_give_up_hosting_leaves_a_successors_socket_alone(share, tmp_path):
    first, second = (Coordinator(URL, run_dir=tmp_path) for _ in range(2))
    assert await first.try_to_host()
    for state in tmp_path.glob("*.state"):
        state.unlink()
    await asyncio.sleep(GUARD_SECONDS + 1)
    assert not first.is_hosting
    assert await second.try_to_host()
    await first.close()
    assert (await operations.show(URL, tmp_path))["in_flight"] == 0
    await second.close()


async def test_a_socket_that_cannot_be_removed_keeps_nobody_from_leaving_the_seat(tmp_path):
    first, second = (Coordinator(URL, run_dir=tmp_path) for _ in range(2))
    assert await first.try_to_host()
    (path,) = tmp_path.glob("*.sock")
    path.unlink()
    path.mkdir()
    await first.close()
    path.rmdir()
    assert await second.try_to_host()
    await second.close()


async def test_who_is_cancelled_while_leaving_stays_cancelled_and_leaves_the_seat_all_the_same(share, tmp_path):
    for host in (Coordinator(URL, run_dir=tmp_path), share()):
        await host.__aenter__()
        leaving = asyncio.create_task(host.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        await settle()
        async with Coordinator(URL, run_dir=tmp_path) as other:
            assert other.is_hosting


async def test_when_the_host_leaves_another_goes_on_at_the_pace_and_place_where_it_was(share, events):
    b = share(observe=lambda _: None)
    async with share() as a, b:
        first = await attempt(a)
        waiting = [asyncio.create_task(attempt(b)) for _ in range(3)]
        await settle()
        await a.aclose()
        grants = [await each for each in waiting]
    assert grants == pytest.approx([first + T, first + 2 * T, first + 3 * T])


async def test_a_lease_survives_the_host_and_is_given_back_to_its_successor(share):
    async with share(max_concurrent=1) as a, share(max_concurrent=1) as b:
        running = asyncio.create_task(attempt(b, seconds=20))
        await asyncio.sleep(T + 1)
        await a.aclose()
        async with share(max_concurrent=1) as c:
            assert await attempt(c) == pytest.approx(T + 20, abs=0.1)
        await running


async def test_a_verdict_is_told_to_the_successor_at_whichever_step_of_the_loop_its_host_is_lost(tmp_path):
    for steps in range(20):  # in some of them nobody hosts
        run_dir = tmp_path / f"{steps}"
        client = SharedRateLimiter(URL, run_dir=run_dir, breaker=CircuitBreaker(threshold=1))
        async with Coordinator(URL, run_dir=run_dir) as host, client:
            async with client.admit() as permit:
                await host.close()
                for _ in range(steps):
                    await asyncio.sleep(0)
                permit.report(Verdict(Ending.SERVER_ERROR))
            await settle(1)
            assert (await status(client))["circuit"]["state"] == "open"


async def test_a_probes_late_start_is_told_to_the_successor_at_whichever_step_of_the_loop_its_host_is_lost(tmp_path):
    for steps in range(20):  # in some of them nobody hosts
        run_dir = tmp_path / f"{steps}"
        client = SharedRateLimiter(URL, run_dir=run_dir, breaker=CircuitBreaker(threshold=1, timeout_seconds=1))
        async with Coordinator(URL, run_dir=run_dir) as host, client:
            await attempt(client, ending=Ending.SERVER_ERROR)
            async with client.admit() as permit:
                assert permit.probe
                await asyncio.sleep(T - 1)  # it asks for the server's health first
                await host.close()
                for _ in range(steps):
                    await asyncio.sleep(0)
                permit.start()
                started = now()
                permit.report(ANSWERED)
            assert await attempt(client) == pytest.approx(started + T, abs=0.01)


async def test_the_pace_holds_from_one_run_to_the_next(share):
    async with share() as a:
        first = await attempt(a)
    async with share() as a:
        assert await attempt(a) == pytest.approx(first + T)


async def test_a_removed_run_dir_makes_nobody_faster_and_all_meet_anew(share, tmp_path):
    async with share() as a, share() as b:
        first = await attempt(a)
        for file in tmp_path.iterdir():
            file.unlink()
        grants = await asyncio.gather(attempt(a), attempt(b))
        assert min(grants) >= first + T
        assert abs(grants[0] - grants[1]) >= T - 1e-6


async def test_a_run_dir_that_is_moved_away_makes_nobody_faster_and_all_meet_where_it_was(share, tmp_path):
    async with share() as a, share() as b:
        first = await attempt(a)
        tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-elsewhere"))  # its host still holds a lock, in there
        grants = await asyncio.gather(attempt(a), attempt(b))
        assert min(grants) >= first + T
        assert abs(grants[0] - grants[1]) >= T - 1e-6
        status = await operations.show(URL, tmp_path)
        assert len(status["processes"]) == 2


async def test_a_damaged_snapshot_costs_an_interval_and_is_said(share, events, tmp_path):
    async with share() as a:
        first = await attempt(a)
    (state,) = tmp_path.glob("*.state")
    state.write_bytes(b"nonsense")
    await asyncio.sleep(100)
    async with share() as a:
        assert await attempt(a) == pytest.approx(first + 100 + T, abs=0.1)
    assert "damaged" in of(ThrottleHosted, events)[-1].before


async def test_a_disk_that_takes_no_more_stops_all_grants_until_it_does(share, events, monkeypatch):
    async with share() as a:
        await attempt(a)

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            waiting = asyncio.create_task(attempt(a))
            await asyncio.sleep(60)
            assert not waiting.done()
            assert "No space left" in of(ThrottleDegraded, events)[-1].error
        assert await waiting >= 60
    assert of(Back, events)


async def test_a_run_dir_that_cannot_be_used_stops_the_start(share, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        await share().__aenter__()
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        await attempt(share())
    with pytest.raises(Misconfigured, match="RUN_DIR"):
        await Coordinator(URL, run_dir=tmp_path).__aenter__()


async def test_a_run_dir_that_cannot_be_used_for_a_while_is_waited_for(share, events, tmp_path):
    async with share() as a:
        await attempt(a)
        (state,) = tmp_path.glob("*.state")
        (name,) = SnapshotFile(state, boot=boot_id()).read()["members"]
        _, writer = await connect(tmp_path)
        tmp_path.chmod(0o777)
        writer.write(encode([Hello(VERSION, name, 0)]))  # in its name, so that its own connection is hung up on
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(20)
        assert not waiting.done()
        assert "everybody may write there" in of(ThrottleDegraded, events)[-1].error
        tmp_path.chmod(0o700)
        assert await waiting >= 20
        writer.close()


async def test_a_file_system_without_sockets_is_named_and_the_seat_left(share, tmp_path, monkeypatch):
    def bind(*_):
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr("scraper.throttle.office._listen", bind)
        with pytest.raises(Misconfigured, match=r"RUN_DIR=.*sockets"):
            await share().__aenter__()
    async with share() as a:
        await attempt(a)


async def test_the_socket_is_for_its_user_alone(share, tmp_path):
    async with share():
        (path,) = tmp_path.glob("*.sock")
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_limiter_need_not_be_entered_to_be_used(share):
    throttle = share()
    assert await attempt(throttle) == pytest.approx(T)
    await throttle.aclose()


async def test_who_still_waits_when_its_limiter_is_closed_is_refused(share):
    throttle = share()
    waiting = asyncio.create_task(attempt(throttle))
    await settle()
    await throttle.aclose()
    with pytest.raises(NotAdmitted):
        await waiting


# --- nobody answers -----------------------------------------------------------------------------------------------


@pytest.fixture
def silent_host(tmp_path):
    """The seat taken and the socket there, but nobody who answers: as a stopped process leaves them."""
    place = MeetingPlace.of(URL, tmp_path)
    seat = Seat.take(place.lock)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place.socket))
    listening.listen()
    yield seat, listening
    listening.close()
    seat.leave()


async def test_a_host_that_does_not_answer_is_named_every_thirty_seconds_and_nobody_starts(share, events, silent_host):
    async with share() as a:
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(70)
        assert not waiting.done()
        waiting.cancel()
    degraded = of(ThrottleDegraded, events)
    assert [event.pid for event in degraded] == [os.getpid()] * 3
    assert degraded[0].since_s == pytest.approx(2, abs=0.1)
    assert degraded[0].waiting == 1


async def test_a_hold_limit_ends_a_wait_that_nobody_answers(share, silent_host):
    async with share() as a:
        with pytest.raises(NotAdmitted) as refused:
            await attempt(a, hold_seconds=20)
        assert now() == pytest.approx(20, abs=1.5)
        assert refused.value.waited.held == pytest.approx(20, abs=1.5)


async def test_time_without_a_host_is_nobodys_working_time(share, silent_host):
    seat, listening = silent_host
    async with share() as a:
        waiting = asyncio.create_task(attempt(a, work_seconds=T + 1))
        await asyncio.sleep(50)
        listening.close()
        seat.leave()
        assert await waiting >= 50


async def test_a_host_that_is_back_is_said(share, events, silent_host):
    seat, listening = silent_host
    async with share() as a:
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(10)
        listening.close()
        seat.leave()
        await waiting
    assert [event.what for event in of(Back, events)] == ["throttle coordinator"]


async def test_a_coordinator_of_another_release_is_not_believed(share, events, tmp_path):
    place = MeetingPlace.of(URL, tmp_path)
    seat = Seat.take(place.lock)

    async def other_release(reader, writer):
        await reader.readline()
        writer.write(encode([Welcome(VERSION + 1, 1, 0)]))
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(other_release, place.socket), share() as a:
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(10)
        waiting.cancel()
        with pytest.raises(Unavailable, match=f"version {VERSION + 1} .* one release"):
            await operations.show(URL, tmp_path)
    seat.leave()
    assert "version" in of(ThrottleDegraded, events)[-1].error


async def test_an_operator_introduces_itself_in_a_line_that_a_host_of_any_release_can_read(tmp_path):
    place = MeetingPlace.of(URL, tmp_path)
    seat = Seat.take(place.lock)

    async def knows_no_such_orders(reader, writer):
        (hello,) = json.loads(await reader.readline())
        if hello[:2] == ["hello", VERSION]:
            writer.write(b'[["welcome",%d,1,0]]\n' % (VERSION + 1))
        writer.close()

    async with await asyncio.start_unix_server(knows_no_such_orders, place.socket):
        with pytest.raises(Unavailable, match=f"version {VERSION + 1} .* one release"):
            await operations.set_limits(URL, tmp_path, max_concurrent=1)
    seat.leave()


async def test_who_gives_back_and_asks_again_at_once_says_both_in_one_line(share, tmp_path):
    place = MeetingPlace.of(URL, tmp_path)
    seat = Seat.take(place.lock)
    lines = []

    async def generous(reader, writer):
        (hello,) = decode((await reader.readline())[:-1])
        writer.write(encode([Welcome(VERSION, 1, hello.now)]))
        while line := await reader.readline():
            said = decode(line[:-1])
            lines.append([type(message) for message in said])
            if isinstance(said[-1], Ask):
                at = ns(now())
                granted = Granted(said[-1].id, len(lines), 1, at, at + SECOND, False, False, 0, 0, 0, 0, 0)  # noqa: FBT003 - a message
                writer.write(encode([granted]))
        writer.close()

    async with await asyncio.start_unix_server(generous, place.socket), share() as a:
        await attempt(a)
        await attempt(a)
        await settle()
    seat.leave()
    assert lines[-3:-1] == [[Finish, Ask], [Finish]]


async def test_a_coordinator_with_another_clock_is_not_believed(share, events, tmp_path):
    place = MeetingPlace.of(URL, tmp_path)
    seat = Seat.take(place.lock)

    async def other_clock(reader, writer):
        await reader.readline()
        writer.write(encode([Welcome(VERSION, 1, 10**15)]))
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(other_clock, place.socket), share() as a:
        waiting = asyncio.create_task(attempt(a))
        await asyncio.sleep(10)
        waiting.cancel()
    seat.leave()
    assert "clock" in of(ThrottleDegraded, events)[-1].error


# --- leases taken back --------------------------------------------------------------------------------------------


async def test_a_lease_that_was_reaped_ends_its_block(share, events):
    async with share(max_concurrent=1) as a:
        reached = []

        async def block():
            async with a.admit(attempt_seconds=10):
                await asyncio.sleep(1000)
                reached.append("end")

        with pytest.raises(LeaseLost) as lost:
            await block()
        assert now() == pytest.approx(T + 40, abs=0.1)
        assert reached == []
        assert isinstance(lost.value, Held)
        assert asyncio.current_task().cancelling() == 0
        assert await attempt(a) >= T + 40
    assert [event.held_s for event in of(LeaseReaped, events)] == [pytest.approx(40, abs=0.1)]


async def test_a_cancellation_from_outside_stays_one_when_the_lease_is_lost_too(share):
    async with share() as a:

        async def block():
            async with a.admit(attempt_seconds=1):
                try:
                    await asyncio.sleep(1000)
                finally:
                    task.cancel()

        task = asyncio.create_task(block())
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_two_blocks_end_each_for_itself(share):
    async with share() as a:
        long = asyncio.create_task(attempt(a, seconds=60, attempt_seconds=120))
        with pytest.raises(LeaseLost):
            await attempt(a, seconds=60, attempt_seconds=1)
        await long


# --- hostile and odd peers ----------------------------------------------------------------------------------------


async def connect(tmp_path):
    place = MeetingPlace.of(URL, tmp_path)
    return await asyncio.open_unix_connection(place.socket)


async def everything(reader):
    """Until the other side hangs up."""
    try:
        return await reader.read()
    except OSError:
        return b""


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b'[["ask",1,null,null,null,1]]\n',
        encode([Hello(VERSION, "x", 0), Hello(VERSION, "x", 0)]),
        encode([Hello(VERSION, "x", 0), Ask(1, None, None, None, 1.0)]),
        encode([Hello(VERSION, "", 0), Ready()]),
        encode([Hello(VERSION, "x", 0), Brings(0, 1, 1, 1)]),
        encode([Hello(VERSION, "x", 0), Brings(1, 1e-300, 1, 1)]),
        encode([Hello(VERSION, "", 0), Command("set", None, 1e-300, None)]),
        encode([Hello(VERSION, "x" * 500_000, 0)]),
        encode([Hello(VERSION, "x", 0), Ready(), Ask(1, None, None, None, 1.0), Ask(1, None, None, None, 1.0)]),
        b"x" * (1 << 21),
    ],
)
async def test_whoever_breaks_the_protocol_is_hung_up_on_and_nobody_else_notices(share, tmp_path, said):
    async with share() as a:
        await settle()
        reader, writer = await connect(tmp_path)
        writer.write(said)
        await everything(reader)
        assert now() < 5  # it was hung up on, and not for saying nothing
        writer.close()
        assert await attempt(a) == pytest.approx(T)
        left = await operations.show(URL, tmp_path)
        assert (left["waiting"], left["in_flight"], len(left["processes"])) == (0, 0, 1)


async def test_who_says_nothing_is_hung_up_on_after_a_while(share, tmp_path):
    async with share():
        reader, writer = await connect(tmp_path)
        assert await reader.read() == b""
        assert now() == pytest.approx(10, abs=0.1)
        writer.close()


async def test_half_a_line_is_waited_for(share, tmp_path):
    async with share():
        reader, writer = await connect(tmp_path)
        line = encode([Hello(VERSION, "", 0)])
        writer.write(line[:5])
        await settle()
        writer.write(line[5:])
        (welcome,) = decode((await reader.readline())[:-1])
        assert welcome.version == VERSION
        writer.close()


async def test_another_release_is_told_ours_and_hung_up_on(share, tmp_path):
    async with share():
        reader, writer = await connect(tmp_path)
        writer.write(encode([Hello(VERSION + 1, "x", 0)]))
        assert json.loads(await reader.read())[0][:2] == ["welcome", VERSION]
        writer.close()


async def test_a_peer_of_another_user_is_hung_up_on(share, tmp_path, monkeypatch):
    async with share():
        monkeypatch.setattr("scraper.throttle.wire._peer_of", lambda _: (None, os.geteuid() + 1))
        reader, writer = await connect(tmp_path)
        writer.write(encode([Hello(VERSION, "x", 0)]))
        assert await everything(reader) == b""
        writer.close()


async def test_two_connections_with_one_name_are_one_member(share, tmp_path):
    async with share():
        streams = [await connect(tmp_path) for _ in range(2)]
        for _, writer in streams:
            writer.write(encode([Hello(VERSION, "same", 0), Brings(2, 20, 5, 60), Ready()]))
            await settle()
        assert len((await operations.show(URL, tmp_path))["processes"]) == 2
        for _, writer in streams:
            writer.close()
        await settle()
        assert len((await operations.show(URL, tmp_path))["processes"]) == 1


async def test_a_thousand_waiters_are_no_problem(share):
    async with (
        share(requests_per_minute=60_000, max_concurrent=8) as a,
        share(requests_per_minute=60_000, max_concurrent=8) as b,
    ):
        await asyncio.gather(*(attempt(throttle) for throttle in (a, b) for _ in range(500)))
        left = await status(a)
        assert (left["in_flight"], left["waiting"]) == (0, 0)
