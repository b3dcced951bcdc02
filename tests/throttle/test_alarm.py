"""A timer of the event loop, on the virtual clock and on the service's own loop."""

import asyncio
import time

import pytest

from scraper.event_loop import run
from scraper.throttle.alarm import Alarm
from scraper.throttle.nanoseconds import ns


def now():
    return asyncio.get_running_loop().time()


@pytest.mark.virtual_time
async def test_it_rings_once_at_the_moment_that_was_set_last():
    rung = []
    alarm = Alarm(now, lambda moment: rung.append((moment, now())))
    alarm.set(ns(5))
    alarm.set(ns(3))
    alarm.set(ns(3))
    await asyncio.sleep(10)
    assert rung == [(ns(3), pytest.approx(3))]


@pytest.mark.virtual_time
async def test_it_can_be_told_not_to_ring():
    rung = []
    alarm = Alarm(now, rung.append)
    alarm.set(ns(3))
    alarm.set(None)
    alarm.set(ns(4))
    alarm.cancel()
    await asyncio.sleep(10)
    assert rung == []


@pytest.mark.virtual_time
async def test_a_moment_that_has_passed_rings_in_the_next_turn():
    rung = []
    await asyncio.sleep(10)
    Alarm(now, rung.append).set(ns(3))
    await asyncio.sleep(0.001)
    assert rung == [ns(3)]


def test_on_the_services_loop_it_never_rings_early():
    """Its timers do: they count in whole milliseconds."""
    early = []

    async def ring_often():
        done = asyncio.get_running_loop().create_future()

        def ring(moment):
            early.append(moment - time.monotonic_ns())
            if len(early) == 100:
                done.set_result(None)
            else:
                alarm.set(time.monotonic_ns() + 1_000_000 + 37_000 * len(early))

        alarm = Alarm(time.monotonic, ring)
        alarm.set(time.monotonic_ns() + 1_000_000)
        await done

    run(ring_often())
    assert max(early) <= 1000
