import asyncio
import itertools

import pytest

from scraper.events import CircuitHalfOpen, CircuitOpened, RateLimitAcquired, RateLimitWaiting
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.rate_limiter import RateLimiter
from scraper.throttle.seam import NotAdmitted
from scraper.throttle.verdict import UNSENT, Ending, Verdict

pytestmark = pytest.mark.virtual_time

ANSWERED, FAILED = Verdict(Ending.ANSWERED), Verdict(Ending.NO_ANSWER)


def now():
    return asyncio.get_running_loop().time()


class Callers:
    """Callers of one limiter: when each started, and how many ran at once."""

    def __init__(self, limiter):
        self.limiter = limiter
        self.starts, self.order = [], []
        self.running = self.most_running = 0

    async def call(self, name, *, seconds=1.0, verdict=ANSWERED, **asked):
        async with self.limiter.admit(**asked) as permit:
            self.starts.append(now())
            self.order.append(name)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.running -= 1
            permit.report(verdict)
            return permit

    def all(self, count, **how):
        return [asyncio.create_task(self.call(number, **how)) for number in range(count)]


async def test_defaults_let_two_run_and_twenty_start_a_minute():
    callers = Callers(RateLimiter())
    await asyncio.gather(*callers.all(50, seconds=4.5))
    assert callers.most_running == 2
    assert callers.starts == pytest.approx([3.0 * number for number in range(50)])


async def test_an_hour_at_the_limit_uses_all_of_it_and_not_one_start_more():
    callers = Callers(RateLimiter())
    await asyncio.gather(*callers.all(1201, seconds=2))
    assert callers.starts[-1] == pytest.approx(3600)
    assert min(later - earlier for earlier, later in itertools.pairwise(callers.starts)) >= 3 - 1e-9


async def test_long_requests_are_limited_by_slots():
    callers = Callers(RateLimiter(max_concurrent=3, requests_per_minute=600))
    await asyncio.gather(*callers.all(12, seconds=10))
    assert callers.most_running == 3
    assert now() == pytest.approx(40, abs=1)


async def test_callers_are_served_in_the_order_they_came():
    callers = Callers(RateLimiter())
    await asyncio.gather(*callers.all(20))
    assert callers.order == sorted(callers.order)


async def test_a_permit_that_is_free_at_once_costs_no_turn_of_the_loop():
    limiter = RateLimiter()
    entering = limiter.admit().__aenter__()
    with pytest.raises(StopIteration):
        entering.send(None)
    assert limiter.in_flight == 1


async def test_the_slot_comes_back_whatever_happens_inside():
    limiter = RateLimiter()
    with pytest.raises(ZeroDivisionError):
        async with limiter.admit():
            raise ZeroDivisionError
    assert limiter.in_flight == 0


async def test_cancelling_one_that_waits_gives_up_its_place():
    callers = Callers(RateLimiter())
    tasks = callers.all(4)
    await asyncio.sleep(1)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert callers.order == [0, 2, 3]
    assert callers.starts == [0, 3, 6]
    assert callers.limiter.waiting == 0


@pytest.mark.parametrize("before_the_grant", [True, False])
async def test_cancelling_in_the_very_tick_of_the_grant_passes_slot_and_pace_on(before_the_grant):
    limiter = RateLimiter(max_concurrent=1, requests_per_minute=20)
    callers = Callers(limiter)

    async def holder():
        async with limiter.admit():
            await asyncio.sleep(5)
            if before_the_grant:
                tasks[0].cancel()
        if not before_the_grant:
            tasks[0].cancel()

    holding = asyncio.create_task(holder())
    await asyncio.sleep(0)
    tasks = callers.all(3, seconds=5)
    await asyncio.gather(holding, *tasks, return_exceptions=True)
    assert tasks[0].cancelled()
    assert callers.order == [1, 2]
    assert callers.starts == pytest.approx([5, 10])


@pytest.mark.parametrize("iterations", range(6))
async def test_whatever_the_iteration_a_cancellation_loses_nothing(iterations):
    limiter = RateLimiter(max_concurrent=1, requests_per_minute=60_000)
    callers = Callers(limiter)
    holder = asyncio.create_task(callers.call("holder", seconds=5))
    await asyncio.sleep(0)
    waiters = [asyncio.create_task(callers.call(number)) for number in range(3)]
    await asyncio.sleep(4.999)
    await holder
    for _ in range(iterations):
        await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    assert limiter.in_flight == 0
    assert limiter.waiting == 0
    assert callers.order[-2:] == [1, 2]


async def test_a_storm_of_cancellations_leaves_nothing_behind():
    limiter = RateLimiter(max_concurrent=2, requests_per_minute=600)
    callers = Callers(limiter)
    tasks = callers.all(300, seconds=0.35)
    for number, task in enumerate(tasks):
        if number % 3:
            asyncio.get_running_loop().call_later(number * 0.037, task.cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    assert callers.most_running == 2
    assert min(later - earlier for earlier, later in itertools.pairwise(callers.starts)) >= 0.1 - 1e-9


async def test_out_of_patience_it_raises_and_says_what_held_it():
    limiter = RateLimiter(max_concurrent=1)
    callers = Callers(limiter)
    holder = asyncio.create_task(callers.call("holder", seconds=100))
    await asyncio.sleep(0)
    with pytest.raises(NotAdmitted) as held:
        await callers.call("late", hold_seconds=10)
    assert now() == 10
    assert (held.value.reason, held.value.after_seconds, held.value.waited.total) == ("slot", 60, 10)
    await holder


async def test_a_hundred_thousand_refusals_need_no_waiting():
    breaker = CircuitBreaker(threshold=1)
    limiter = RateLimiter(breaker=breaker)
    await Callers(limiter).call("fails", verdict=FAILED)
    for _ in range(1000):
        with pytest.raises(NotAdmitted) as refused:
            await limiter.admit(hold_seconds=0).__aenter__()
    assert refused.value.reason == "circuit"
    assert now() == 1


async def test_waiting_is_told_once_then_every_thirty_seconds_and_then_acquired():
    told = []
    limiter = RateLimiter(max_concurrent=1, requests_per_minute=60, observe=told.append)
    callers = Callers(limiter)
    holder = asyncio.create_task(callers.call("holder", seconds=70))
    await asyncio.sleep(0)
    await callers.call("waiter")
    await holder
    assert [event.name for event in told] == ["rate_limit_waiting"] * 3 + ["rate_limit_acquired"]
    assert told[0] == RateLimitWaiting(reason="slot", position=1, estimated_wait_s=1.0, in_flight=1, limit=1)
    assert told[-1] == RateLimitAcquired(waited_s=70.0, in_flight=1, limit=1)


async def test_no_wait_is_not_told():
    told = []
    await Callers(RateLimiter(observe=told.append)).call("only")
    assert told == []


async def test_a_half_open_circuit_is_told_on_time_even_if_nobody_waits():
    told = []
    limiter = RateLimiter(breaker=CircuitBreaker(threshold=1), observe=told.append)
    await Callers(limiter).call("fails", verdict=FAILED)
    await asyncio.sleep(60)
    assert told == [CircuitOpened(1, 1, 60.0), CircuitHalfOpen(2)]


async def test_limits_can_change_while_callers_wait():
    limiter = RateLimiter(max_concurrent=1, requests_per_minute=60)
    callers = Callers(limiter)
    tasks = callers.all(4, seconds=10)
    await asyncio.sleep(5)
    limiter.set_limits(max_concurrent=3)
    await asyncio.gather(*tasks)
    assert callers.starts == pytest.approx([0, 5, 6, 10])


async def test_a_permit_knows_when_it_is_too_late_to_write():
    limiter = RateLimiter()
    async with limiter.admit() as permit:
        assert not permit.too_late()
        asyncio.get_running_loop().advance(1.0)
        assert not permit.too_late()
        asyncio.get_running_loop().advance(0.001)
        assert permit.too_late()


async def test_at_a_fast_pace_too_late_is_half_the_distance():
    async with RateLimiter(requests_per_minute=600).admit() as permit:
        asyncio.get_running_loop().advance(0.051)
        assert permit.too_late()


async def test_what_is_handed_back_unsent_costs_no_pace():
    limiter = RateLimiter(max_concurrent=1)
    async with limiter.admit() as permit:
        permit.report(UNSENT)
    async with limiter.admit(place=permit.place) as again:
        assert now() == 0
    assert again.place == permit.place


async def test_success_is_remembered_for_all():
    limiter = RateLimiter()
    await asyncio.sleep(5)
    before = now()
    assert not limiter.succeeded_since(0)
    await Callers(limiter).call("one")
    assert limiter.succeeded_since(before)
    assert not limiter.succeeded_since(now() + 0.001)


async def test_a_permit_outside_its_block_is_a_mistake():
    with pytest.raises(RuntimeError, match="async with"):
        _ = RateLimiter().admit().place


async def test_it_works_on_a_clock_of_its_own():
    loop = asyncio.get_running_loop()
    callers = Callers(RateLimiter(clock=lambda: loop.time() + 1e9))
    await asyncio.gather(*callers.all(3))
    assert callers.starts == pytest.approx([0, 3, 6], abs=1e-3)
