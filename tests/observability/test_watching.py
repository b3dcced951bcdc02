"""What is asked for regularly, of a broker that answers as it is told."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from scraper.errors import Misconfigured, Unavailable
from scraper.observability.picture import Picture
from scraper.observability.view import Queue
from scraper.observability.watching import watch_queue, watch_throttle
from scraper.ports import Depth


async def told(depth, *, in_hand):
    """The queue's length as it is told after one look."""

    class Broker:
        async def depth(self):
            return depth

    @asynccontextmanager
    async def opened():
        yield Broker()

    queues = []
    await watch_queue(opened, tell=queues.append, in_hand=lambda: in_hand, seconds=0.0, over=lambda _: True)
    return queues


@pytest.mark.parametrize(("known", "shown"), [(2, 2), (0, 0), (None, 6)])
async def test_workers_say_what_is_in_hand_only_where_the_broker_does_not_know_it_better(known, shown):
    assert await told(Depth(10, 3, parked=1, in_hand=known), in_hand=6) == [Queue(11, 3, shown)]


@pytest.mark.virtual_time
async def test_a_throttle_that_cannot_be_asked_for_a_while_ends_no_watching():
    refusals = [Misconfigured("RUN_DIR: everybody may write there"), Unavailable("no process")]
    seen, twice = [], asyncio.Event()

    async def ask():
        raise refusals[len(seen) % 2]

    def show(view):
        seen.append(view)
        if len(seen) > 1:
            twice.set()

    watching = asyncio.create_task(watch_throttle(Picture(), ask, show=show))
    async with asyncio.timeout(60):
        await twice.wait()
    assert not watching.done()
    watching.cancel()
