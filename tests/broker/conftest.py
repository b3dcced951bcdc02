"""Where brokers of one kind meet: a file, or a namespace on the shared RabbitMQ node."""

import asyncio
import contextlib
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scraper.ports import Message
from tests.broker.holder import connect

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    kind: str
    target: str
    namespace: str

    def broker(self, *, namespace=None, **options):
        """Another broker of this place, not yet entered."""
        return connect(self.kind, self.target, namespace or self.namespace, **options)

    async def publish_as_a_stranger(self, body):
        """As a program does that knows the queue's name and nothing of our headers."""
        if self.kind == "sqlite":
            async with self.broker() as broker:
                await broker.publish([Message(body)])
            return
        import aio_pika  # noqa: PLC0415 only where RabbitMQ is

        async with await aio_pika.connect(self.target) as connection, connection.channel() as channel:
            await channel.default_exchange.publish(aio_pika.Message(body), routing_key=f"{self.namespace}.tasks")

    @contextlib.asynccontextmanager
    async def program(self, what):
        """`tests.broker.holder` as a process of its own; it is killed in the end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.broker.holder", what, self.kind, self.target, self.namespace),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@pytest.fixture(params=["sqlite", "rabbitmq"])
def place(request, tmp_path):
    namespace = f"test-{secrets.token_hex(4)}"
    if request.param == "sqlite":
        return Place("sqlite", str(tmp_path / "queue.db"), namespace)
    return Place("rabbitmq", request.getfixturevalue("rabbitmq_url"), namespace)


@pytest.fixture
async def broker(place):
    async with place.broker() as broker:
        yield broker
