"""The two kinds of queue, for strangers: publishing without a header of ours, and counting what is left."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import aio_pika

from scraper.broker.sqlite import SqliteBroker
from scraper.ports import Message
from tests.chaos.proxy import Cable
from tests.rabbitmq import PrivateNode

QUEUES = ("tasks", "parked", *(f"wait.{wait}" for wait in ("5s", "15s", "60s", "5m", "15m", "60m")))


class EmbeddedQueue:
    """In the same file as the results."""

    url = None

    async def publish(self, bodies: list[bytes], *, namespace: str, database: Path) -> None:
        async with SqliteBroker(database, namespace=namespace) as broker:
            await broker.publish([Message(body) for body in bodies])

    async def left(self, *, namespace: str, database: Path) -> int:
        """Messages in the file, those in hand included."""
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1)) as connection:
            try:
                (left,) = connection.execute("SELECT count(*) FROM queue_messages").fetchone()
            except sqlite3.OperationalError:  # locked
                return -1
        return left


class RabbitMQ:
    """One node or a cluster; the service may reach it by a cable."""

    def __init__(self, *nodes: PrivateNode, cable: Cable | None = None) -> None:
        self.nodes: Sequence[PrivateNode] = nodes
        self.cable = cable
        self.url = ",".join(node.url for node in nodes)
        if cable is not None:
            self.url = self.url.replace(f":{nodes[0].port}/", f":{cable.port}/")

    async def publish(self, bodies: list[bytes], *, namespace: str, database: Path) -> None:
        async with await aio_pika.connect(await self._nearest()) as connection, connection.channel() as channel:
            for body in bodies:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, routing_key=f"{namespace}.tasks")

    async def left(self, *, namespace: str, database: Path) -> int:
        """Messages that lie in any of its queues; those in hand are not counted. -1: nobody can tell now."""
        try:
            async with (
                await aio_pika.connect(await self._nearest(), timeout=5) as connection,
                connection.channel() as channel,
            ):
                queues = [await channel.declare_queue(f"{namespace}.{name}", passive=True) for name in QUEUES]
        except (aio_pika.exceptions.AMQPError, OSError, TimeoutError):
            return -1
        return sum(queue.declaration_result.message_count or 0 for queue in queues)

    async def _nearest(self) -> str:
        """Past the cable, of a node that answers."""
        for node in self.nodes:
            if await asyncio.to_thread(node.answers):
                return node.url
        return self.nodes[0].url
