"""One connection to RabbitMQ that is opened again when it was lost, over a list of addresses in turn.

aio-pika's own reconnecting connection (`connect_robust`) is not used, for what its source does: it dials one host
only; it restores channels and consumers by itself, so that a delivery's channel object lives on while its delivery
tags are void and an `ack` fails for ever or, worse, hits another message; it declares queues again as the program
first did, over a queue that somebody changed meanwhile; and it retries a wrong password as patiently as a restart.
Here whoever uses a channel learns that it is gone, asks for a new one, and decides what that means.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aio_pika
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPChannelError,
    AuthenticationError,
    DeliveryError,
    ProbableAuthenticationError,
)
from aiormq import Channel
from aiormq.exceptions import ConnectionNotAllowed, InvalidFrameError
from yarl import URL

from scraper.broker.rabbitmq_topology import plain
from scraper.broker.rabbitmq_wire import survive_unreadable_properties
from scraper.errors import Misconfigured, ScraperError, Unavailable
from scraper.events import Back, Observe, WaitingFor
from scraper.patience import SAY_IT_AGAIN_SECONDS, until_available

T = TypeVar("T")

OLDEST_VERSION = (3, 10)
"""The first with at-least-once dead-lettering."""
BLOCKED = "it takes no messages, because its memory or disk run low"
CLOSE_SECONDS = 5.0
"""For goodbye to a broker that may not be listening any more."""

# What these loggers say about lost connections is announced as events; as raw lines they would break the log.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Link:
    """A connection kept by need: `channel` opens what is not open, `call` bounds and translates what is asked."""

    def __init__(
        self,
        addresses: Sequence[URL],
        *,
        purpose: str,
        heartbeat_seconds: float,
        limit_seconds: float,
        observe: Observe,
    ) -> None:
        self._addresses = [_with_heartbeat(address, heartbeat_seconds) for address in addresses]
        self._name = f"scraper {purpose} {socket.gethostname()}:{os.getpid()}"
        self._limit_seconds = limit_seconds
        self._observe = observe
        self._next = 0
        self._failures = 0
        self.last_failure = ""  # what was said when it could not be opened; holds no password
        self._lost = ""
        self._was_open = False
        self._blocked: _Blocked | None = None
        self._opening = asyncio.Lock()
        self._waiting = asyncio.Lock()
        self._connection: aio_pika.Connection | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and _is_open(self._connection)

    def check_it_takes_messages(self) -> None:
        """Raises Unavailable while the broker has told this connection that it reads nothing more from it.

        What is sent then waits in the socket and is read in the end, also after this end has given up on it: every
        further try would be one more copy.
        """
        if self._connection is not None and _is_blocked(self._connection):
            raise Unavailable(BLOCKED)
        if self._blocked is not None:
            self._observe(Back("broker", round(asyncio.get_running_loop().time() - self._blocked.since, 1)))
            self._blocked = None

    async def channel(self, *, confirms: bool) -> Channel:
        """A new channel; connects first if need be, trying each address once.

        Raises Unavailable; Misconfigured where no address has ever served and all of them refuse this program.

        It is a channel of aiormq, the documented layer below aio-pika's classes: those wrap each delivery into a
        second task and a second message object, which is 10 to 20 % of the CPU time of receiving and acknowledging.
        """
        connection = await self._open()
        assert connection.transport is not None
        transport = connection.transport.connection
        channel = await self.call(transport.channel(publisher_confirms=confirms, on_return_raises=confirms))
        assert isinstance(channel, Channel)
        return channel

    async def patiently(self) -> None:
        """Be open, however long it takes; announces that it waits.

        The first time, a wrong password or vhost raises Misconfigured at once. Later it is waited out: what worked
        once may be on its way back (a vhost that still starts, a connection limit, a user database that is away).
        """
        async with self._waiting:
            if not self.is_open:
                await until_available("broker", self._attempt, observe=self._observe)

    async def call(self, answer: Awaitable[T]) -> T:
        """The broker's answer. Raises Unavailable where it is away or silent beyond the limit, and hangs up then.

        The limit stands still while the broker says that it takes no messages: the answer comes when it does again.
        The channel's and the message's own refusals (AMQPChannelError, DeliveryError) pass through.
        """
        asked = self._connection
        try:
            async with _TimeLimit(self._limit_seconds, blocked=self._still_blocked) as limit:
                return await answer
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # the library cancels whoever waits on a connection that dies
            raise Unavailable("the connection to the broker was lost") from error
        except (ScraperError, AMQPChannelError, DeliveryError):
            raise
        except CONNECTION_EXCEPTIONS as error:
            if not limit.expired:
                raise Unavailable(f"the connection to the broker was lost: {self._said(error)}") from error
            silence = f"the broker gave no answer within {self._limit_seconds:g} s"
            if self._connection is asked:  # and not a newer one already
                await self.hang_up(silence)
            raise Unavailable(silence) from error
        except Exception as error:
            if type(error) is not Exception:
                raise
            # with the bare class aiormq rejects what is pending on a connection that is closed in good order
            raise Unavailable("the connection to the broker was closed") from error

    async def hang_up(self, reason: str = "") -> None:
        """Close the connection, without waiting long for the broker's consent."""
        connection, self._connection = self._connection, None
        self._lost = reason
        if connection is not None:
            await _close(connection)

    def _still_blocked(self) -> bool:
        """Whether to wait on; says so for all that wait, every now and then."""
        if self._connection is None or not _is_blocked(self._connection):
            return False
        now = asyncio.get_running_loop().time()
        self._blocked = self._blocked or _Blocked(since=now - self._limit_seconds)
        if now - self._blocked.said >= SAY_IT_AGAIN_SECONDS:
            self._blocked.said = now
            self._observe(WaitingFor("broker", BLOCKED, round(now - self._blocked.since, 1)))
        return True

    async def _attempt(self) -> None:
        lost, self._lost = self._lost, ""
        if self._connection is not None:
            lost = self._why_closed(self._connection)
            await self.hang_up()
        if lost:
            self._next += 1  # the next address first: this one has just failed
            raise Unavailable(lost)
        await self._open()

    async def _open(self) -> aio_pika.Connection:
        if self._connection is not None and _is_open(self._connection):
            return self._connection
        failures = self._failures
        async with self._opening:
            if self._connection is not None and _is_open(self._connection):
                return self._connection
            if self._failures != failures:
                raise Unavailable(self.last_failure)  # somebody has just tried
            await self.hang_up()
            try:
                self._connection = await self._dial_each()
            except (Unavailable, Misconfigured) as error:
                self._failures += 1
                self.last_failure = str(error)
                raise
            self._was_open = True
            return self._connection

    async def _dial_each(self) -> aio_pika.Connection:
        """Raises Misconfigured only where every address refuses for good and none has ever served."""
        errors: list[Unavailable | Misconfigured] = []
        for _ in self._addresses:
            try:
                return await self._dial(self._addresses[self._next % len(self._addresses)])
            except (Unavailable, Misconfigured) as error:
                self._next += 1
                errors.append(error)
        for_good = not self._was_open and all(isinstance(error, Misconfigured) for error in errors)
        said = "; ".join(map(str, errors))
        raise (Misconfigured(said) if for_good else Unavailable(said)) from errors[-1]

    async def _dial(self, address: URL) -> aio_pika.Connection:
        where = f"{address.host}:{address.port or (5671 if address.scheme == 'amqps' else 5672)}"
        connection = aio_pika.Connection(address, client_properties={"connection_name": self._name})
        try:
            async with asyncio.timeout(self._limit_seconds):
                await connection.connect()
        except TimeoutError as error:
            await _close(connection)
            raise Unavailable(f"{where} gave no AMQP answer within {self._limit_seconds:g} s") from error
        except asyncio.CancelledError as error:
            await _close(connection)
            if _is_cancelled():
                raise
            raise Unavailable(f"{where} hung up") from error
        except (*CONNECTION_EXCEPTIONS, ValueError) as error:
            await _close(connection)
            advice = _wrong_for_good(error, address)
            if advice:
                raise Misconfigured(f"BROKER_URL: {where} {advice}") from error
            raise Unavailable(f"{where}: {self._said(error)}") from error
        assert connection.transport is not None
        unfit = unfitness(connection.transport.connection.server_properties)
        if unfit:
            await _close(connection)
            raise Misconfigured(f"BROKER_URL: {where} {unfit}")
        return connection

    def _why_closed(self, connection: aio_pika.Connection) -> str:
        closing = connection.transport.connection.closing if connection.transport is not None else None
        error = closing.exception() if closing is not None and closing.done() and not closing.cancelled() else None
        return "the connection was lost" + (f": {self._said(error)}" if error is not None else "")

    def _said(self, error: BaseException) -> str:
        """The error's text without any password that a library may have put into it."""
        text = "it is closed" if isinstance(error, RuntimeError) else plain(error)
        for address in self._addresses:
            if address.password:
                text = text.replace(address.password, "***")
        return text


@dataclass(slots=True)
class _Blocked:
    """Since when answers are waited for that a blocked connection holds up, and when that was last said."""

    since: float
    said: float = float("-inf")


class _TimeLimit:
    """A time for one answer, which begins anew for as long as the broker takes nothing from this connection."""

    __slots__ = ("_blocked", "_handle", "_seconds", "_timeout", "_was_blocked")

    def __init__(self, seconds: float, *, blocked: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._blocked = blocked
        self._timeout = asyncio.timeout(None)
        self._was_blocked = False

    @property
    def expired(self) -> bool:
        return self._timeout.expired()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._look)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        blocked = self._blocked()
        if blocked or self._was_blocked:
            self._handle = loop.call_later(self._seconds, self._look)
        else:
            self._timeout.reschedule(loop.time())
        self._was_blocked = blocked


def parse_addresses(urls: Sequence[str]) -> list[URL]:
    """The addresses of BROKER_URL. Raises Misconfigured without repeating them: they hold passwords."""
    addresses = []
    for number, text in enumerate(urls, 1):
        which = "BROKER_URL" if len(urls) == 1 else f"BROKER_URL (address {number})"
        try:
            address = URL(text.strip())
            if address.scheme not in ("amqp", "amqps") or not address.host or address.explicit_port == 0:
                raise ValueError  # noqa: TRY301 the same answer as to what cannot be parsed at all
        except ValueError:
            raise Misconfigured(
                f"{which} is not of the form amqp://user:password@host:5672/vhost (or amqps://…). "
                "Special characters in the password must be percent-encoded"
            ) from None
        addresses.append(address)
    if not addresses:
        raise Misconfigured("BROKER_URL names no broker")
    return addresses


def unfitness(server_properties: Mapping[str, Any]) -> str:
    """Why this server cannot be used; empty where it can."""
    product, version = str(server_properties.get("product")), str(server_properties.get("version"))
    if product != "RabbitMQ":
        return f"is {product}, not RabbitMQ"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_VERSION:
        return f"is RabbitMQ {version}; 3.10 or later is needed: before, dead-lettering could lose messages"
    return ""


def _wrong_for_good(error: BaseException, address: URL) -> str:
    """What is wrong with the address itself, so that waiting cannot help; empty where it may be the network."""
    if isinstance(error, (ProbableAuthenticationError, AuthenticationError)):
        return "refused its user name or password"
    # aiormq 7 reports the broker's refusal of the vhost as an unexpected frame, without the broker's words
    if isinstance(error, ConnectionNotAllowed) or (
        isinstance(error, InvalidFrameError) and "Connection.Close" in str(error)
    ):
        vhost = address.path[1:].replace("%2F", "/") or "/"
        return (
            f"refused the vhost {vhost!r}: it does not exist (rabbitmqctl add_vhost), its user may not use it "
            "(rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'), or a connection limit is reached"
        )
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, ssl.SSLError, ValueError)):
        return (
            "cannot be asked with the options behind its «?»: cafile, certfile and keyfile name PEM files that this "
            f"program may read ({getattr(error, 'reason', None) or getattr(error, 'strerror', None) or error})"
        )
    if isinstance(error.__cause__, ssl.SSLError):
        plain = error.__cause__.reason == "WRONG_VERSION_NUMBER"
        hint = "; does it speak TLS at this port, or is it an amqp:// address?" if plain else ""
        return f"and this program could not agree on TLS: {error.__cause__.reason}{hint}"
    return ""


def _with_heartbeat(address: URL, seconds: float) -> URL:
    return address if "heartbeat" in address.query else address.update_query(heartbeat=max(1, round(seconds)))


def _is_open(connection: aio_pika.Connection) -> bool:
    return connection.transport is not None and connection.transport.connection.is_opened


def _is_blocked(connection: aio_pika.Connection) -> bool:
    """Whether the broker has said so. aiormq keeps it to itself but for `ready`, which returns at once or waits."""
    if not _is_open(connection):
        return False
    assert connection.transport is not None
    ready = connection.transport.connection.ready()
    try:
        ready.send(None)
    except StopIteration:
        return False
    ready.close()
    return True


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close(connection: aio_pika.Connection) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
    except CONNECTION_EXCEPTIONS:
        pass  # it is gone either way


survive_unreadable_properties()
