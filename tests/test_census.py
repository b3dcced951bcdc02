"""What the broker counts beside what the throttle knows, over real brokers and two hosts' throttles."""

import asyncio
import secrets
from contextlib import AsyncExitStack

import pytest

from scraper.census import count_consumers
from scraper.events import ThrottleScopeExceeded
from scraper.ports import Depth
from scraper.throttle import operations, scope
from scraper.throttle.shared_limiter import SharedRateLimiter
from tests.broker.holder import connect

URL = "http://localhost:8000/v1"
CONSUMERS = 2
EVERY_SECONDS = 0.05


class Host:
    """One worker process on a host of its own: a RUN_DIR that no other has."""

    def __init__(self, run_dir, broker):
        self.run_dir = run_dir
        self.broker = broker
        self.events = []
        self.counts = 0

    async def work(self, stack):
        self._throttle = SharedRateLimiter(URL, run_dir=self.run_dir, observe=self.events.append)
        await stack.enter_async_context(self._throttle)
        self._say()  # before it consumes
        await stack.enter_async_context(self.broker)
        for _ in range(CONSUMERS):
            await stack.enter_async_context(self.broker.consumer())

    def count(self, stack):
        """Once all are there: how long they take to come is no part of it."""
        counting = asyncio.create_task(
            count_consumers(self.broker, say=self._say, first_seconds=EVERY_SECONDS, every_seconds=EVERY_SECONDS)
        )
        stack.callback(counting.cancel)

    def _say(self, *, counted=None):
        self.counts += counted is not None
        self._throttle.takes("shop", consumers=CONSUMERS, counted=counted)

    def exceeded(self):
        return [event for event in self.events if isinstance(event, ThrottleScopeExceeded)]

    async def until(self, true):
        async with asyncio.timeout(300):
            while not await true():  # noqa: ASYNC110 another process answers it
                await asyncio.sleep(0.02)

    async def queues(self):
        return (await operations.show(URL, self.run_dir))["queues"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(scope, "CONFIRM_SECONDS", 0.2)


@pytest.fixture(params=["sqlite", "rabbitmq"])
def hosts(request, tmp_path):
    namespace = f"census-{secrets.token_hex(4)}"
    target = tmp_path / "queue.db" if request.param == "sqlite" else request.getfixturevalue("rabbitmq_url")
    return [Host(tmp_path / name, connect(request.param, str(target), namespace)) for name in ("a", "b")]


async def at_work(hosts, stack):
    for host in hosts:
        await host.work(stack)
    for host in hosts:
        sharing = sum(other.run_dir == host.run_dir for other in hosts)

        async def all_known(host=host, sharing=sharing):
            return [each["known"] for each in await host.queues()] == [sharing * CONSUMERS]

        await host.until(all_known)
    for host in hosts:
        host.count(stack)


async def test_consumers_of_another_host_are_noticed_on_both(hosts):
    async with AsyncExitStack() as stack:
        await at_work(hosts, stack)
        for host in hosts:

            async def noticed(host=host):
                return bool(host.exceeded())

            await host.until(noticed)
            assert host.exceeded() == [ThrottleScopeExceeded("shop", 2 * CONSUMERS, CONSUMERS)]
            assert await host.queues() == [{"queue": "shop", "known": CONSUMERS, "counted": 2 * CONSUMERS}]


async def test_workers_that_share_a_throttle_are_all_known(hosts):
    hosts[1].run_dir = hosts[0].run_dir
    async with AsyncExitStack() as stack:
        await at_work(hosts, stack)

        async def counted():
            return await hosts[0].queues() == [{"queue": "shop", "known": 2 * CONSUMERS, "counted": 2 * CONSUMERS}]

        async def counted_often():
            """For longer than a surplus takes to be said."""
            return min(host.counts for host in hosts) * EVERY_SECONDS > 2 * scope.CONFIRM_SECONDS

        await hosts[0].until(counted)
        await hosts[0].until(counted_often)
        assert hosts[0].exceeded() + hosts[1].exceeded() == []


class Silent:
    """A broker that does not count consumers."""

    async def depth(self):
        return Depth(tasks=0, waiting=0)


async def test_a_broker_that_does_not_count_is_asked_once():
    said = []
    async with asyncio.timeout(300):
        await count_consumers(Silent(), say=lambda *, counted=None: said.append(counted), first_seconds=0)
    assert said == [None]
