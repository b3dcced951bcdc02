"""What every broker promises, whatever is behind it."""

import asyncio
import itertools
import random
from datetime import UTC, datetime

import pytest

from scraper.errors import DeliveryLost
from scraper.models import Failure
from scraper.ports import Depth, Message

HANGS_SECONDS = 300.0  # far more than any of this takes on a slow machine
WAITS = (0.4, 1.2)
DELIVERY_LIMIT = 50


async def next_of(consumer):
    async with asyncio.timeout(HANGS_SECONDS):
        return await consumer.receive()


async def next_body(consumer):
    """Receive, acknowledge, and return the body."""
    delivery = await next_of(consumer)
    await delivery.ack()
    return delivery.message.body


async def publish(broker, *bodies):
    await broker.publish([Message(body) for body in bodies])


async def until_depth(broker, **wanted):
    """Wait until the broker counts so many; it may take it a moment to know."""
    async with asyncio.timeout(HANGS_SECONDS):
        while True:
            depth = await broker.depth()
            if all(getattr(depth, name) == count for name, count in wanted.items()):
                return depth
            await asyncio.sleep(0.05)


async def test_a_message_arrives_as_it_was_published(broker):
    message = Message(b'{"url": "https://example.org/"}', "täsk-1 🦆", attempts=3, submission=1_722_000_000_123_456_789)
    async with broker.consumer() as consumer:
        await broker.publish([message])
        delivery = await next_of(consumer)
    assert delivery.message == message
    assert delivery.returns == 0


async def test_priority_is_carried(broker):
    async with broker.consumer() as consumer:
        await broker.publish([Message(b"urgent", priority="high")])
        assert (await next_of(consumer)).message.priority == "high"


async def test_an_acknowledged_message_is_gone(place):
    async with place.broker() as broker, broker.consumer() as consumer:
        await publish(broker, b"one")
        await next_body(consumer)
    async with place.broker() as broker, broker.consumer() as consumer:
        assert await until_depth(broker, tasks=0, waiting=0, parked=0)
        await publish(broker, b"two")
        assert await next_body(consumer) == b"two"


async def test_the_oldest_message_comes_first(broker):
    bodies = [b"%d" % number for number in range(30)]
    await publish(broker, *bodies[:20])
    for body in bodies[20:]:
        await publish(broker, body)
    async with broker.consumer() as consumer:
        assert [await next_body(consumer) for _ in bodies] == bodies


async def test_publishing_nothing_is_nothing(broker):
    await broker.publish([])
    assert (await broker.depth()).tasks == 0


async def test_the_same_task_id_twice_is_two_messages(broker):
    await broker.publish([Message(b"first", "same"), Message(b"second", "same")])
    async with broker.consumer() as consumer:
        assert [await next_body(consumer), await next_body(consumer)] == [b"first", b"second"]


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", bytes(range(256)), b"\xff\xfe not utf-8 \xc3\x28", random.Random(1).randbytes(8 << 20)],
    ids=["empty", "nul", "every byte", "no utf-8", "8 MiB"],
)
async def test_bodies_come_back_byte_for_byte(broker, body):
    async with broker.consumer() as consumer:
        await publish(broker, body)
        assert await next_body(consumer) == body


async def test_a_message_without_our_headers_is_a_new_task_of_unknown_id(place):
    async with place.broker() as broker, broker.consumer() as consumer:
        await place.publish_as_a_stranger(b"hello")
        delivery = await next_of(consumer)
        assert delivery.message == Message(b"hello")
        assert delivery.returns == 0
        await delivery.ack()


async def test_a_moved_message_comes_again_high_in_priority_and_with_its_attempts(broker):
    message = Message(b"body", "id", attempts=1, submission=7)
    async with broker.consumer() as consumer:
        await broker.publish([message])
        await (await next_of(consumer)).move(delay_seconds=0, attempts=2)
        again = await next_of(consumer)
        assert again.message == Message(b"body", "id", attempts=2, submission=7, priority="high")
        assert again.returns == 0
        await again.ack()
        await until_depth(broker, tasks=0, waiting=0)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FAILURES = tuple(
    Failure(attempt, f"HTTP 50{attempt} – größer 🦆", datetime(2026, 5, 4, attempt, tzinfo=UTC)) for attempt in (1, 2)
)


async def test_what_a_task_has_been_through_travels_with_it(broker):
    async with broker.consumer() as consumer:
        await broker.publish([Message(b"body", "id", trail=FAILURES[:1], stored_page=True, traceparent=TRACE)])
        delivery = await next_of(consumer)
        assert delivery.message == Message(b"body", "id", trail=FAILURES[:1], stored_page=True, traceparent=TRACE)
        await delivery.move(delay_seconds=0, attempts=2, trail=FAILURES)
        delivery = await next_of(consumer)
        assert delivery.message == Message(
            b"body", "id", 2, priority="high", trail=FAILURES, stored_page=True, traceparent=TRACE
        )
        await delivery.move(delay_seconds=0, attempts=2)
        delivery = await next_of(consumer)
        assert delivery.message.trail == FAILURES
        await delivery.ack()


@pytest.mark.parametrize(("asked", "given"), [(0.1, WAITS[0]), (0.5, WAITS[1]), (1e9, WAITS[1])])
async def test_a_moved_message_waits_for_the_next_delay_on_offer(place, asked, given):
    async with place.broker(wait_seconds=WAITS) as broker, broker.consumer() as consumer:
        await publish(broker, b"later")
        delivery = await next_of(consumer)
        moved_at = asyncio.get_running_loop().time()
        await delivery.move(delay_seconds=asked, attempts=1)
        again = await next_of(consumer)
        assert asyncio.get_running_loop().time() - moved_at >= given - 0.01
        assert again.message == Message(b"later", attempts=1, priority="high")
        await again.ack()


async def test_a_waiting_message_holds_up_nobody(broker):
    await publish(broker, b"later", b"now")
    async with broker.consumer() as consumer:
        await (await next_of(consumer)).move(delay_seconds=3600, attempts=1)
        assert await next_body(consumer) == b"now"


async def test_a_moved_message_keeps_its_body_byte_for_byte(broker):
    body = bytes(range(256)) * 300
    await publish(broker, body)
    async with broker.consumer() as consumer:
        await (await next_of(consumer)).move(delay_seconds=0, attempts=1)
        assert await next_body(consumer) == body


async def test_what_is_unsettled_is_given_back_when_its_consumer_leaves(broker):
    await publish(broker, b"held")
    for returns in range(4):
        async with broker.consumer() as consumer:
            delivery = await next_of(consumer)
            assert (delivery.message.body, delivery.returns) == (b"held", returns)
    async with broker.consumer() as consumer:
        delivery = await next_of(consumer)
        assert delivery.returns == 4
        await delivery.ack()
    await until_depth(broker, tasks=0, waiting=0, parked=0)


async def test_a_moved_message_has_not_been_given_back_yet(broker):
    await publish(broker, b"held")
    async with broker.consumer() as consumer:
        await next_of(consumer)
    async with broker.consumer() as consumer:
        delivery = await next_of(consumer)
        assert delivery.returns == 1
        await delivery.move(delay_seconds=0, attempts=1)
        assert (await next_of(consumer)).returns == 0


async def test_a_lost_delivery_settles_nothing(broker):
    await publish(broker, b"held")
    async with broker.consumer() as consumer:
        lost = await next_of(consumer)
    with pytest.raises(DeliveryLost):
        await lost.ack()
    with pytest.raises(DeliveryLost):
        await lost.move(delay_seconds=0, attempts=1)
    async with broker.consumer() as consumer:
        again = await next_of(consumer)
        assert (again.message, again.returns) == (Message(b"held"), 1)
        with pytest.raises(DeliveryLost):
            await lost.ack()
        await again.ack()
    await until_depth(broker, tasks=0, waiting=0)


async def test_a_delivery_is_settled_once(broker):
    async with broker.consumer() as consumer:
        await publish(broker, b"one", b"two")
        delivery = await next_of(consumer)
        await delivery.ack()
        with pytest.raises(DeliveryLost):
            await delivery.ack()
        with pytest.raises(DeliveryLost):
            await delivery.move(delay_seconds=0, attempts=1)
        assert await next_body(consumer) == b"two"
    await until_depth(broker, tasks=0, waiting=0)


async def test_a_stopped_consumer_settles_what_it_has_and_takes_nothing_more(broker):
    async with broker.consumer() as stopped, broker.consumer() as other:
        await publish(broker, b"in hand", b"still there")
        delivery = await next_of(stopped)
        waiting = asyncio.create_task(stopped.receive())
        await stopped.stop()
        await delivery.ack()
        assert await next_body(other) == b"still there"
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    await until_depth(broker, tasks=0)


async def test_stopping_an_idle_consumer_takes_it_out_of_line(broker):
    async with broker.consumer() as stopped, broker.consumer() as other:
        waiting = asyncio.create_task(stopped.receive())
        await asyncio.sleep(0.05)
        await stopped.stop()
        await publish(broker, b"one")
        assert await next_body(other) == b"one"
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()


async def test_cancelled_receives_lose_nothing(broker):
    rng = random.Random(7)
    bodies = [b"%d" % number for number in range(40)]
    received = []
    async with broker.consumer() as consumer:
        for body in bodies:
            waiting = asyncio.create_task(consumer.receive())
            await publish(broker, body)
            await asyncio.sleep(rng.choice([0, 0, 0.0005, 0.002, 0.01]))
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                received.append(waiting.result().message.body)
                await waiting.result().ack()
        while len(received) < len(bodies):
            received.append(await next_body(consumer))
    assert sorted(received) == sorted(bodies)
    await until_depth(broker, tasks=0, waiting=0, parked=0)


async def test_no_consumer_hoards(broker):
    async with broker.consumer() as slow, broker.consumer() as quick:
        await publish(broker, *(b"%d" % number for number in range(5)))
        in_hand = await next_of(slow)
        others = [await next_body(quick) for _ in range(4)]
        assert sorted([in_hand.message.body, *others]) == [b"0", b"1", b"2", b"3", b"4"]
        await in_hand.ack()


async def test_a_consumer_with_its_hands_full_gets_nothing_until_it_settles(broker):
    async with broker.consumer() as consumer:
        await publish(broker, b"one", b"two")
        first = await next_of(consumer)
        second = asyncio.create_task(next_of(consumer))
        done, _ = await asyncio.wait([second], timeout=0.5)
        assert not done
        await first.ack()
        assert (await second).message.body == b"two"
        await second.result().ack()


async def test_two_brokers_share_the_work(place):
    async with place.broker() as one, place.broker() as two:
        async with one.consumer() as consumer_of_one, two.consumer() as consumer_of_two:
            await publish(one, b"a", b"b")
            deliveries = [await next_of(consumer_of_one), await next_of(consumer_of_two)]
            assert {delivery.message.body for delivery in deliveries} == {b"a", b"b"}
            await publish(two, b"c")
            await deliveries[0].ack()
            assert await next_body(consumer_of_one) == b"c"
            await deliveries[1].ack()
        await until_depth(one, tasks=0)


async def test_namespaces_do_not_see_each_other(place):
    async with place.broker() as ours, place.broker(namespace=f"{place.namespace}-other") as other:
        await publish(other, b"theirs")
        await publish(ours, b"ours")
        async with ours.consumer() as consumer:
            assert await next_body(consumer) == b"ours"
        await until_depth(ours, tasks=0)
        await until_depth(other, tasks=1)
        async with other.consumer() as consumer:
            assert await next_body(consumer) == b"theirs"


async def test_messages_outlive_their_broker(place):
    async with place.broker() as broker:
        await publish(broker, b"kept")
    async with place.broker() as broker, broker.consumer() as consumer:
        assert await next_body(consumer) == b"kept"


async def test_depth_tells_tasks_from_waiting_ones(broker):
    await publish(broker, b"one", b"two", b"three")
    await until_depth(broker, tasks=3, waiting=0, parked=0)
    async with broker.consumer() as consumer:
        await (await next_of(consumer)).move(delay_seconds=3600, attempts=0)
    await until_depth(broker, tasks=2, waiting=1, parked=0)


async def test_depth_counts_the_consumers_where_it_can(broker):
    async with broker.consumer(), broker.consumer():
        depth: Depth = await broker.depth()
        assert depth.consumers in (2, None)


async def test_a_message_that_is_never_settled_ends_in_the_parked_queue(broker):
    await publish(broker, b"poison")
    for returns in range(DELIVERY_LIMIT + 1):
        async with broker.consumer() as consumer:
            assert (await next_of(consumer)).returns == returns
    await until_depth(broker, tasks=0, waiting=0, parked=1)
    async with broker.consumer("parked") as consumer:
        delivery = await next_of(consumer)
        assert delivery.message.body == b"poison"
        await delivery.ack()
    await until_depth(broker, tasks=0, waiting=0, parked=0)


async def test_the_message_of_a_killed_process_comes_back(place):
    async with place.broker() as broker, place.program("hold") as program:
        await broker.publish([Message(b"held", "id", attempts=2)])
        async with asyncio.timeout(HANGS_SECONDS):
            assert await program.stdout.readline() == b"holding\n"
        program.kill()
        async with broker.consumer() as consumer:
            delivery = await next_of(consumer)
            assert delivery.message == Message(b"held", "id", attempts=2)
            assert delivery.returns == 1
            await delivery.ack()
        await until_depth(broker, tasks=0)


async def test_many_consumers_take_each_message_once(place):
    bodies = [b"%d" % number for number in range(60)]
    async with place.broker() as one, place.broker() as two:
        await publish(one, *bodies)
        received = []

        async def consume(broker):
            async with broker.consumer() as consumer:
                while len(received) < len(bodies):
                    received.append(await next_body(consumer))

        consumers = [
            asyncio.create_task(consume(broker)) for broker in itertools.islice(itertools.cycle((one, two)), 6)
        ]
        async with asyncio.timeout(HANGS_SECONDS):
            while len(received) < len(bodies):
                await asyncio.wait(consumers, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
        for consumer in consumers:
            consumer.cancel()
        await asyncio.wait(consumers)
        assert sorted(received) == sorted(bodies)
