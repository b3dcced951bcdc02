"""Mistakes that well-known libraries have made at this very task; each is a test here."""

import asyncio
import itertools
from contextlib import asynccontextmanager
from functools import partial

import pytest

from scraper.errors import ModelFailed
from scraper.llm_client import LLMClient
from scraper.throttle.circuit_breaker import CircuitBreaker, CircuitOpen, CircuitState
from scraper.throttle.nanoseconds import SECOND
from scraper.throttle.rate_limiter import RateLimiter
from scraper.throttle.verdict import Effect, Ending, Verdict
from tests.scripted_server import ScriptedServer, hang, refusal, reset, streamed

pytestmark = pytest.mark.virtual_time

ANSWERED, FAILED = Verdict(Ending.ANSWERED), Verdict(Ending.NO_ANSWER)


def now():
    return asyncio.get_running_loop().time()


async def use(limiter, *, seconds=0.0, verdict=ANSWERED, seen=None):
    async with limiter.admit() as permit:
        if seen is not None:
            seen.append((now(), permit.probe))
        await asyncio.sleep(seconds)
        permit.report(verdict)


async def open_circuit(limiter):
    for _ in range(5):
        await use(limiter, verdict=FAILED)
    assert limiter.breaker.state is CircuitState.OPEN


def fast(**how):
    return RateLimiter(64, 60_000, CircuitBreaker(), **how)


async def test_the_first_minute_holds_no_more_than_any_other():
    """aiolimiter#298: a bucket as deep as its rate lets 39 of 20 out."""
    seen, limiter = [], RateLimiter(max_concurrent=64)
    await asyncio.gather(*(use(limiter, seen=seen) for _ in range(60)))
    assert sum(start < 60 for start, _ in seen) == 20


async def test_no_waiter_starves_behind_newcomers():
    """A heap of futures in aiolimiter, unordered: whoever comes later may go first."""
    order, limiter = [], RateLimiter(max_concurrent=1)

    async def caller(name):
        async with limiter.admit():
            order.append(name)
            await asyncio.sleep(1)

    tasks = []
    for name in range(40):
        tasks.append(asyncio.create_task(caller(name)))
        await asyncio.sleep(0.5)
    await asyncio.gather(*tasks)
    assert order == list(range(40))


async def test_one_of_fifty_waiters_probes():
    """aiobreaker, purgatory: every waiter becomes a probe."""
    limiter, seen = fast(), []
    await open_circuit(limiter)
    waiters = [asyncio.create_task(use(limiter, seconds=10, seen=seen)) for _ in range(50)]
    await asyncio.sleep(65)
    assert [probe for _, probe in seen] == [True]
    await asyncio.gather(*waiters)


async def test_cancelled_calls_open_no_circuit():
    """purgatory: a cancellation counts as a failure."""
    limiter = fast()
    tasks = [asyncio.create_task(use(limiter, seconds=10)) for _ in range(20)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.breaker.failures == 0
    assert limiter.breaker.state is CircuitState.CLOSED


async def test_a_cancelled_probe_closes_no_circuit():
    """Polly: a cancelled probe counts as a success."""
    limiter = fast()
    await open_circuit(limiter)
    probe = asyncio.create_task(use(limiter, seconds=10))
    await asyncio.sleep(62)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert limiter.breaker.state is CircuitState.HALF_OPEN
    assert not limiter.breaker.probing


async def test_late_failures_do_not_extend_the_open_time():
    """aiobreaker: each failure that comes in while open starts the time anew."""
    limiter, seen = fast(), []
    late = [asyncio.create_task(use(limiter, seconds=40, verdict=FAILED)) for _ in range(5)]
    await asyncio.sleep(0.1)
    await open_circuit(limiter)
    opened = now()
    await use(limiter, seen=seen)
    assert seen[0][0] - opened == pytest.approx(60, abs=0.01)
    await asyncio.gather(*late)


async def test_late_results_do_not_decide_for_the_probe():
    """resilience4j: a success that started before the circuit opened closes it."""
    limiter = fast()
    late = asyncio.create_task(use(limiter, seconds=70))
    await asyncio.sleep(0.1)
    await open_circuit(limiter)
    probe = asyncio.create_task(use(limiter, seconds=50, verdict=FAILED))
    await late
    assert limiter.breaker.state is CircuitState.HALF_OPEN
    await probe
    assert limiter.breaker.state is CircuitState.OPEN


async def test_the_fifth_failure_opens_neither_the_fourth_nor_the_sixth():
    """gobreaker: trips one too late."""
    limiter, states = fast(), []
    for _ in range(5):
        await use(limiter, verdict=FAILED)
        states.append(limiter.breaker.state)
    assert states == [CircuitState.CLOSED] * 4 + [CircuitState.OPEN]


async def test_a_hanging_probe_does_not_keep_it_half_open_for_ever():
    """resilience4j#935, Polly: no way out of half-open when the probe never ends."""
    limiter, seen = fast(), []
    await open_circuit(limiter)
    hanging = asyncio.create_task(use(limiter, seconds=100_000, seen=seen))
    await asyncio.sleep(61)
    await use(limiter, seen=seen)
    assert [probe for _, probe in seen] == [True, True]
    assert seen[1][0] - seen[0][0] == pytest.approx(125 + 60, abs=0.01)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_every_refusal_has_a_traceback_of_its_own():
    """purgatory: one exception object, whose traceback grows with every raise."""
    breaker = CircuitBreaker(threshold=1)
    breaker.record(Effect.FAILURE, generation=0, now=0)
    refusals = []
    for _ in range(3):
        with pytest.raises(CircuitOpen) as refused:
            breaker.permit(SECOND)
        refusals.append(refused.value)
    assert len({id(refusal) for refusal in refusals}) == 3
    assert {sum(1 for _ in frames(refusal)) for refusal in refusals} == {2}


def frames(error):
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


async def test_only_a_verdict_is_a_success():
    """pybreaker: calling an async function counts as a success before anything has run."""
    limiter = fast()
    for _ in range(4):
        await use(limiter, verdict=FAILED)
    async with limiter.admit():
        pass  # left without a verdict
    assert limiter.breaker.failures == 4


async def test_no_permit_is_lost_when_its_waiter_is_cancelled_as_it_is_granted():
    """cpython#90155: a semaphore loses a permit and hangs for ever."""
    limiter = RateLimiter(max_concurrent=1, requests_per_minute=60_000)
    for _ in range(50):
        holder = asyncio.create_task(use(limiter, seconds=1))
        await asyncio.sleep(0)
        waiter = asyncio.create_task(use(limiter, seconds=1))
        await holder  # the waiter is granted in this very tick
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(60):
        await use(limiter)
    assert limiter.in_flight == 0


async def test_a_pace_is_no_limit_of_what_is_in_flight():
    """sglang#21362: a token bucket used as a concurrency cap lets slow requests pile up."""
    running, most = 0, 0
    limiter = RateLimiter(max_concurrent=2, requests_per_minute=60)

    async def slow():
        nonlocal running, most
        async with limiter.admit():
            running += 1
            most = max(most, running)
            await asyncio.sleep(100)
            running -= 1

    await asyncio.gather(*(slow() for _ in range(10)))
    assert most == 2


async def test_when_everything_cools_down_callers_wait_instead_of_failing():
    """LiteLLM#3646: all endpoints cooling down is an error at once."""
    limiter = fast()
    await open_circuit(limiter)
    await use(limiter)
    assert now() == pytest.approx(60, abs=0.1)


async def test_the_distance_is_kept_however_breaker_slot_and_pace_come_free():
    """Three awaits in a row: two callers hold a token each, wait for a slot and then start together."""
    seen, limiter = [], RateLimiter(max_concurrent=2, requests_per_minute=20)
    await asyncio.gather(*(use(limiter, seconds=9.7, seen=seen) for _ in range(20)))
    starts = [start for start, _ in seen]
    assert min(later - earlier for earlier, later in itertools.pairwise(starts)) >= 3 - 1e-9


async def test_a_heavy_caller_does_not_starve_behind_light_ones():
    """aiolimiter: whoever asks for more waits as long as others come who ask for less; an attempt is one start, whatever it asks."""
    order, limiter = [], RateLimiter(max_concurrent=2, requests_per_minute=60)

    async def caller(name, seconds):
        async with limiter.admit(attempt_seconds=seconds):
            order.append(name)
            await asyncio.sleep(seconds)

    tasks = [asyncio.create_task(caller("light", 0.1)), asyncio.create_task(caller("heavy", 100))]
    for _ in range(10):
        await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(caller("light", 0.1)))
    await asyncio.gather(*tasks)
    assert order.index("heavy") == 1


@asynccontextmanager
async def asked(*script, **client):
    """A client of a server that plays `script`."""
    limiter = fast()
    async with (
        ScriptedServer(*script) as server,
        LLMClient(server.base_url, model="m", rate_limiter=limiter, random=lambda: 0.5, **client) as llm,
    ):
        yield server, limiter, partial(llm.chat, [{"role": "user", "content": "?"}], max_tokens=5)


async def test_the_permit_is_kept_until_the_body_has_ended():
    """smg#2240: released at the headers, a streamed answer is in flight without being counted."""
    async with asked(streamed("a", "b", first=1, between=10)) as (_, limiter, chat):
        asking = asyncio.create_task(chat())
        await asyncio.sleep(5)  # headers and first token are there
        assert limiter.in_flight == 1
        await asking
        assert limiter.in_flight == 0


async def test_retry_after_is_obeyed():
    """LiteLLM#7669: ignored, the next request comes after the backoff."""
    async with asked(refusal(429, headers=[("retry-after", "30")])) as (server, _, chat):
        await chat()
        assert 30 <= server.times[1] - server.times[0] <= 33.1


async def test_a_retry_loop_lets_a_cancellation_through():
    """tenacity#529: taken for one more failure, it is tried again."""
    async with asked(refusal(500), hang) as (server, limiter, chat):
        for seconds in (0.5, 5):  # while it sleeps before a retry, and while the retry is under way
            asking = asyncio.create_task(chat())
            await asyncio.sleep(seconds)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled()
        assert limiter.in_flight == limiter.waiting == 0
        assert len(server.chats) == 2


async def test_retries_do_not_multiply_over_layers():
    """An HTTP client that retries inside a client that retries: (1 + 2) × (1 + 5) requests for one call."""
    async with asked(*[reset] * 30, max_retries=2) as (server, _, chat):
        with pytest.raises(ModelFailed):
            await chat()
        assert len(server.chats) == 3
