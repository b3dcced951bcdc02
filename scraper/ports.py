"""The three things that are exchanged: the broker, a delivery of its, and the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, Self, TypeAlias

from scraper.models import Json, ParkReason, Priority, Remains, Result, Standing, Trail, Usage

QueueName: TypeAlias = Literal["tasks", "parked"]

WAIT_SECONDS: Sequence[float] = (5, 15, 60, 300, 900, 3600)
"""The delays a broker offers; one queue each, because a time to live per message blocks behind the head."""


def wait_for(seconds: float, *, delays: Sequence[float] = WAIT_SECONDS) -> float:
    """The shortest of `delays` (ascending) that is at least `seconds` (at most the longest); 0 for none."""
    if seconds <= 0:
        return 0
    return next((delay for delay in delays if delay >= seconds), delays[-1])


@dataclass(frozen=True, slots=True)
class Message:
    """A task as it lies in a queue: the body untouched, and beside it what the service itself knows."""

    body: bytes
    task_id: str = ""  # empty where a foreign program published it; the body decides then
    attempts: int = 0  # attempts spent so far
    submission: int = 0  # 0, or the time (unix ns) of a `submit --again`, + 1 a replay: the newest of an id wins
    priority: Priority = "normal"
    stored_page: bool = False  # a replay: read the page that the parked task left in the store, if it is there
    trail: Trail = ()
    traceparent: str = ""  # W3C Trace Context: the trace that the task belongs to
    outlived: bool = False  # parked by the broker: the time that its publisher gave it in the queue was over


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages in the queues now, those in workers' hands apart."""

    tasks: int
    waiting: int
    parked: int = 0
    consumers: int | None = None  # None: the broker does not say
    in_hand: int | None = None  # with the workers of every process; None: the broker does not say


class Delivery(Protocol):
    """One message in hand. Settled by exactly one of `ack` and `move`."""

    @property
    def message(self) -> Message: ...

    @property
    def returns(self) -> int:
        """How often the broker has had it back unsettled: a hint that workers died holding it, guilty or not."""
        ...

    async def ack(self) -> None:
        """Remove it for good. Raises DeliveryLost if it was taken back, Unavailable if the broker is away."""
        ...

    async def move(
        self, *, delay_seconds: float, attempts: int, trail: Trail | None = None, submission: int | None = None
    ) -> None:
        """Put a copy, high in priority, where it waits `wait_for(delay_seconds)`; confirmed, then acknowledge.

        It carries `trail` and `submission`, by default those it has. Raises as `ack` does. A crash in between leaves
        two copies, never none.
        """
        ...


class Consumer(Protocol):
    """One consumer of one queue; deliveries in hand stay valid until its context is left."""

    async def receive(self) -> Delivery:
        """The next message. Cancelling loses nothing. Waits while the broker is away, and logs that it does."""
        ...

    async def stop(self) -> None:
        """Take nothing more; what is in hand can still be settled."""
        ...


class Broker(Protocol):
    """Where tasks wait. Entered once per process; entering checks or creates the queues or raises Misconfigured."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    def consumer(self, queue: QueueName = "tasks") -> AbstractAsyncContextManager[Consumer]: ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """Into the tasks queue, each confirmed as durable before this returns; else raises Unavailable."""
        ...

    async def depth(self) -> Depth: ...


class Answers(Protocol):
    """What the model has answered, by a key that stands for the whole question. A cache: it may forget."""

    async def find(self, key: bytes) -> Json | None:
        """Raises Unavailable."""
        ...

    async def keep(self, key: bytes, answer: Json) -> None:
        """Found from now on by this process, and by the others once the next result is saved."""
        ...


class Store(Protocol):
    """Where results and parked tasks end. Entered once per process; raises Misconfigured, later Unavailable."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    @property
    def answers(self) -> Answers: ...

    async def find(self, task_id: str) -> Standing | None: ...

    async def result(self, task_id: str) -> Result | None:
        """The whole row of this id."""
        ...

    async def save(self, result: Result, remains: Remains | None = None, *, settled_id: str = "") -> bool:
        """Durable before it returns, or with the ack that follows at the latest; idempotent by task id.

        Returns whether this result stays.

        `done` replaces `parked` of the same id, never the other way round; of two that are done, or two that are
        parked, the newer submission stays. Takes the id off the submitted, and `settled_id`, which may be another.
        """
        ...

    async def remains(self, task_id: str) -> Remains | None:
        """What a parked task left behind."""
        ...

    async def submitted(self, task_ids: Sequence[str], contents: Mapping[str, str] = {}) -> None:
        """Remember ids whose publish was confirmed, until a result is saved; `contents`: what they ask for, by id."""
        ...

    async def known(self, task_ids: Sequence[str]) -> dict[str, Literal["done", "parked", "submitted"]]:
        """Those of `task_ids` that are in the store or remembered as submitted."""
        ...

    async def taken(self, contents: Mapping[str, str]) -> set[str]:
        """Those ids that are done or submitted already, and asked for other content than `contents` says."""
        ...

    async def counts(self) -> dict[tuple[str, ParkReason | None], int]:
        """Rows by (status, reason)."""
        ...

    async def oldest_submitted(self) -> datetime | None:
        """When the oldest task that has no result yet was submitted, as far as `submitted` was told."""
        ...

    async def time_spent(self, rows: int) -> dict[str, float]:
        """Seconds by phase of the newest `rows` results together."""
        ...

    async def tokens_spent(self, rows: int) -> tuple[Usage, int]:
        """Tokens and calls of the newest `rows` results together."""
        ...

    def results(self, *, statuses: Iterable[str] = ("done", "parked")) -> AsyncIterator[Result]:
        """Every row, oldest first, in constant memory."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parked tasks: those for which everything holds that is named here."""

    task_ids: tuple[str, ...] = ()
    reasons: tuple[ParkReason, ...] = ()
    hosts: tuple[str, ...] = ()  # any of these; * stands for anything
    schema: str = ""  # its title or its name, in capitals or not
    before: datetime | None = None  # parked before
    after: datetime | None = None  # parked then or later


class Workbench(Protocol):
    """What is parked and does not wait in the queue again, for its owner. Entered once; raises as `Store` does."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def counts(self, selection: Selection) -> dict[ParkReason, int]:
        """How many there are, by reason."""
        ...

    async def waiting(self) -> int:
        """How many parked tasks wait in the queue again."""
        ...

    def newest(self, selection: Selection) -> AsyncIterator[Result]:
        """Those selected, the latest first, in constant memory."""
        ...

    def handed_out(self, selection: Selection, *, pages: bool = False) -> AsyncIterator[list[tuple[Result, Remains]]]:
        """Those selected, the oldest first, some at a time, as long as the caller works on them; pages on demand."""
        ...

    async def find(self, task_id: str) -> tuple[Result, Remains, bool] | None:
        """One parked task, and whether it waits in the queue again."""
        ...

    async def begun_with(self, start: str, *, length: int, most: int) -> list[str]:
        """Ids of this length that begin so, of parked tasks, those that wait again included; at most so many."""
        ...

    async def replayed(self, submissions: Sequence[tuple[str, int]]) -> None:
        """Remember as waiting: each id, if it is still parked as of the submission that is named."""
        ...

    async def lend_pages(self, rows: Sequence[tuple[str, str]]) -> list[str]:
        """Let the task of the second id, which is done, read the page of the parked row of the first until it ends.

        There is one place for it: returns the first ids of those that came too late, while another row's page is lent.
        """
        ...

    async def handed_on(self, submissions: Sequence[tuple[str, int]]) -> None:
        """Forget each id that is still parked as of the submission that is named: it is a task of another id now."""
        ...

    async def drop(self, selection: Selection) -> int:
        """Forget those selected for good; returns how many there were."""
        ...


Prunable: TypeAlias = Literal["cache", "pages", "results", "submitted"]
"""Remembered answers; pages and raw answers of parked tasks; done results; ids remembered as waiting."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What was let go."""

    count: int = 0
    bytes: int = 0


class Pruner(Protocol):
    """Lets old things in the store go, while workers run. Entered once; raises as `Store` does."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def prune(self, what: Prunable, *, before: datetime, dry_run: bool = False) -> Freed:
        """Whatever of it is older than `before`; with `dry_run` it is counted alone."""
        ...
