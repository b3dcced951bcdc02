"""While nothing may start, messages wait where they are: a worker holds what it has in hand and takes nothing more."""

import asyncio
import json
import os
import signal
import time
from collections import Counter

import pytest

from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_faults import parse_faults
from tests.service import Service
from tests.test_whole_path import HANGS_SECONDS, said, submit

TASKS = 30
CONSUMERS = 3
LOOKS_SECONDS = 2.0
OUTAGE, PAUSE = "500=6x", "429=2x:300"
"""One failure more than it takes: whoever has the other slot in that moment shall not be answered well."""


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request):
    return None if request.param == "embedded" else request.getfixturevalue("rabbitmq_url")


@pytest.fixture
async def model():
    async with SimulatedVLLM(preset="instant") as server:
        yield server


@pytest.fixture
def service(tmp_path, broker_url, model):
    return Service(
        tmp_path,
        broker_url=broker_url,
        QUEUE_NAMESPACE=f"wait-{os.getpid()}-{time.monotonic_ns()}",
        VLLM_BASE_URL=model.base_url,
        VLLM_REQUESTS_PER_MINUTE=6000,
        VLLM_BASE_BACKOFF=0.01,
        CONCURRENT_CONSUMERS_PER_WORKER=CONSUMERS,
    )


class Log:
    """What a running service writes, read beside it."""

    def __init__(self, process):
        self.events = []
        self._reading = asyncio.create_task(asyncio.to_thread(self._read, process.stderr))

    def _read(self, lines):
        for line in lines:
            if line.startswith("{"):
                self.events.append(json.loads(line))

    def of(self, name):
        return [event for event in self.events if event["event"] == name]

    async def until(self, name, count=1):
        async with asyncio.timeout(HANGS_SECONDS):
            while len(self.of(name)) < count:  # noqa: ASYNC110 a thread reads what another process writes
                await asyncio.sleep(0.02)

    async def new(self, name, *, seconds):
        """How many more of them come in this time."""
        before = len(self.of(name))
        await asyncio.sleep(seconds)
        return len(self.of(name)) - before

    async def end(self, process):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, HANGS_SECONDS)
        await self.read()

    async def read(self):
        """To its end."""
        await self._reading


async def tasks(service):
    await submit(
        service, *[{"text": f"Kettle {number} costs 3 EUR", "task_id": str(number)} for number in range(TASKS)]
    )


async def all_done(service):
    async with asyncio.timeout(HANGS_SECONDS):
        while (await asyncio.to_thread(service.status))["done"] < TASKS:  # noqa: ASYNC110 another process says so
            await asyncio.sleep(0.1)


async def at_rest(service, model, log):
    """Until those in flight have ended and each consumer has one in hand; how often the model had been asked before."""
    async with asyncio.timeout(HANGS_SECONDS):
        while True:
            asked = model.stats.requests
            in_flight = (await asyncio.to_thread(service.throttle))["in_flight"]
            if not in_flight and len(log.of("task_received")) == len(log.of("task_settled")) + CONSUMERS:
                return asked


def ends_by_a_stop(log, *, done):
    """Every delivery has its end in the log."""
    ends = log.of("task_settled")
    assert Counter(event["task_id"] for event in ends) == deliveries(log)
    assert [event["outcome"] for event in ends if event["outcome"] != "handed_back"] == ["done"] * done
    assert {event["attempts"] for event in ends} == {1}


def deliveries(log):
    return Counter(event["task_id"] for event in log.of("task_received"))


async def test_an_open_circuit_costs_no_delivery_and_no_attempt(service, model):
    service.environment["VLLM_CIRCUIT_BREAKER_TIMEOUT"] = "3600"
    model.faults.add(parse_faults(OUTAGE)[0])
    await tasks(service)
    with service.running() as process:
        log = Log(process)
        await log.until("circuit_breaker_opened")
        await asyncio.sleep(LOOKS_SECONDS)
        assert len(log.of("task_received")) <= CONSUMERS  # each its first, however late it came to it
        assert log.of("task_settled") == []
        await said(service, "throttle", "close")
        await all_done(service)
        await log.end(process)
    assert set(deliveries(log).values()) == {1}
    assert {event["attempts"] for event in log.of("task_settled")} == {1}


@pytest.mark.parametrize("order", [("pause",), ("set", "--requests-per-minute", "1")])
async def test_a_pause_or_a_full_limiter_costs_no_delivery(service, model, order):
    await tasks(service)
    service.environment["VLLM_REQUESTS_PER_MINUTE"] = "60"
    with service.running() as process:
        log = Log(process)
        await log.until("llm_success")
        await said(service, "throttle", *order)
        asked = await at_rest(service, model, log)
        assert await log.new("task_received", seconds=LOOKS_SECONDS) <= model.stats.requests - asked
        await said(service, "throttle", "resume")
        await said(service, "throttle", "set", "--requests-per-minute", "6000")
        await all_done(service)
        await log.end(process)
    assert set(deliveries(log).values()) == {1}


async def test_what_was_held_for_too_long_waits_in_the_queue_with_its_attempts_unchanged(service, model):
    hold = 2.0
    service.environment |= {"HOLD_LIMIT": str(hold), "VLLM_CIRCUIT_BREAKER_TIMEOUT": "3600"}
    model.faults.add(parse_faults(OUTAGE)[0])
    await tasks(service)
    with service.running() as process:
        log = Log(process)
        began = time.monotonic()
        await log.until("task_settled", CONSUMERS)
        for event in log.of("task_settled"):
            assert (event["outcome"], event["attempts"]) == ("hold", 1)
        rounds = 1 + (time.monotonic() - began) / hold
        assert len(log.of("task_received")) <= CONSUMERS * (1 + rounds)
        await log.end(process)
    left = await asyncio.to_thread(service.status)
    assert left["tasks"] + left["waiting"] == TASKS
    assert left["parked"] == left["done"] == 0


async def test_a_start_with_more_consumers_than_can_get_their_turn_warns(tmp_path):
    crowded = Service(tmp_path, CONCURRENT_CONSUMERS_PER_WORKER=20, VLLM_REQUESTS_PER_MINUTE=1, HOLD_LIMIT=600)
    with crowded.running() as process:
        log = Log(process)
        await log.until("setting_warning")
        await log.end(process)
    [warning] = log.of("setting_warning")
    assert warning["setting"] == "HOLD_LIMIT"
    assert "20 consumers at 1 requests a minute wait up to 1200 s" in warning["message"]


async def left_whole(service, *, done):
    """Nothing is lost, doubled or in anybody's hands, and nobody's attempt was spent."""
    left = await asyncio.to_thread(service.status)
    assert (left["tasks"], left["waiting"], left["done"], left["parked"]) == (TASKS - done, 0, done, 0)


async def finished_by_the_next(service):
    """Another life ends them all, each in its first attempt."""
    ended = await asyncio.to_thread(service, "run", "--until-empty", seconds=HANGS_SECONDS)
    assert ended.returncode == 0, ended.stderr
    rows = await asyncio.to_thread(service.results)
    assert sorted((row["task_id"], row["status"], row["attempts"]) for row in rows) == sorted(
        (str(number), "done", 1) for number in range(TASKS)
    )


async def asked_to_stop(process, log):
    process.send_signal(signal.SIGTERM)
    await log.until("run_interrupted")


async def stopped(process, log):
    """By itself: nothing in these tests can end because DRAIN_SECONDS are over."""
    assert await asyncio.to_thread(process.wait, HANGS_SECONDS) == 0
    await log.read()
    assert [event["reason"] for event in log.of("worker_stopped")] == ["drained"]


@pytest.mark.parametrize(
    ("why", "trouble"),
    [("waiting_for", "away"), ("circuit_breaker_opened", OUTAGE), ("endpoint_paused", PAUSE)],
)
async def test_one_signal_ends_a_run_of_which_all_tasks_only_wait(service, model, why, trouble):
    await tasks(service)
    service.environment |= {"DRAIN_SECONDS": "3600", "VLLM_CIRCUIT_BREAKER_TIMEOUT": "3600"}
    if trouble == "away":
        service.environment["VLLM_BASE_URL"] = "http://127.0.0.1:9/v1"
    else:
        model.faults.add(parse_faults(trouble)[0])
    with service.running() as process:
        log = Log(process)
        await log.until(why)
        await log.until("task_received", CONSUMERS)
        await asked_to_stop(process, log)
        await stopped(process, log)
    ends_by_a_stop(log, done=0)
    await left_whole(service, done=0)


async def test_one_signal_finishes_what_the_gpu_works_on_and_hands_back_who_waits_for_a_turn(service, model):
    await tasks(service)
    well = dict(service.environment)
    service.environment |= {"DRAIN_SECONDS": "3600", "VLLM_MAX_CONCURRENT": "1", "VLLM_TIMEOUT": "3600"}
    model.freeze()
    with service.running() as process:
        log = Log(process)
        await log.until("rate_limit_waiting")
        async with asyncio.timeout(HANGS_SECONDS):
            while not model.stats.in_flight:  # noqa: ASYNC110 the referee has no event for it
                await asyncio.sleep(0.01)
            await asked_to_stop(process, log)
            while (await asyncio.to_thread(service.status))["tasks"] < TASKS - 1:  # noqa: ASYNC110 the same
                await asyncio.sleep(0.01)
        model.thaw()
        await stopped(process, log)
    ends_by_a_stop(log, done=1)
    await left_whole(service, done=1)
    service.environment = well | {"RUN_DIR": str(service.folder / "elsewhere")}  # where no start of a minute ago counts
    await finished_by_the_next(service)
