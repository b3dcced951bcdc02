"""The first word to stop: what the GPU works for is finished, what only waits goes back at once, over both brokers."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from scraper import worker
from scraper.errors import Unavailable
from scraper.events import StopWaits
from scraper.ports import Message
from scraper.worker import Limits
from tests.broker.conftest import place  # noqa: F401 a fixture
from tests.test_worker import HANGS_SECONDS, ScriptedPipeline, a_bench, empty, trouble  # noqa: F401 a fixture among them

PATIENT = Limits(drain_seconds=3600)
"""Nothing in these tests ends because this time is over."""


class Stage:
    """Where each task stands, as its trace says, until it is sent on."""

    def __init__(self, **phases):
        self.phases, self.traces, self.go = phases, {}, {name: asyncio.Event() for name in phases}

    def pipeline(self):
        stage = self

        class Staged(ScriptedPipeline):
            async def run(self, task, *, trace, **rest):
                stage.traces[task.task_id] = trace
                trace.enter(stage.phases[task.task_id])
                await stage.go[task.task_id].wait()
                trace.enter("store")
                return await super().run(task, trace=trace, **rest)

        return Staged()

    async def all_there(self):
        await until(lambda: len(self.traces) == len(self.phases))


async def until(condition):
    async with asyncio.timeout(HANGS_SECONDS):
        while not condition():  # noqa: ASYNC110 what is asked for sets no event
            await asyncio.sleep(0.01)


async def finishing(bench, stage, name):
    """Say stop, and once all others have gone back, let `name` go on to its end."""
    bench.stop.set()
    await until(lambda: bench.worker.in_hand == 1)
    stage.go[name].set()
    await bench.running


async def put(bench, *ids):
    await bench.broker.publish([Message(b'{"id": "%s"}' % each.encode(), each, attempts=2) for each in ids])


async def left(bench, count):
    """What lies in the queue, all of it: (id, attempts, returns)."""
    found = []
    async with bench.broker.consumer() as consumer, asyncio.timeout(HANGS_SECONDS):
        for _ in range(count):
            delivery = await consumer.receive()
            found.append((delivery.message.task_id, delivery.message.attempts, delivery.returns))
            await delivery.ack()
        assert await empty(bench)
    return sorted(found)


@pytest.mark.parametrize(
    "waiting", ["host_delay", "fetch", "clean", "wait_slot", "wait_circuit", "server_pause", "backoff"]
)
async def test_what_has_cost_the_gpu_nothing_goes_back_while_its_work_is_finished(bench, waiting):
    stage = Stage(waits=waiting, works="generate")
    await put(bench, "waits", "works")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await stage.all_there()
        await finishing(bench, stage, "works")
    assert set(await bench.rows()) == {"works"}
    assert await left(bench, 1) == [("waits", 2, 0)]


async def test_a_request_that_fails_while_stopping_is_not_made_again(bench):
    stage = Stage(a="first_token")
    await put(bench, "a")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await stage.all_there()
        bench.stop.set()
        await asyncio.sleep(0)
        stage.traces["a"].enter("backoff")
        await bench.running
    assert await bench.rows() == {}
    assert await left(bench, 1) == [("a", 2, 0)]


async def test_a_task_with_an_answer_in_hand_waits_for_one_turn_more(bench):
    stage = Stage(repair="wait_slot", waits="wait_slot")
    await put(bench, "repair", "waits")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await stage.all_there()
        stage.traces["repair"].answer = "{}"
        await finishing(bench, stage, "repair")
    assert set(await bench.rows()) == {"repair"}
    assert await left(bench, 1) == [("waits", 2, 0)]


async def test_and_goes_back_where_nobody_gets_one(bench):
    stage, away = Stage(repair="wait_slot", works="generate"), asyncio.Event()
    await put(bench, "repair", "works")
    async with bench.working(stage.pipeline(), limits=PATIENT, model_away=away.is_set):
        await stage.all_there()
        stage.traces["repair"].answer = "{}"
        bench.stop.set()
        stage.go["works"].set()
        await until(lambda: bench.worker.in_hand == 1)
        away.set()  # the circuit opens while it waits
        await bench.running
    assert set(await bench.rows()) == {"works"}
    assert await left(bench, 1) == [("repair", 2, 0)]


async def test_deliveries_that_share_one_waiting_run_all_go_back(bench):
    stage = Stage(a="wait_slot")
    await put(bench, "a", "a")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await until(lambda: bench.worker.in_hand == 2)
        await stage.all_there()
        bench.stop.set()
        await bench.running
    assert await left(bench, 2) == [("a", 2, 0)] * 2


async def test_a_task_on_its_way_to_the_line_goes_back_once_it_waits_there(bench):
    stage = Stage(a="store")  # as every task begins: a look whether it has ended before
    await put(bench, "a")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await stage.all_there()
        bench.stop.set()
        await asyncio.sleep(0)
        stage.traces["a"].enter("wait_slot")
        await bench.running
    assert await left(bench, 1) == [("a", 2, 0)]


async def test_what_is_being_handed_back_is_copied_once_whatever_comes_meanwhile(bench, monkeypatch):
    moving, go, moved = asyncio.Event(), asyncio.Event(), []
    consumer = bench.broker.consumer

    class Slow:
        """Takes its time to copy a message, as a broker under load does."""

        def __init__(self, delivery):
            self._delivery = delivery
            self.message, self.returns, self.ack = delivery.message, delivery.returns, delivery.ack

        async def move(self, **how):
            await self._delivery.move(**how)
            moving.set()
            await go.wait()
            moved.append(self.message.task_id)

    class SlowConsumer:
        def __init__(self, inner):
            self.stop, self._inner = inner.stop, inner

        async def receive(self):
            return Slow(await self._inner.receive())

    @asynccontextmanager
    async def slow(queue="tasks"):
        async with consumer(queue) as inner:
            yield SlowConsumer(inner)

    stage = Stage(a="wait_slot")
    await put(bench, "a")
    with monkeypatch.context() as patched:
        patched.setattr(bench.broker, "consumer", slow)
        patched.setattr(worker, "HAND_BACK_SECONDS", 3600)
        async with bench.working(stage.pipeline(), limits=PATIENT):
            await stage.all_there()
            bench.stop.set()
            await moving.wait()
            bench.stop_now.set()
            await asyncio.sleep(0.05)
            go.set()
            await bench.running
    assert moved == ["a"]
    assert await left(bench, 1) == [("a", 2, 0)]


async def test_a_job_that_is_let_go_ends_in_its_own_time(bench, monkeypatch):
    there, ending, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event(), []

    class Tidy(ScriptedPipeline):
        async def run(self, task, *, trace, **rest):
            trace.enter("clean")
            there.set()
            try:
                await asyncio.Event().wait()
            finally:  # as where a child process has to be ended
                ending.set()
                await go.wait()
                ended.append(task.task_id)

    looks = []
    await put(bench, "a")
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.01)
    async with bench.working(Tidy(), limits=PATIENT, model_away=lambda: bool(looks.append(None))):
        await there.wait()
        bench.stop.set()
        await ending.wait()
        await until(lambda: len(looks) >= 5)  # each finds it there still
        go.set()
        await bench.running
    assert ended == ["a"]
    assert await left(bench, 1) == [("a", 2, 0)]


async def stopped_where_nothing_can_be_handed_back(bench, monkeypatch):
    stage = Stage(a="wait_slot")
    await put(bench, "a")
    with monkeypatch.context() as patched:
        trouble(bench, patched, times=9)
        async with bench.working(stage.pipeline(), limits=PATIENT):
            await stage.all_there()
            bench.stop.set()
            await bench.running


async def test_a_waiting_task_that_cannot_be_handed_back_is_delivered_again(bench, monkeypatch):
    await stopped_where_nothing_can_be_handed_back(bench, monkeypatch)
    assert await left(bench, 1) == [("a", 2, 1)]


class StoreThatGoesAway:
    """Finds as ever, and saves nothing until it is back."""

    def __init__(self, store):
        self.find, self.tried, self.back, self._store = store.find, asyncio.Event(), asyncio.Event(), store

    async def save(self, *row, **named):
        self.tried.set()
        if not self.back.is_set():
            raise Unavailable("disk full")
        return await self._store.save(*row, **named)


async def test_a_result_that_waits_for_its_store_is_kept_for_the_sake_of_its_answer_and_the_log_says_so(bench):
    real, bench.store = bench.store, StoreThatGoesAway(bench.store)
    stage = Stage(a="generate", waits="wait_slot")
    await put(bench, "a", "waits")
    async with bench.working(stage.pipeline(), limits=PATIENT, store_away=bench.store.tried.is_set):
        await stage.all_there()
        stage.traces["a"].answer = "{}"
        stage.go["a"].set()
        await bench.store.tried.wait()
        bench.stop.set()
        await bench.until(lambda: any(isinstance(event, StopWaits) for event in bench.events))
        await until(lambda: bench.worker.in_hand == 1)
        bench.store.back.set()
        await bench.running
    bench.store = real
    assert set(await bench.rows()) == {"a"}
    assert await left(bench, 1) == [("waits", 2, 0)]
    assert [event for event in bench.events if isinstance(event, StopWaits)] == [StopWaits(1, 3600)]


async def test_a_result_that_cost_no_answer_goes_back_where_the_store_is_away(bench):
    real, bench.store = bench.store, StoreThatGoesAway(bench.store)
    stage = Stage(a="validate")
    await put(bench, "a")
    async with bench.working(stage.pipeline(), limits=PATIENT, store_away=bench.store.tried.is_set):
        await stage.all_there()
        stage.go["a"].set()
        await bench.store.tried.wait()
        bench.stop.set()
        await bench.running
    bench.store = real
    assert await bench.rows() == {}
    assert await left(bench, 1) == [("a", 2, 0)]
    assert not any(isinstance(event, StopWaits) for event in bench.events)


@pytest.mark.parametrize("asked", ["stop", "stop_now"])
async def test_what_is_handed_back_ends_in_the_log(bench, monkeypatch, asked):
    monkeypatch.setattr(worker, "HAND_BACK_SECONDS", 3600)
    stage = Stage(a="wait_slot")
    await put(bench, "a")
    async with bench.working(stage.pipeline(), limits=PATIENT):
        await stage.all_there()
        getattr(bench, asked).set()
        await bench.running
    [end] = bench.settled()
    assert (end.task_id, end.outcome, end.reason, end.attempts) == ("a", "handed_back", "stopping", 3)
    assert bench.received() == ["a"]


async def test_what_the_broker_has_to_deliver_again_says_so_at_its_end(bench, monkeypatch):
    await stopped_where_nothing_can_be_handed_back(bench, monkeypatch)
    [end] = bench.settled()
    assert (end.outcome, end.reason) == ("handed_back", "stopping; the broker delivers it again")
