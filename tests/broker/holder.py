"""A program of its own that takes messages: to be killed, frozen, or run several at a time.

    python -m tests.broker.holder hold|drain KIND TARGET NAMESPACE

`hold` takes one message, says `holding`, waits for a line on stdin, acknowledges and says `acked` or `lost`.
`drain` acknowledges whatever comes and says its body, until nothing has come for a second and nothing is there.
"""

import asyncio
import sys

from scraper.errors import DeliveryLost


def connect(kind, target, namespace, **options):
    """A broker of either kind, not yet entered."""
    if kind == "sqlite":
        from scraper.broker.sqlite import SqliteBroker  # noqa: PLC0415 one kind at a time

        return SqliteBroker(target, namespace=namespace, **options)
    from scraper.broker.rabbitmq import RabbitMQBroker  # noqa: PLC0415 one kind at a time

    return RabbitMQBroker([target], namespace=namespace, **options)


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def hold(broker):
    async with broker, broker.consumer() as consumer:
        delivery = await consumer.receive()
        say("holding")
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await delivery.ack()
        except DeliveryLost:
            say("lost")
        else:
            say("acked")


async def drain(broker):
    async with broker, broker.consumer() as consumer:
        while True:
            try:
                delivery = await asyncio.wait_for(consumer.receive(), timeout=1)
            except TimeoutError:
                if (await broker.depth()).tasks:
                    continue  # it comes late
                return
            say(delivery.message.body.decode())
            await delivery.ack()


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    asyncio.run({"hold": hold, "drain": drain}[what](connect(*where)))
