"""The queues of one namespace, and the check that they are what they must be.

Default exchange only; every queue is durable and quorum. Nothing is ever deleted or declared over: a queue that exists
with other arguments stops start-up.

| queue       | arguments besides `x-queue-type=quorum`                                                          |
|-------------|--------------------------------------------------------------------------------------------------|
| NS.tasks    | `x-delivery-limit=50`, dead letters to NS.parked, at least once                                   |
| NS.wait.5s …| `x-message-ttl`, dead letters back to NS.tasks, at least once. One queue a delay: a time to live   |
|             | per message blocks behind the head                                                               |
| NS.parked   | `x-delivery-limit=1000000`; receives what the broker itself dead-letters                          |
| NS.results  | `x-delivery-limit=1000000`; only where asked for                                                  |

At-least-once dead-lettering needs `x-overflow=reject-publish` beside it. The delivery limit is always explicit and
positive: without one RabbitMQ 4 drops a message after 20 returns, and -1 means «at the first return» to 3.10.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from aio_pika.exceptions import AMQPChannelError, ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq import Channel, spec
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource
from pamqp.common import FieldTable

from scraper.errors import Misconfigured, Unavailable
from scraper.ports import WAIT_SECONDS

T = TypeVar("T")

TASKS_DELIVERY_LIMIT = 50
UNLIMITED_DELIVERIES = 1_000_000  # a large number means it on every version; -1 and absence do not
MAX_NAMESPACE_BYTES = 200  # a queue's name has at most 255


@dataclass(frozen=True, slots=True)
class Topology:
    """Which queues there are, by name, and with which arguments."""

    namespace: str = "scraper"
    wait_seconds: Sequence[float] = WAIT_SECONDS
    results_queue: bool = False

    def __post_init__(self) -> None:
        size = len(self.namespace.encode())
        if not 0 < size <= MAX_NAMESPACE_BYTES or self.namespace.startswith("amq."):
            raise Misconfigured(
                f"QUEUE_NAMESPACE must have 1 to {MAX_NAMESPACE_BYTES} bytes and not begin with 'amq.', "
                "which RabbitMQ keeps for itself"
            )

    @property
    def tasks(self) -> str:
        return f"{self.namespace}.tasks"

    @property
    def parked(self) -> str:
        return f"{self.namespace}.parked"

    @property
    def results(self) -> str:
        return f"{self.namespace}.results"

    def wait(self, seconds: float) -> str:
        """The name of the wait queue for one of `wait_seconds`."""
        return f"{self.namespace}.wait.{_label(seconds)}"

    @property
    def waits(self) -> list[str]:
        return [self.wait(seconds) for seconds in self.wait_seconds]

    def arguments(self) -> dict[str, FieldTable]:
        """Queue name → its arguments, targets of dead letters first."""
        queues: dict[str, FieldTable] = {
            self.parked: {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED_DELIVERIES},
            self.tasks: _dead_lettering(to=self.parked) | {"x-delivery-limit": TASKS_DELIVERY_LIMIT},
        }
        for seconds in self.wait_seconds:
            queues[self.wait(seconds)] = _dead_lettering(to=self.tasks) | {"x-message-ttl": round(seconds * 1000)}
        if self.results_queue:
            queues[self.results] = {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED_DELIVERIES}
        return queues


class Answer(Protocol):
    """The broker's answer within a limit of time, as `Link.call` gives it."""

    async def __call__(self, answer: Awaitable[T], /) -> T: ...


async def declare(
    topology: Topology,
    *,
    open_channel: Callable[[], Awaitable[Channel]],
    answer: Answer,
) -> None:
    """Check every queue and create those that are missing.

    Raises Misconfigured naming every queue that differs, Unavailable where the broker goes away meanwhile.
    """
    channel = await open_channel()
    different: list[str] = []
    for name, arguments in topology.arguments().items():
        try:
            await answer(channel.queue_declare(name, durable=True, arguments=arguments))
        except ChannelPreconditionFailed as error:
            different.append(f"{name}: {plain(error)}")
            channel = await open_channel()  # the broker has closed the other one
        except (ChannelAccessRefused, ChannelLockedResource) as error:
            raise Misconfigured(
                f"BROKER_URL: its user may not declare the queue {name} ({plain(error)}). Grant it, for example with "
                f"rabbitmqctl set_permissions -p VHOST USER '^{topology.namespace}\\.' '.*' '.*'"
            ) from error
        except AMQPChannelError as error:
            raise Unavailable(f"the broker would not declare {name}: {plain(error)}") from error
    with suppress(Unavailable, AMQPChannelError):  # all is declared; a broker that goes now takes nothing along
        await answer(channel.close())
    if different:
        raise Misconfigured(_mismatch(different))


async def count(
    names: Sequence[str],
    *,
    channel: Channel,
    answer: Answer,
) -> list[spec.Queue.DeclareOk] | None:
    """Messages and consumers of each queue; None where one of them is missing, which closes the channel."""
    try:
        return [await answer(channel.queue_declare(name, passive=True)) for name in names]
    except ChannelNotFoundEntity:
        return None
    except AMQPChannelError as error:
        raise Unavailable(f"the broker would not count its queues: {plain(error)}") from error


def plain(error: BaseException) -> str:
    """What the broker said, for a person."""
    return " ".join(str(part) for part in error.args if part) or type(error).__name__


def _dead_lettering(*, to: str) -> FieldTable:
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": to,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _mismatch(different: list[str]) -> str:
    return (
        "QUEUE_NAMESPACE: these queues exist with other arguments than this version needs, and nothing was changed: "
        f"{'; '.join(different)}. Choose another QUEUE_NAMESPACE; or, once they are empty, delete them "
        "(rabbitmqctl delete_queue NAME) and start again; or remove the policy that changes them"
    )


def _label(seconds: float) -> str:
    """5s, 15s, 60s, 5m, 15m, 60m; less than a whole second in ms."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    if seconds > 60 and seconds % 60 == 0:
        return f"{int(seconds) // 60}m"
    return f"{int(seconds)}s"
