"""Tasks in RabbitMQ: quorum queues, confirmed publishes, consumers that survive what brokers do.

Right on 3.10, 4.0 and later alike. The queues are described in `rabbitmq_topology`. Three things differ from the usual
client, each because RabbitMQ loses messages or work otherwise: nothing is ever requeued in place (a retry is a
confirmed copy, then the acknowledgement), every call is limited in time, and reconnecting is our own (`rabbitmq_link`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

from aiormq import Channel, spec

from scraper.broker.rabbitmq_consumer import RabbitMQConsumer
from scraper.broker.rabbitmq_link import Link, parse_addresses
from scraper.broker.rabbitmq_publisher import Publisher
from scraper.broker.rabbitmq_topology import Topology, count, declare
from scraper.errors import Misconfigured, Unavailable
from scraper.events import Observe, ignore
from scraper.patience import until_available
from scraper.ports import WAIT_SECONDS, Depth, Message, QueueName, wait_for


class RabbitMQBroker:
    """The queues of one namespace. Entered once per process."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        namespace: str = "scraper",
        results_queue: bool = False,
        prefetch_count: int = 1,
        heartbeat_seconds: float = 15.0,
        call_timeout_seconds: float = 30.0,
        start_timeout_seconds: float | None = None,
        watchdog_seconds: float = 30.0,
        wait_seconds: Sequence[float] = WAIT_SECONDS,
        observe: Observe = ignore,
    ) -> None:
        """`urls` are tried in turn. Entering waits for a broker that is away, at most `start_timeout_seconds`."""
        addresses = parse_addresses(urls)
        self._topology = Topology(namespace, wait_seconds, results_queue=results_queue)
        self._prefetch_count = prefetch_count
        self._start_timeout_seconds = start_timeout_seconds
        self._watchdog_seconds = watchdog_seconds
        self._observe = observe
        self._publishing, self._consuming = (
            Link(
                addresses,
                purpose=purpose,
                heartbeat_seconds=heartbeat_seconds,
                limit_seconds=call_timeout_seconds,
                observe=observe,
            )
            for purpose in ("publisher", "consumer")
        )
        self._publisher = Publisher(self._publishing, restore=self._restore)
        self._counting: Channel | None = None
        self._counting_one_at_a_time = asyncio.Lock()
        self._declaring = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._start_timeout_seconds):
                await until_available("broker", self._declare, observe=self._observe)
        except TimeoutError:
            await self._hang_up()
            raise Misconfigured(
                f"BROKER_URL: no RabbitMQ could be reached within {self._start_timeout_seconds:g} s"
                f"{f' ({said})' if (said := self._publishing.last_failure) else ''}. "
                "Is it running, and are host and port right?"
            ) from None
        except BaseException:
            await self._hang_up()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._hang_up()

    def consumer(self, queue: QueueName = "tasks") -> RabbitMQConsumer:
        return RabbitMQConsumer(
            self._topology.tasks if queue == "tasks" else self._topology.parked,
            link=self._consuming,
            publish=self._move,
            restore=self._restore,
            ready=self._ready,
            prefetch_count=self._prefetch_count,
            watchdog_seconds=self._watchdog_seconds,
            observe=self._observe,
        )

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._publisher.send_all(self._topology.tasks, messages)

    async def publish_result(self, line: bytes) -> None:
        """Into the results queue, confirmed. Only with `results_queue`."""
        await self._publisher.send(self._topology.results, Message(line), high=False)

    async def depth(self) -> Depth:
        """Raises Unavailable."""
        names = [self._topology.tasks, self._topology.parked, *self._topology.waits]
        async with self._counting_one_at_a_time:
            counts = await self._count(names)
            if counts is None:
                await self._restore()
                counts = await self._count(names)
        if counts is None:
            raise Unavailable("a queue is missing")
        tasks, parked, *waits = counts
        return Depth(
            tasks=tasks.message_count or 0,
            waiting=sum(each.message_count or 0 for each in waits),
            parked=parked.message_count or 0,
            consumers=tasks.consumer_count,
        )

    async def _ready(self, queue: str) -> int | None:
        async with self._counting_one_at_a_time:
            counts = await self._count([queue])
        return None if counts is None else counts[0].message_count or 0

    async def _count(self, names: Sequence[str]) -> list[spec.Queue.DeclareOk] | None:
        self._publishing.check_it_takes_messages()
        if self._counting is None or self._counting.is_closed or not self._publishing.is_open:
            self._counting = await self._publishing.channel(confirms=False)
        return await count(names, channel=self._counting, answer=self._publishing.call)

    async def _declare(self) -> None:
        async with self._declaring:
            await declare(
                self._topology,
                open_channel=partial(self._publishing.channel, confirms=False),
                answer=self._publishing.call,
            )

    async def _restore(self) -> None:
        """Create what somebody has deleted. A queue that differs now is waited for, not a reason to stop working."""
        try:
            await self._declare()
        except Misconfigured as error:
            raise Unavailable(str(error)) from error

    async def _move(self, message: Message, delay_seconds: float) -> None:
        seconds = wait_for(delay_seconds, delays=self._topology.wait_seconds)
        queue = self._topology.wait(seconds) if seconds else self._topology.tasks
        await self._publisher.send(queue, message, high=True)

    async def _hang_up(self) -> None:
        await self._consuming.hang_up()
        await self._publishing.hang_up()
