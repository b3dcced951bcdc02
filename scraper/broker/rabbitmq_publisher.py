"""Publishing that is over only when the broker has the message on disk, or has said that it has not.

On a connection of its own, because RabbitMQ stops reading a publisher's connection when it runs low on memory or disk,
and acknowledgements must get through then. Every publish is mandatory and confirmed: without `mandatory` one to a
missing queue is confirmed as well, and without looking at the confirmation a refusal looks like success.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from aio_pika.exceptions import AMQPChannelError, DeliveryError, PublishError
from aiormq import Channel, spec

from scraper.broker.rabbitmq_link import Link
from scraper.broker.rabbitmq_topology import plain
from scraper.broker.rabbitmq_wire import properties_of
from scraper.errors import Misconfigured, Unavailable
from scraper.ports import Message

IN_FLIGHT = 128
"""Publishes on their way at once: a confirmation of a quorum queue takes a write to disk, and they share it."""
PIPELINED_BYTES = 65_536
"""Larger bodies wait until the socket has taken them, so that IN_FLIGHT of them do not pile up in memory twice."""


class Publisher:
    """Confirmed publishes to one queue each, several at a time on one channel."""

    def __init__(self, link: Link, *, restore: Callable[[], Awaitable[None]]) -> None:
        """`restore` creates queues that are missing."""
        self._link = link
        self._restore = restore
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    async def send(self, queue: str, message: Message, *, high: bool) -> None:
        """One message, confirmed. Raises Unavailable; where only the answer got lost, it is in the queue."""
        if not await self._delivered(queue, message, high=high):
            await self._restore()
            if not await self._delivered(queue, message, high=high):
                raise Unavailable(f"the queue {queue} is missing")

    async def send_all(self, queue: str, messages: Sequence[Message]) -> None:
        """Many messages, in order, each confirmed when this returns. Raises as `send` does; some may be in then."""
        remaining = iter(messages)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(messages))):
                    group.create_task(self._send_each(queue, remaining))
        except ExceptionGroup as errors:  # not `except*`: before Python 3.11.4 what it raises is a group again
            if errors.split((Misconfigured, Unavailable))[1] is not None:
                raise
            first = errors.exceptions[0]
            raise (Misconfigured if isinstance(first, Misconfigured) else Unavailable)(str(first)) from errors

    async def _send_each(self, queue: str, messages: Iterator[Message]) -> None:
        for message in messages:
            await self.send(queue, message, high=message.priority == "high")

    async def _delivered(self, queue: str, message: Message, *, high: bool) -> bool:
        """Publish once; False where there is no such queue."""
        self._link.check_it_takes_messages()
        channel = await self._open_channel()
        try:
            confirmation = await self._link.call(
                channel.basic_publish(
                    message.body,
                    routing_key=queue,
                    properties=properties_of(message, high=high),
                    mandatory=True,
                    wait=len(message.body) > PIPELINED_BYTES,
                )
            )
        except PublishError:
            return False
        except DeliveryError as error:
            raise Unavailable(f"the broker refused a message for {queue}: is the queue or the disk full?") from error
        except AMQPChannelError as error:
            raise Unavailable(f"the broker refused a message for {queue}: {plain(error)}") from error
        if not isinstance(confirmation, spec.Basic.Ack):
            raise Unavailable(f"the broker did not confirm a message for {queue}")
        return True

    async def _open_channel(self) -> Channel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed or not self._link.is_open:
                self._channel = await self._link.channel(confirms=True)
            return self._channel
