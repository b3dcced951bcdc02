"""One consumer on a channel of its own, and the deliveries it hands out.

A keeper task watches over the consumer for as long as it lives:

| what it sees                                     | what it does                                                    |
|--------------------------------------------------|-----------------------------------------------------------------|
| the connection is lost                           | waits for the link to be open again, opens a channel, consumes   |
| the broker closes the channel (consumer_timeout) | says so, opens a new channel, consumes                           |
| the broker cancels the consumer (queue deleted)  | says so, creates what is missing, consumes                       |
| nothing for `watchdog_seconds`, nothing in hand  | asks whether messages are ready; if they stay so, a new channel  |

All that was delivered on a channel that is gone comes again: its deliveries raise DeliveryLost from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Self

from aio_pika.exceptions import AMQPChannelError, ChannelNotFoundEntity
from aiormq import Channel, spec
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused

from scraper.broker.rabbitmq_link import Link
from scraper.broker.rabbitmq_topology import plain
from scraper.broker.rabbitmq_wire import message_of, returns_of
from scraper.errors import DeliveryLost, Misconfigured, Unavailable
from scraper.events import Observe
from scraper.models import Trail
from scraper.patience import until_available
from scraper.ports import Message

Publish = Callable[[Message, float], Awaitable[None]]
"""Where `move` puts its copy: the message and the seconds it shall wait; returns once confirmed."""

STUCK_SECONDS = 5.0
"""How long messages may be ready beside an idle consumer before the channel counts as stuck."""


class RabbitMQConsumer:
    """The deliveries of one queue, across reconnections. Enter it as a context."""

    def __init__(
        self,
        queue: str,
        *,
        link: Link,
        publish: Publish,
        restore: Callable[[], Awaitable[None]],
        ready: Callable[[str], Awaitable[int | None]],
        prefetch_count: int,
        watchdog_seconds: float,
        observe: Observe,
    ) -> None:
        """`restore` creates missing queues. `ready` counts a queue's messages, None where it is missing; it must use
        another channel than this one, which a cancelled question or a missing queue would close.
        """
        self._queue = queue
        self._link = link
        self._publish = publish
        self._restore = restore
        self._ready = ready
        self._prefetch_count = prefetch_count
        self._watchdog_seconds = watchdog_seconds
        self._observe = observe
        self._arrived: deque[tuple[_Session, DeliveredMessage]] = deque()
        self._arrival = asyncio.Event()
        self._session: _Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._session = await until_available(self._what, self._open, observe=self._observe)
        self._keeper = asyncio.create_task(self._keep(self._session))
        self._keeper.add_done_callback(lambda _: self._arrival.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._session is not None:
            await self._session.leave()

    async def receive(self) -> RabbitMQDelivery:
        """The next message. After `stop` there is none, and this waits until it is cancelled."""
        while True:
            while self._stopped or not self._arrived:
                self._arrival.clear()
                await self._arrival.wait()
                if self._keeper is not None and self._keeper.done() and not self._stopped:
                    self._keeper.result()  # a bug ended it: better to say so than to wait for ever
            # its own session, not self._session: a message may arrive while that one is still being opened
            session, raw = self._arrived.popleft()
            if session.is_alive:
                session.in_hand += 1
                return RabbitMQDelivery(raw, session=session, publish=self._publish)

    async def stop(self) -> None:
        """Take nothing more. What had arrived and was not handed out goes back to the queue."""
        if self._stopped:
            return
        self._stopped = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._session is not None and self._session.is_alive:
            await self._session.cancel()
            await self._session.give_back([raw for session, raw in self._arrived if session is self._session])

    @property
    def _what(self) -> str:
        return f"queue {self._queue}"

    async def _keep(self, session: _Session) -> None:
        while True:
            lost = await self._end_of(session)
            self._arrived.clear()
            reasons = [lost] if self._link.is_open else []  # a lost connection is the link's to announce
            await session.leave()
            session = self._session = await until_available(
                self._what, partial(self._reopen, reasons), observe=self._observe
            )

    async def _end_of(self, session: _Session) -> str:
        """Wait until the session has ended or is stuck, and say why."""
        while True:
            seen = session.deliveries
            await asyncio.wait([session.ended], timeout=self._watchdog_seconds)
            if session.ended.done():
                return session.ended.result()
            if session.deliveries == seen and not session.in_hand and await self._is_stuck(session):
                return "its messages are not delivered, or it is missing"

    async def _is_stuck(self, session: _Session) -> bool:
        seen = session.deliveries
        try:
            ready = await self._ready(self._queue)
        except Unavailable:
            return False  # nothing is known; the link will see to it
        if ready == 0:
            return False
        await asyncio.wait([session.ended], timeout=min(STUCK_SECONDS, self._watchdog_seconds))
        return session.deliveries == seen and not session.ended.done()

    async def _reopen(self, reasons: list[str]) -> _Session:
        if reasons:
            raise Unavailable(reasons.pop())  # to be announced, and a pause before the next try
        try:
            return await self._open()
        except Misconfigured as error:
            raise Unavailable(str(error)) from error  # running workers wait until it is put right

    async def _open(self) -> _Session:
        await self._link.patiently()
        try:
            return await self._consume()
        except ChannelNotFoundEntity:
            await self._restore()
        except ChannelAccessRefused as error:
            raise Misconfigured(
                f"BROKER_URL: its user may not read the queue {self._queue} ({plain(error)}). Grant it with "
                "rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
            ) from error
        except AMQPChannelError as error:
            raise Unavailable(f"the broker would not deliver from {self._queue}: {plain(error)}") from error
        raise Unavailable(f"the queue {self._queue} was missing and has been created again")

    async def _consume(self) -> _Session:
        channel = await self._link.channel(confirms=False)
        session = _Session(channel, link=self._link)
        try:
            await self._link.call(channel.basic_qos(prefetch_count=self._prefetch_count))
            consuming = await self._link.call(channel.basic_consume(self._queue, partial(self._on_delivery, session)))
        except BaseException:
            await session.leave()
            raise
        session.consumer_tag = consuming.consumer_tag or ""
        return session

    async def _on_delivery(self, session: _Session, raw: DeliveredMessage) -> None:
        session.deliveries += 1
        self._arrived.append((session, raw))
        self._arrival.set()


class RabbitMQDelivery:
    """One message in hand."""

    __slots__ = ("_publish", "_session", "_settled", "_tag", "message", "returns")

    def __init__(self, raw: DeliveredMessage, *, session: _Session, publish: Publish) -> None:
        self.message = message_of(raw)
        self.returns = returns_of(raw)
        self._tag = raw.delivery_tag or 0
        self._session = session
        self._publish = publish
        self._settled = False

    async def ack(self) -> None:
        self._begin()
        try:
            await self._session.ack(self._tag)
        except BaseException:
            self._settled = False
            raise
        finally:
            self._session.settling_ended()
        self._session.in_hand -= 1

    async def move(
        self, *, delay_seconds: float, attempts: int, trail: Trail | None = None, submission: int | None = None
    ) -> None:
        copy = replace(
            self.message,
            attempts=attempts,
            trail=self.message.trail if trail is None else trail,
            submission=self.message.submission if submission is None else submission,
            priority="high",
        )
        self._begin()
        try:
            await self._publish(copy, delay_seconds)
            await self._session.ack(self._tag)
        except BaseException:
            self._settled = False
            raise
        finally:
            self._session.settling_ended()
        self._session.in_hand -= 1

    def _begin(self) -> None:
        if self._settled or not self._session.is_alive:
            raise DeliveryLost("the broker has taken the delivery back, or it is settled already")
        self._settled = True
        self._session.settling_begins()


class _Session:
    """One channel's life, from its opening until it is closed by whomever."""

    def __init__(self, channel: Channel, *, link: Link) -> None:
        self.channel = channel
        self.consumer_tag = ""
        self.deliveries = 0
        self.in_hand = 0  # handed out and not settled
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._link = link
        self._leaving = False
        self._settling = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        channel.closing.add_done_callback(self._on_closed)
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)

    @property
    def is_alive(self) -> bool:
        """Whether a delivery of this channel can still be settled."""
        return not self._leaving and not self.channel.is_closed

    def settling_begins(self) -> None:
        self._settling += 1
        self._quiet.clear()

    def settling_ended(self) -> None:
        self._settling -= 1
        if not self._settling:
            self._quiet.set()

    async def ack(self, tag: int) -> None:
        """Written in order behind all that was said before; AMQP has no answer to it.

        Not waiting for the socket to take the few bytes saves a future and two turns of the event loop per message.
        """
        try:
            await self._link.call(self.channel.basic_ack(tag, wait=False))
        except Unavailable as error:
            raise DeliveryLost("the channel was lost before the acknowledgement") from error

    async def cancel(self) -> None:
        """Basic.Cancel: nothing more is delivered once this returns."""
        with suppress(Unavailable, AMQPChannelError):
            await self._link.call(self.channel.basic_cancel(self.consumer_tag))

    async def give_back(self, arrived: Iterable[DeliveredMessage]) -> None:
        """Return what nobody has looked at: the one place where something goes back unsettled, and only once."""
        with suppress(Unavailable, AMQPChannelError):
            for raw in arrived:
                await self._link.call(self.channel.basic_nack(raw.delivery_tag or 0, wait=False))

    async def leave(self) -> None:
        """Close the channel, after the settlements on their way.

        RabbitMQ closes the whole connection when an acknowledgement reaches a channel that is being closed.
        """
        self._leaving = True
        await self._quiet.wait()
        with suppress(Unavailable, AMQPChannelError):
            await self._link.call(self.channel.close())

    def _on_closed(self, closing: asyncio.Future[None]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self._end(plain(error) if isinstance(error, Exception) else "the channel was closed")

    def _on_cancelled(self, _: spec.Basic.Cancel) -> None:
        self._end("the broker cancelled the consumer: was the queue deleted?")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
