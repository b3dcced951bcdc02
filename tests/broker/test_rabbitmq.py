"""What is RabbitMQ's own: its queues, its refusals, its disappearances. Always against a real broker."""

import asyncio
import contextlib
import json
import re
import secrets
import socket
import struct
from collections import Counter
from functools import partial

import aio_pika
import pytest
from aiormq import spec
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from scraper.app import open_broker
from scraper.broker.rabbitmq import RabbitMQBroker
from scraper.broker.rabbitmq_consumer import RabbitMQConsumer
from scraper.broker.rabbitmq_link import Link, parse_addresses, unfitness
from scraper.broker.rabbitmq_publisher import Publisher
from scraper.broker.rabbitmq_topology import Topology
from scraper.broker.rabbitmq_wire import message_of, properties_of, returns_of
from scraper.config import Settings
from scraper.errors import DeliveryLost, Misconfigured, Unavailable
from scraper.events import Back, WaitingFor, ignore
from scraper.patience import until_available
from scraper.ports import Message
from tests.rabbitmq import PrivateNode

HANGS_SECONDS = 300.0  # far more than any of this takes on a slow machine
CONSUMER_TIMEOUT_MS = 4000


@pytest.fixture(autouse=True)
def _nothing_goes_wrong_unseen(caplog):
    """What fails in a task that nobody waits for is only logged, by asyncio."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def namespace():
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def own_node():
    """A node that tests here may kill and freeze."""
    with PrivateNode() as node:
        yield node


@pytest.fixture
def impatient_node(own_node):
    """It closes channels opened from now on that hold a delivery for a few seconds; it looks for them twice a second."""

    def be(**environment):
        settings = [f"application:set_env(rabbit, {name}, {value})" for name, value in environment.items()]
        own_node.ctl("eval", ", ".join(settings) + ".")

    be(consumer_timeout=CONSUMER_TIMEOUT_MS, channel_tick_interval=500)
    yield own_node
    be(consumer_timeout=1_800_000, channel_tick_interval=60_000)


@pytest.fixture
async def channel(rabbitmq_url):
    """A plain client beside ours."""
    async with await aio_pika.connect(rabbitmq_url) as connection, connection.channel() as channel:
        yield channel


async def soon(awaitable):
    async with asyncio.timeout(HANGS_SECONDS):
        return await awaitable


async def until(condition):
    async with asyncio.timeout(HANGS_SECONDS):
        while not condition():  # noqa: ASYNC110 what is waited for happens in another program
            await asyncio.sleep(0.02)


def named(events, kind, what="broker"):
    return [event for event in events if isinstance(event, kind) and event.what == what]


def unanswered_port():
    """A socket that is bound and does not listen: nobody answers there, and nobody else can begin to."""
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    return reserved


@pytest.fixture
def dead():
    """A port on which nobody listens."""
    with unanswered_port() as reserved:
        yield reserved.getsockname()[1]


class Relay:
    """A network between us and the broker, which can be slow to appear, cut, or silent."""

    def __init__(self, port):
        self._target = port
        self._socket = unanswered_port()
        self.port = self._socket.getsockname()[1]
        self._open = set()
        self._carrying = asyncio.Event()
        self._carrying.set()

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, sock=self._socket)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        await until(lambda: not self._open)

    def cut(self):
        for writer in self._open:
            writer.transport.abort()
        self._carrying.set()

    def be_silent(self):
        self._carrying.clear()

    def carry(self):
        self._carrying.set()

    async def _connected(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, there_writer}
        self._open |= ends
        await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        self._open -= ends

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._carrying.wait()
                writer.write(data)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# ---- queues


async def test_the_queues_are_those_of_the_table(rabbitmq_node, rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, results_queue=True):
        pass
    listed = json.loads(rabbitmq_node.ctl("-q", "list_queues", "name", "durable", "arguments", "--formatter", "json"))
    queues = {queue["name"]: queue for queue in listed if queue["name"].startswith(f"{namespace}.")}
    back_to_tasks = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{namespace}.tasks",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    wanted = {
        "tasks": back_to_tasks | {"x-dead-letter-routing-key": f"{namespace}.parked", "x-delivery-limit": 50},
        "parked": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
        "results": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000},
    }
    for name, seconds in {"5s": 5, "15s": 15, "60s": 60, "5m": 300, "15m": 900, "60m": 3600}.items():
        wanted[f"wait.{name}"] = back_to_tasks | {"x-message-ttl": seconds * 1000}
    assert {name: _plain(queue["arguments"]) for name, queue in queues.items()} == {
        f"{namespace}.{name}": arguments for name, arguments in wanted.items()
    }
    assert all(queue["durable"] for queue in queues.values())


def _plain(arguments):
    """Arguments are listed as [name, type, value] or as an object, by version."""
    return arguments if isinstance(arguments, dict) else {name: value for name, _, value in arguments}


async def test_on_the_wire_all_is_persistent_and_what_is_high_or_a_copy_bears_priority_9(
    rabbitmq_url, namespace, channel
):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        await broker.publish([Message(b"copy")])
        async with broker.consumer() as consumer:
            await (await soon(consumer.receive())).move(delay_seconds=0, attempts=0)
        await broker.publish([Message(b"normal"), Message(b"high", priority="high")])
    queue = await channel.get_queue(f"{namespace}.tasks")
    found = {}
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        found[message.body] = (message.priority or 0, message.delivery_mode, message.exchange)
    assert found == {b"copy": (9, 2, ""), b"normal": (0, 2, ""), b"high": (9, 2, "")}


async def test_results_wait_in_their_queue_for_whoever_takes_them(rabbitmq_url, namespace, channel):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, results_queue=True) as broker:
        for line in (b'{"task_id": "a"}', bytes(range(256))):
            await broker.publish_result(line)
        assert (await broker.depth()).tasks == 0
    queue = await channel.get_queue(f"{namespace}.results")
    assert [(await queue.get(no_ack=True)).body for _ in range(2)] == [b'{"task_id": "a"}', bytes(range(256))]


async def test_there_is_no_results_queue_unless_asked_for(rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        with pytest.raises(Unavailable, match=rf"{namespace}\.results is missing"):
            await broker.publish_result(b"{}")


async def test_a_queue_with_other_arguments_stops_the_start_and_is_left_alone(rabbitmq_url, namespace, channel):
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 7}
    await channel.declare_queue(f"{namespace}.tasks", durable=True, arguments=arguments)
    await channel.declare_queue(f"{namespace}.wait.60s", durable=True)
    await channel.default_exchange.publish(aio_pika.Message(b"theirs"), routing_key=f"{namespace}.tasks")
    with pytest.raises(Misconfigured) as error:
        async with RabbitMQBroker([rabbitmq_url], namespace=namespace):
            pass
    said = str(error.value)
    assert said.startswith("QUEUE_NAMESPACE: ")
    assert f"{namespace}.tasks" in said
    assert "inequivalent arg" in said
    assert f"{namespace}.wait.60s" in said  # all that differ, not only the first
    assert "rabbitmqctl delete_queue" in said
    left = await channel.declare_queue(f"{namespace}.tasks", durable=True, arguments=arguments)
    assert left.declaration_result.message_count == 1


@pytest.mark.parametrize("namespace", ["", "amq.mine", "x" * 201])
def test_a_namespace_that_cannot_be_is_refused(namespace):
    with pytest.raises(Misconfigured, match="QUEUE_NAMESPACE"):
        Topology(namespace)


def test_wait_queues_are_named_after_their_delay():
    assert [Topology().wait(seconds) for seconds in (0.25, 1.5, 2, 60, 90, 120, 3600)] == [
        f"scraper.wait.{label}" for label in ("250ms", "1500ms", "2s", "60s", "90s", "2m", "60m")
    ]


# ---- publishing


async def test_a_publish_to_a_missing_queue_creates_it_again_instead_of_losing_the_message(
    rabbitmq_url, namespace, channel
):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, wait_seconds=(0.2,)) as broker:
        await channel.queue_delete(f"{namespace}.tasks")
        await broker.publish([Message(b"one", "id")])
        async with broker.consumer() as consumer:
            delivery = await soon(consumer.receive())
            await channel.queue_delete(f"{namespace}.wait.200ms")
            await delivery.move(delay_seconds=0.1, attempts=1)
            again = await soon(consumer.receive())
            assert again.message == Message(b"one", "id", attempts=1, priority="high")
            await again.ack()


async def test_depth_of_deleted_queues_is_zero_and_they_are_back(rabbitmq_url, namespace, channel):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        await channel.queue_delete(f"{namespace}.parked")
        assert (await broker.depth()).parked == 0
        await channel.get_queue(f"{namespace}.parked", ensure=True)


async def test_a_full_queue_refuses_the_publish_and_it_is_said(rabbitmq_node, rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        policy = json.dumps({"max-length": 1})
        rabbitmq_node.ctl("set_policy", namespace, rf"^{namespace}\.tasks$", policy, "--apply-to", "queues")
        try:
            with pytest.raises(Unavailable, match="refused"):
                await soon(broker.publish([Message(b"x")] * 500))
        finally:
            rabbitmq_node.ctl("clear_policy", namespace)


def test_no_two_publishes_share_a_message_id():
    message = Message(b"", "same")
    assert len({properties_of(message, high=False).message_id for _ in range(100)}) == 100


async def test_a_cancelled_publish_is_cancelled_and_the_next_one_works(rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        for turns in range(12):
            publishing = asyncio.create_task(broker.publish([Message(b"x" * 100_000)] * 20))
            for _ in range(turns):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
            assert publishing.cancelled()
        await soon(broker.publish([Message(b"last", priority="high")]))


async def test_a_silent_broker_costs_a_publish_its_time_limit_and_no_more(rabbitmq_node, namespace):
    async with (
        Relay(rabbitmq_node.port) as relay,
        RabbitMQBroker([relay.url], namespace=namespace, call_timeout_seconds=0.5) as broker,
    ):
        relay.be_silent()
        with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
            await soon(broker.publish([Message(b"x" * 1_000_000)] * 20))
        with pytest.raises(Unavailable):
            await soon(broker.depth())
        relay.carry()
        await soon(until_available("broker", partial(broker.publish, [Message(b"y")]), observe=ignore))


async def test_a_publish_over_a_cut_connection_is_unavailable_and_the_next_one_works(rabbitmq_node, namespace):
    async with Relay(rabbitmq_node.port) as relay, RabbitMQBroker([relay.url], namespace=namespace) as broker:
        await broker.publish([Message(b"x")])
        relay.be_silent()
        publishing = [asyncio.create_task(broker.publish([Message(b"x")])) for _ in range(3)]
        await asyncio.sleep(0.1)
        relay.cut()
        assert [type(result) for result in await soon(asyncio.gather(*publishing, return_exceptions=True))] == [
            Unavailable
        ] * 3
        await soon(broker.publish([Message(b"x")]))


async def test_publishes_on_a_connection_that_is_given_up_are_unavailable(rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        await broker.publish([Message(b"x")])
        for turns in range(0, 40, 4):
            publishing = [asyncio.create_task(broker.publish([Message(b"x" * 50_000)])) for _ in range(10)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await broker._publishing.hang_up()
            for result in await soon(asyncio.gather(*publishing, return_exceptions=True)):
                assert result is None or isinstance(result, Unavailable)


# ---- settling


async def test_what_cannot_be_moved_stays_in_hand_and_can_be_moved_later(rabbitmq_url, namespace):
    tries = []

    async def publish(message, delay_seconds):
        tries.append((message, delay_seconds))
        if len(tries) == 1:
            raise Unavailable("not now")

    async with RabbitMQBroker([rabbitmq_url], namespace=namespace) as broker:
        await broker.publish([Message(b"one", "id")])
        async with (
            link_to(rabbitmq_url) as link,
            a_consumer(f"{namespace}.tasks", link=link, publish=publish) as consumer,
        ):
            delivery = await soon(consumer.receive())
            with pytest.raises(Unavailable):
                await delivery.move(delay_seconds=5, attempts=1)
            assert (await broker.depth()).tasks == 0  # it is still in hand
            await delivery.move(delay_seconds=5, attempts=1)
        assert tries == [(Message(b"one", "id", attempts=1, priority="high"), 5)] * 2
        assert (await broker.depth()).tasks == 0


@contextlib.asynccontextmanager
async def link_to(url):
    link = Link(parse_addresses([url]), purpose="test", heartbeat_seconds=15, limit_seconds=30, observe=lambda _: None)
    try:
        yield link
    finally:
        await link.hang_up()


def a_consumer(queue, *, link, publish):
    async def restore():
        raise AssertionError("nothing is missing")

    async def ready(_):
        return 0

    return RabbitMQConsumer(
        queue,
        link=link,
        publish=publish,
        restore=restore,
        ready=ready,
        prefetch_count=1,
        watchdog_seconds=30,
        observe=lambda _: None,
    )


async def test_a_delivery_of_a_closed_channel_is_lost_and_comes_again(rabbitmq_url, namespace):
    events = []
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, observe=events.append) as broker:
        await broker.publish([Message(b"one")])
        async with broker.consumer() as consumer, broker.consumer() as other:
            delivery = await soon(consumer.receive())
            await broker.publish([Message(b"two")])
            undisturbed = await soon(other.receive())
            await consumer._session.channel.basic_ack(999)  # unknown tag: the broker closes the channel
            await until(lambda: named(events, WaitingFor, f"queue {namespace}.tasks"))
            with pytest.raises(DeliveryLost):
                await delivery.ack()
            with pytest.raises(DeliveryLost):
                await delivery.move(delay_seconds=0, attempts=1)
            again = await soon(consumer.receive())
            assert (again.message.body, again.returns) == (b"one", 1)
            await again.ack()
            await undisturbed.ack()
        assert "unknown delivery tag 999" in named(events, WaitingFor, f"queue {namespace}.tasks")[0].error
        assert len(named(events, Back, f"queue {namespace}.tasks")) == 1


async def test_a_message_that_its_publisher_gave_too_little_time_is_parked_as_such(rabbitmq_url, namespace, channel):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, wait_seconds=(0.05,)) as broker:
        brief = aio_pika.Message(b"brief", expiration=0.001, delivery_mode=2)
        await channel.default_exchange.publish(brief, routing_key=f"{namespace}.tasks")
        async with broker.consumer("parked") as parked:
            delivery = await soon(parked.receive())
            assert (delivery.message.body, delivery.message.outlived) == (b"brief", True)
            await delivery.ack()
        await broker.publish([Message(b"waits")])
        async with broker.consumer() as consumer:
            await (await soon(consumer.receive())).move(delay_seconds=0.05, attempts=1)
            delivery = await soon(consumer.receive())  # a wait queue is left by expiring
            assert (delivery.message.body, delivery.message.outlived) == (b"waits", False)
            await delivery.ack()


async def test_leaving_consumers_while_they_settle_disturbs_nobody_on_the_connection(rabbitmq_url, namespace):
    events = []
    async with RabbitMQBroker(
        [rabbitmq_url], namespace=namespace, prefetch_count=20, wait_seconds=(3600,), observe=events.append
    ) as broker:
        async with broker.consumer("parked") as bystander:
            for _ in range(5):
                await broker.publish([Message(b"%d" % number) for number in range(40)])
                settling = []
                async with broker.consumer() as one, broker.consumer() as two:
                    deliveries = [await soon(each.receive()) for each in (one, two) for _ in range(20)]
                    settling = [
                        asyncio.create_task(
                            each.move(delay_seconds=1, attempts=0) if number % 3 else each.ack(),
                        )
                        for number, each in enumerate(deliveries)
                    ]
                    await asyncio.sleep(0)
                await soon(asyncio.gather(*settling))
            assert bystander._session.is_alive
        depth = await broker.depth()
        assert (depth.tasks, depth.waiting) == (0, 5 * 26)
    assert events == []


async def test_what_was_prefetched_and_not_handed_out_goes_back_when_a_consumer_stops(rabbitmq_url, namespace):
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, prefetch_count=3) as broker:
        await broker.publish([Message(b"a"), Message(b"b"), Message(b"c")])
        async with broker.consumer() as stopped, broker.consumer() as other:
            in_hand = await soon(stopped.receive())
            await until(lambda: len(stopped._arrived) == 2)
            await stopped.stop()
            others = [await soon(other.receive()) for _ in range(2)]
            assert {in_hand.message.body, *(each.message.body for each in others)} == {b"a", b"b", b"c"}
            for delivery in (in_hand, *others):
                await delivery.ack()
        assert (await broker.depth()).tasks == 0


# ---- what strangers send


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-task-id": 5, "x-attempts": "many", "x-submission": [1], "x-delivery-count": "x"},
        {"x-task-id": {"a": 1}, "x-attempts": -3, "x-submission": True, "x-delivery-count": -1},
        {"x-task-id": b"\xff", "x-attempts": 1.5, "x-submission": None, "x-delivery-count": None},
        {"x-task-id": "a\n\x1b[2J"},
        {"x-task-id": "a" * 201},
        {"x-submission": 2**63 - 1},
        {"x-stored-page": "yes", "x-trail": "not JSON"},
        {"x-stored-page": 1, "x-trail": '[[1, 2], {"a": 1}]'},
        {"x-trail": ["a"], "x-stored-page": None},
        {"x-trail": '[["1", 0, "x"]]'},
        {"x-trail": '[[1, 1e300, "x"]]'},
        {"x-trail": "[" * 100_000},
    ],
)
def test_headers_that_make_no_sense_count_as_absent(headers):
    header = ContentHeader(properties=spec.Basic.Properties(headers=headers))
    raw = DeliveredMessage(delivery=spec.Basic.Deliver(), header=header, body=b"body", channel=None)
    assert message_of(raw) == Message(b"body")
    assert returns_of(raw) == 0


def test_attempts_that_no_database_could_count_on_are_cut_to_many():
    header = ContentHeader(properties=spec.Basic.Properties(headers={"x-attempts": 2**63 - 1}))
    raw = DeliveredMessage(delivery=spec.Basic.Deliver(), header=header, body=b"body", channel=None)
    assert message_of(raw).attempts == 1_000_000


@pytest.mark.parametrize(
    "properties",
    [
        struct.pack(">H", 1 << 7) + b"\x03\xff\xfe\xfd",
        struct.pack(">HQ", 1 << 6, 1 << 63),
        struct.pack(">HQ", 1 << 6, 1_700_000_000_000_000_000),
        struct.pack(">HI", 1 << 13, 9) + b"\x02\xff\xfeS\x00\x00\x00\x01a",
        struct.pack(">HI", 1 << 13, 11) + b"\x01aT" + struct.pack(">Q", 1 << 62),
    ],
    ids=["message id no utf-8", "date beyond all", "date in nanoseconds", "header name no utf-8", "header date"],
)
async def test_unreadable_properties_cost_nobody_the_connection(rabbitmq_url, namespace, channel, properties):
    events = []
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, observe=events.append) as broker:
        async with broker.consumer() as consumer, broker.consumer() as bystander:
            await broker.publish([Message(b"first"), Message(b"second")])
            held = await soon(bystander.receive())
            await (await soon(consumer.receive())).ack()
            await publish_raw(channel, f"{namespace}.tasks", properties, b"odd")
            delivery = await soon(consumer.receive())
            assert delivery.message == Message(b"odd")
            await delivery.ack()
            await held.ack()
        assert (await broker.depth()).tasks == 0
    assert events == []


async def publish_raw(channel, queue, properties, body):
    """What no decent library lets one send, and RabbitMQ passes on."""

    class Raw:
        def marshal(self):
            return properties

    header = ContentHeader(body_size=len(body))
    header.properties = Raw()
    wire = await channel.get_underlay_channel()
    frames = [spec.Basic.Publish(routing_key=queue), header, ContentBody(body)]
    await wire.write_queue.put(ChannelFrame.marshall(wire.number, frames))


# ---- addresses, passwords, versions


async def test_a_wrong_password_stops_the_start_at_once_and_is_never_shown(rabbitmq_node, namespace, caplog):
    caplog.set_level(0)
    events = []
    url = rabbitmq_node.url_for(user="guest", password="hush-hush-s3cret")
    with pytest.raises(Misconfigured, match=r"BROKER_URL: .* refused its user name or password") as error:
        async with RabbitMQBroker([url], namespace=namespace, observe=events.append):
            pass
    assert "hush-hush" not in f"{error.value} {events} {caplog.text}"


async def test_a_missing_vhost_stops_the_start_at_once(rabbitmq_node, namespace):
    with pytest.raises(Misconfigured, match=r"BROKER_URL: .* refused the vhost 'nowhere'"):
        async with RabbitMQBroker([rabbitmq_node.url_for(vhost="nowhere")], namespace=namespace):
            pass


@pytest.mark.parametrize("option", ["cafile=/nowhere", "cafile=/", "certfile=/etc/hostname", "cadata=x"])
async def test_tls_options_that_cannot_be_used_stop_the_start_and_are_named(namespace, option):
    with pytest.raises(Misconfigured, match=r"BROKER_URL: 127\.0\.0\.1:1 cannot be asked with the options .* cafile"):
        async with RabbitMQBroker([f"amqps://guest:hush@127.0.0.1:1/?{option}"], namespace=namespace):
            pass


async def test_one_address_that_refuses_does_not_hide_another_that_serves(rabbitmq_node, rabbitmq_url, namespace):
    wrong = [rabbitmq_node.url_for(password="wrong"), rabbitmq_node.url_for(vhost="nowhere")]
    async with RabbitMQBroker([*wrong, rabbitmq_url], namespace=namespace) as broker:
        await broker.publish([Message(b"x")])
    with pytest.raises(Misconfigured, match=r"refused its user name or password.*refused the vhost 'nowhere'"):
        async with RabbitMQBroker(wrong, namespace=namespace):
            pass


async def test_an_address_that_is_away_may_be_the_right_one(rabbitmq_node, namespace, dead):
    events = []
    urls = [rabbitmq_node.url_for(password="wrong-s3cret"), f"amqp://guest:guest@127.0.0.1:{dead}"]
    for seconds in (2, 30):  # the second where a machine is too slow to have heard from both in the first
        broker = RabbitMQBroker(urls, namespace=namespace, start_timeout_seconds=seconds, observe=events.append)
        with pytest.raises(Misconfigured, match=f"no RabbitMQ could be reached within {seconds} s") as error:
            await broker.__aenter__()
        if events:
            break
    for said in (str(error.value), named(events, WaitingFor)[0].error):
        assert "refused its user name or password" in said
        assert f"127.0.0.1:{dead}" in said
        assert "wrong-s3cret" not in said


async def test_what_worked_once_is_waited_for_when_the_broker_refuses_it(rabbitmq_node, namespace):
    """A vhost that still starts, a limit of connections, a backend of users that is away: none stops a run."""
    user = f"user-{namespace}"
    await asyncio.to_thread(rabbitmq_node.ctl, "add_user", user, "pass")
    await asyncio.to_thread(rabbitmq_node.ctl, "set_permissions", user, ".*", ".*", ".*")
    async with (
        Relay(rabbitmq_node.port) as relay,
        RabbitMQBroker([f"amqp://{user}:pass@127.0.0.1:{relay.port}"], namespace=namespace) as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"x")])
        await soon(consumer.receive())
        await asyncio.to_thread(rabbitmq_node.ctl, "clear_permissions", user)
        relay.cut()
        for asking in (broker.depth, partial(broker.publish, [Message(b"y")] * 3)):
            said = ""
            async with asyncio.timeout(HANGS_SECONDS):
                while "refused the vhost" not in said:
                    with pytest.raises(Unavailable) as error:
                        await asking()
                    said = str(error.value)
        await asyncio.to_thread(rabbitmq_node.ctl, "set_permissions", user, ".*", ".*", ".*")
        await soon(until_available("broker", partial(broker.publish, [Message(b"y")]), observe=ignore))
        again = await soon(consumer.receive())
        assert again.message.body == b"x"
        await again.ack()


async def test_many_messages_are_refused_with_one_plain_error(rabbitmq_node, namespace):
    """As by a command that has never been connected: the same as for one message, and no group of errors."""
    link = Link(
        parse_addresses([rabbitmq_node.url_for(password="wrong")]),
        purpose="test",
        heartbeat_seconds=15,
        limit_seconds=30,
        observe=ignore,
    )
    with pytest.raises(Misconfigured, match="refused its user name or password"):
        await Publisher(link, restore=link.patiently).send_all(f"{namespace}.tasks", [Message(b"x")] * 3)


async def test_missing_permissions_stop_the_start_and_are_named(rabbitmq_node, rabbitmq_url, namespace):
    user = f"user-{namespace}"
    rabbitmq_node.ctl("add_user", user, "pass")
    url = rabbitmq_node.url_for(user=user, password="pass")
    rabbitmq_node.ctl("set_permissions", user, "^$", ".*", ".*")
    with pytest.raises(Misconfigured, match=r"BROKER_URL: its user may not declare .* set_permissions"):
        async with RabbitMQBroker([url], namespace=namespace):
            pass
    rabbitmq_node.ctl("set_permissions", user, ".*", ".*", r"\.(tasks|wait\..*)$")  # declaring these reads them
    async with RabbitMQBroker([url], namespace=namespace) as broker:
        with pytest.raises(Misconfigured, match=r"BROKER_URL: its user may not read .*parked"):
            async with broker.consumer("parked"):
                pass


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "amqp://",
        "amqp://u:hush-hush@host:port/",
        "amqp://u:hush-hush@:1:2/",
        "amqp://h:0",
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(Misconfigured, match=r"BROKER_URL .*amqp://user:password@host") as error:
        RabbitMQBroker([url])
    assert "hush-hush" not in str(error.value)


def test_the_wrong_one_of_several_addresses_is_numbered():
    with pytest.raises(Misconfigured, match=r"BROKER_URL \(address 2\)"):
        RabbitMQBroker(["amqp://one", "two"])


def test_no_address_at_all_is_refused():
    with pytest.raises(Misconfigured, match="BROKER_URL"):
        RabbitMQBroker([])


@pytest.mark.parametrize(
    ("product", "version", "wanted"),
    [
        ("RabbitMQ", "3.10.8", ""),
        ("RabbitMQ", "3.13.7", ""),
        ("RabbitMQ", "4.0.5", ""),
        ("RabbitMQ", "4.3.0-rc.1", ""),
        ("RabbitMQ", "3.9.29", "3.10 or later"),
        ("RabbitMQ", "3.8", "3.10 or later"),
        ("RabbitMQ", "unknown", "3.10 or later"),
        ("LavinMQ", "2.0.0", "not RabbitMQ"),
        (None, None, "not RabbitMQ"),
    ],
)
def test_a_server_that_cannot_keep_the_promise_is_refused(product, version, wanted):
    said = unfitness({"product": product, "version": version})
    assert (wanted in said) if wanted else said == ""


class OlderRelay(Relay):
    """The same broker, introducing itself as an older one."""

    async def _carry(self, reader, writer):
        said = await reader.read(65536)
        writer.write(re.sub(rb"(\x07versionS....)(\d+\.\d+\.)", _older, said, flags=re.DOTALL))
        await super()._carry(reader, writer)


def _older(match):
    return match[1] + b"3.9." + b"0" * (len(match[2]) - 4) if len(match[2]) >= 4 else match[1] + b"2." + match[2][2:]


async def test_a_broker_that_is_too_old_stops_the_start_and_nothing_is_declared(rabbitmq_node, namespace, channel):
    async with OlderRelay(rabbitmq_node.port) as relay:
        with pytest.raises(
            Misconfigured, match=r"BROKER_URL: 127\.0\.0\.1:\d+ is RabbitMQ .*; 3\.10 or later is needed"
        ):
            async with RabbitMQBroker([relay.url], namespace=namespace):
                pass
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.get_queue(f"{namespace}.tasks", ensure=True)


async def test_something_that_is_no_broker_is_waited_for_and_named(namespace):
    answering = set()

    async def answer_http(reader, writer):
        answering.add(asyncio.current_task())
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    events = []
    async with await asyncio.start_server(answer_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for seconds in (0.5, 30):  # the second where a machine is too slow to have had an answer in the first
            with pytest.raises(Misconfigured, match="BROKER_URL"):
                async with RabbitMQBroker(
                    [f"amqp://127.0.0.1:{port}"],
                    namespace=namespace,
                    call_timeout_seconds=0.2,
                    start_timeout_seconds=seconds,
                    observe=events.append,
                ):
                    pass
            if events:
                break
        await until(lambda: all(task.done() for task in answering))
    assert f"127.0.0.1:{port}" in named(events, WaitingFor)[0].error


async def test_a_broker_that_is_not_there_yet_is_waited_for(rabbitmq_node, namespace):
    events = []
    relay = Relay(rabbitmq_node.port)
    broker = RabbitMQBroker([relay.url], namespace=namespace, observe=events.append)
    starting = asyncio.create_task(broker.__aenter__())
    await until(lambda: named(events, WaitingFor))
    assert "guest" not in str(events)
    async with relay:
        await soon(starting)
        await broker.publish([Message(b"x")])
        await broker.__aexit__()
    assert len(named(events, Back)) == 1


async def test_waiting_for_the_first_broker_ends_where_it_was_limited(namespace, dead):
    broker = RabbitMQBroker([f"amqp://guest:hush@127.0.0.1:{dead}"], namespace=namespace, start_timeout_seconds=0.1)
    with pytest.raises(Misconfigured, match=r"BROKER_URL: no RabbitMQ could be reached within 0\.1 s"):
        await broker.__aenter__()


async def test_the_second_address_serves_when_the_first_is_dead(rabbitmq_node, rabbitmq_url, namespace, dead):
    events = []
    urls = [f"amqp://127.0.0.1:{dead}", rabbitmq_url]
    async with (
        RabbitMQBroker(urls, namespace=namespace, observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"x")])
        await (await soon(consumer.receive())).ack()
    assert events == []


async def test_a_lost_first_address_hands_over_to_the_second(rabbitmq_node, namespace):
    events = []
    async with Relay(rabbitmq_node.port) as first, Relay(rabbitmq_node.port) as second:
        async with (
            RabbitMQBroker([first.url, second.url], namespace=namespace, observe=events.append) as broker,
            broker.consumer() as consumer,
        ):
            await first.__aexit__()
            await broker.publish([Message(b"x")])
            await (await soon(consumer.receive())).ack()
            assert len(second._open) == 4  # both ends of both connections
        assert [type(event) for event in events] == [WaitingFor, Back]


# ---- disappearances


class ClosingRelay(Relay):
    """Loses the connection, or falls silent, when the program closes a channel."""

    def __init__(self, port, *, lose):
        super().__init__(port)
        self._lose = lose
        self.connections = 0

    async def _connected(self, reader, writer):
        self.connections += 1
        await super()._connected(reader, writer)

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if b"\x00\x14\x00\x28" in data:  # channel.close
                    if self._lose:
                        self.cut()
                    continue
                writer.write(data)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("lose", [True, False], ids=["lost", "silent"])
async def test_a_broker_that_goes_while_the_last_channel_is_closed_takes_nothing_along(rabbitmq_node, namespace, lose):
    async with ClosingRelay(rabbitmq_node.port, lose=lose) as relay:
        # its start has to be faster than this, and silence lasts for so long
        broker = RabbitMQBroker([relay.url], namespace=namespace, call_timeout_seconds=30 if lose else 5)
        await soon(broker.__aenter__())
        await soon(until_available("broker", partial(broker.publish, [Message(b"x")]), observe=ignore))
        assert relay.connections == 2  # what gave no answer in time is not asked again
        await soon(broker.__aexit__())


async def test_a_lost_connection_is_said_once_for_all_consumers_and_everyone_goes_on(rabbitmq_node, namespace):
    events = []
    async with Relay(rabbitmq_node.port) as relay:
        async with (
            RabbitMQBroker([relay.url], namespace=namespace, observe=events.append) as broker,
            broker.consumer() as one,
            broker.consumer() as two,
            broker.consumer() as three,
        ):
            await broker.publish([Message(b"a")] * 3)
            lost = [await soon(each.receive()) for each in (one, two, three)]
            relay.cut()
            again = [await soon(each.receive()) for each in (one, two, three)]
            assert [each.returns for each in again] == [1, 1, 1]
            for delivery in lost:
                with pytest.raises(DeliveryLost):
                    await delivery.ack()
            for delivery in again:
                await delivery.ack()
        assert [type(event) for event in events] == [WaitingFor, Back]


async def test_consumers_stop_and_leave_while_the_broker_is_away(rabbitmq_node, namespace):
    async with (
        Relay(rabbitmq_node.port) as relay,
        RabbitMQBroker([relay.url], namespace=namespace, call_timeout_seconds=0.5) as broker,
        broker.consumer() as silent,
        broker.consumer() as cut_off,
    ):
        await soon(until_available("broker", partial(broker.publish, [Message(b"a")] * 2), observe=ignore))
        held = [await soon(each.receive()) for each in (silent, cut_off)]
        relay.be_silent()
        await soon(silent.stop())
        await relay.__aexit__()
        await soon(cut_off.stop())
        for delivery in held:
            with pytest.raises(DeliveryLost):
                await delivery.ack()


async def test_a_deleted_queue_comes_back_and_its_consumer_goes_on(rabbitmq_url, namespace, channel):
    events = []
    async with (
        RabbitMQBroker([rabbitmq_url], namespace=namespace, observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        await channel.queue_delete(f"{namespace}.tasks")
        await until(lambda: named(events, Back, f"queue {namespace}.tasks"))
        await broker.publish([Message(b"x")])
        await (await soon(consumer.receive())).ack()
    assert "deleted" in named(events, WaitingFor, f"queue {namespace}.tasks")[0].error


async def test_a_queue_that_somebody_made_otherwise_is_neither_used_nor_touched_until_it_is_right(
    rabbitmq_url, namespace, channel
):
    events = []
    tasks, parked = f"{namespace}.tasks", f"{namespace}.parked"
    async with RabbitMQBroker([rabbitmq_url], namespace=namespace, observe=events.append) as broker:
        await channel.queue_delete(parked)
        await channel.queue_delete(tasks)
        await channel.declare_queue(parked, durable=True)  # a classic queue
        with pytest.raises(Unavailable, match=f"QUEUE_NAMESPACE.*{parked}"):
            await broker.publish([Message(b"x")])
        await channel.queue_delete(parked)
        await channel.queue_delete(tasks)
        await soon(broker.publish([Message(b"x")]))


async def test_a_consumer_that_looks_alive_and_gets_nothing_is_noticed(rabbitmq_url, namespace):
    events = []
    async with (
        RabbitMQBroker([rabbitmq_url], namespace=namespace, watchdog_seconds=0.2, observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        session = consumer._session
        await session.channel.basic_cancel(session.consumer_tag)  # the broker forgets it, and it does not know
        await broker.publish([Message(b"x")])
        await (await soon(consumer.receive())).ack()
    assert "not delivered" in named(events, WaitingFor, f"queue {namespace}.tasks")[0].error


async def test_a_queue_that_vanished_without_a_word_is_noticed(rabbitmq_url, namespace, channel):
    events = []
    async with (
        RabbitMQBroker([rabbitmq_url], namespace=namespace, watchdog_seconds=0.2, observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        session = consumer._session
        await session.channel.basic_cancel(session.consumer_tag)
        await channel.queue_delete(f"{namespace}.tasks")
        await until(lambda: named(events, Back, f"queue {namespace}.tasks"))
        await broker.publish([Message(b"x")])
        await (await soon(consumer.receive())).ack()


async def test_the_watchdog_leaves_consumers_alone_that_have_work_or_none_to_do(rabbitmq_url, namespace, monkeypatch):
    events, looks = [], Counter()
    broker = RabbitMQBroker([rabbitmq_url], namespace=namespace, watchdog_seconds=0.5, observe=events.append)
    ready = broker._ready

    async def counted(queue):
        looks[queue] += 1
        return await ready(queue)

    async def rounds(queue, count):
        seen = looks[queue]
        await until(lambda: looks[queue] >= seen + count)

    monkeypatch.setattr(broker, "_ready", counted)
    async with broker, broker.consumer() as busy, broker.consumer("parked"):  # the other's watchdog tells the time
        await rounds(f"{namespace}.tasks", 2)  # nothing to do
        await broker.publish([Message(b"x"), Message(b"y")])
        delivery = await soon(busy.receive())
        await rounds(f"{namespace}.parked", 3)  # messages are ready, and this one has its hands full
        await delivery.ack()
        await (await soon(busy.receive())).ack()
    assert events == []


async def test_confirmed_messages_survive_a_killed_broker_and_receive_goes_on(own_node, namespace):
    events = []
    async with (
        RabbitMQBroker([own_node.url], namespace=namespace, wait_seconds=(3600,), observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        # RabbitMQ 3.10 forgets a queue that was declared just before a crash
        await asyncio.to_thread(own_node.ctl, "eval", "[dets:sync(Table) || Table <- dets:all()], mnesia:sync_log().")
        await broker.publish([Message(b"%d" % number) for number in range(20)])
        lost = await soon(consumer.receive())
        await asyncio.to_thread(own_node.kill)
        with pytest.raises(Unavailable):
            await soon(broker.publish([Message(b"nobody hears it")]))
        with pytest.raises(DeliveryLost):
            await lost.ack()
        await asyncio.to_thread(own_node.start)
        bodies = []
        for _ in range(20):
            delivery = await soon(consumer.receive())
            bodies.append(delivery.message.body)
            await delivery.ack()
        assert sorted(bodies, key=int) == [b"%d" % number for number in range(20)]
    assert [type(event) for event in named(events, WaitingFor) + named(events, Back)] == [WaitingFor, Back]


async def test_a_frozen_broker_is_noticed_by_its_missing_heartbeats(own_node, namespace):
    events = []
    async with (
        RabbitMQBroker(
            [own_node.url], namespace=namespace, heartbeat_seconds=1, call_timeout_seconds=1, observe=events.append
        ) as broker,
        broker.consumer() as consumer,
    ):
        await soon(until_available("broker", partial(broker.publish, [Message(b"x")]), observe=ignore))
        held = await soon(consumer.receive())
        own_node.freeze()
        try:
            with pytest.raises(Unavailable):
                await soon(broker.publish([Message(b"y")]))
            await until(lambda: len(named(events, WaitingFor)) > len(named(events, Back)))
            with pytest.raises(DeliveryLost):
                await held.ack()
        finally:
            own_node.thaw()
        again = await soon(consumer.receive())
        assert again.message.body == b"x"
        await again.ack()


async def test_connections_have_the_heartbeat_of_the_settings(rabbitmq_node, namespace):
    broker = open_broker(
        Settings(_env_file=None, broker_url=rabbitmq_node.url, queue_namespace=namespace), observe=ignore
    )
    async with broker, broker.consumer():
        await broker.publish([Message(b"x")])
        listed = await asyncio.to_thread(rabbitmq_node.ctl, "-q", "list_connections", "client_properties", "timeout")
    ours = [line for line in listed.splitlines() if "scraper publisher" in line or "scraper consumer" in line]
    assert len(ours) >= 2
    assert {line.rsplit(maxsplit=1)[-1] for line in ours} == {"15"}


async def test_a_broker_short_of_memory_takes_acknowledgements_while_publishes_wait_and_none_is_sent_twice(
    own_node, namespace
):
    events = []
    async with (
        RabbitMQBroker(
            [own_node.url], namespace=namespace, heartbeat_seconds=4, call_timeout_seconds=4, observe=events.append
        ) as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"one"), Message(b"two")])
        await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            publishing = [asyncio.create_task(broker.publish([Message(b"three %d" % number)])) for number in range(3)]
            for body in (b"one", b"two"):  # with one in hand at a time, the second proves the first acknowledged
                delivery = await soon(consumer.receive())
                assert delivery.message.body == body
                await delivery.ack()
            await until(lambda: named(events, WaitingFor))
            for _ in range(3):
                with pytest.raises(Unavailable, match="memory or disk run low"):
                    await soon(broker.publish([Message(b"not sent")]))
                with pytest.raises(Unavailable, match="memory or disk run low"):
                    await soon(broker.depth())
            assert not any(each.done() for each in publishing)
        finally:
            await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "0.6")
        await soon(asyncio.gather(*publishing))
        await soon(broker.publish([Message(b"four")]))
        bodies = []
        for _ in range(4):
            delivery = await soon(consumer.receive())
            bodies.append(delivery.message.body)
            await delivery.ack()
        assert sorted(bodies) == [b"four", b"three 0", b"three 1", b"three 2"]
        assert (await broker.depth()).tasks == 0
    assert [type(event) for event in events] == [WaitingFor, Back]


async def test_a_job_beyond_the_consumer_timeout_loses_its_delivery_and_it_comes_again(impatient_node, namespace):
    events = []
    async with (
        RabbitMQBroker([impatient_node.url], namespace=namespace, observe=events.append) as broker,
        broker.consumer() as consumer,
    ):
        await broker.publish([Message(b"slow")])
        delivery = await soon(consumer.receive())
        await until(lambda: named(events, WaitingFor, f"queue {namespace}.tasks"))
        with pytest.raises(DeliveryLost):
            await delivery.ack()
        again = await soon(consumer.receive())
        assert (again.message.body, again.returns) == (b"slow", 1)
        await again.ack()
    assert "timed out" in named(events, WaitingFor, f"queue {namespace}.tasks")[0].error
