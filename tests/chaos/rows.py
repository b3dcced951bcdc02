"""The rows of the table: a fault, where it applies, what must really have happened, and one run of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tests.chaos import faults
from tests.chaos.audit import Count
from tests.chaos.broken_parser import python_with_a_broken_parser
from tests.chaos.disk import small_disk
from tests.chaos.faults import Fault
from tests.chaos.proxy import Cable
from tests.chaos.queues import EmbeddedQueue, RabbitMQ
from tests.chaos.world import BROKER_PASSWORD, Queue, World
from tests.rabbitmq import PrivateNode

Kind: TypeAlias = Literal["embedded", "rabbitmq"]
BOTH: tuple[Kind, ...] = ("embedded", "rabbitmq")
RABBITMQ: tuple[Kind, ...] = ("rabbitmq",)

SETTLES_SECONDS = 600.0  # after the fault, for waits of a minute and workers that are started again late
SECONDS_A_TASK = 0.5
DISK_MEBIBYTES = 64  # room for the results of 2,000 tasks


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `least` and `most`: what must have happened, by the names that the fault counts under."""

    name: str
    fault: Fault
    on: tuple[Kind, ...] = BOTH
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    says: tuple[str, ...] = ()  # events that must stand in the log, some with what they speak of
    settings: Mapping[str, object] = field(default_factory=dict)
    poison: bool = False
    attempts_may_be_spent: bool = False
    nodes: int = 1
    own_nodes: bool = False
    cable: bool = False
    small_disk: bool = False
    consumer_timeout_ms: int | None = None


CONSUMERS = 12  # 4 workers with 3 each
QUIET = {faults.DELIVERIES: 0, faults.PROCESSORS: 0.5}
"""Of two processors or more: a loop without a pause takes a whole one in each worker."""
BROKER_AWAY = ("waiting_for broker", "back broker")
STORE_AWAY = ("waiting_for store", "back store")

ROWS = (
    Row("worker-killed", faults.workers_killed, least={"killed": 8}, says=("worker_restarted",)),
    Row(
        "worker-terminated",
        faults.workers_terminated,
        least={"terminated": 6, "service restarted": 1},
        says=("worker_restarted", "worker_stopped"),
    ),
    Row("worker-stopped", faults.workers_stopped, least={"stopped": 2}),
    Row("everything-killed", faults.everything_killed, least={"all killed": 3}),
    Row(
        "broker-killed",
        faults.broker_killed_twice,
        on=RABBITMQ,
        least={"broker killed": 2},
        says=BROKER_AWAY,
        own_nodes=True,
    ),
    Row(
        "broker-frozen",
        faults.broker_frozen,
        on=RABBITMQ,
        least={"broker frozen": 1},
        most=QUIET,
        says=BROKER_AWAY,
        own_nodes=True,
    ),
    Row(
        "network-cut",
        faults.network_cut,
        on=RABBITMQ,
        least={"network cut": 1},
        most=QUIET,
        says=BROKER_AWAY,
        cable=True,
    ),
    Row(
        "leader-killed",
        faults.leader_killed,
        on=RABBITMQ,
        least={"leader killed": 1},
        says=BROKER_AWAY,
        nodes=3,
        own_nodes=True,
    ),
    Row(
        "model-down",
        faults.model_down,
        least={"away for": faults.OUTAGE_SECONDS},
        # each consumer holds what it has until the hold limit, and then takes the next
        most={**QUIET, faults.DELIVERIES: CONSUMERS * (faults.OUTAGE_SECONDS / 2 / faults.HOLD_LIMIT + 1)},
        says=("circuit_breaker_opened", "rate_limit_waiting", "circuit_breaker_closed"),
        settings={"HOLD_LIMIT": faults.HOLD_LIMIT},
    ),
    Row(
        "model-troubles",
        faults.model_in_every_trouble,
        least={**{trouble.partition("=")[0]: 5 for trouble in faults.TROUBLES}, "restart": 1},
        says=("llm_retry", "circuit_breaker_opened", "circuit_breaker_closed"),
        settings={"VLLM_TIMEOUT": 2},
    ),
    Row(
        "model-mixture",
        faults.model_mixture,
        least={"share spoilt": 0.2},
        says=("llm_retry",),
        settings={"VLLM_TIMEOUT": 2},
        attempts_may_be_spent=True,  # a call may meet six faults in a row while others succeed
    ),
    Row(
        "consumer-timeout",
        faults.answers_too_slow_for_the_broker,
        on=RABBITMQ,
        least={"answers too slow": 3, "taken back": 1},
        settings={"VLLM_TIMEOUT": 30},
        consumer_timeout_ms=3000,
        own_nodes=True,
    ),
    Row(
        "database-locked",
        faults.database_locked,
        least={"locked": 1},
        most=QUIET,
        says=STORE_AWAY,
    ),
    Row(
        "disk-full",
        faults.disk_full,
        small_disk=True,
        least={"refused writes": 1},
        most=QUIET,
        says=STORE_AWAY,
    ),
    Row("killed-while-writing", faults.killed_while_writing, least={"killed while writing": 3}),
    Row("poison", faults.poisoned, least={"poison": 1, "workers killed": 2}, says=("worker_restarted",), poison=True),
)
RUNS = [(row, kind) for row in ROWS for kind in row.on]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a row came to."""

    row: str
    kind: Kind
    seconds: float
    happened: Mapping[str, float]
    count: Count

    @property
    def breaches(self) -> tuple[str, ...]:
        return self.count.breaches


async def run_row(row: Row, kind: Kind, *, tasks: int, seed: int, node: PrivateNode | None = None) -> Run:
    """One run, on `node` where the row does not need nodes of its own. Its folder stays if a promise was broken."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    happened: dict[str, float] = {}
    try:
        count = await _run(row, kind, folder, happened, tasks=tasks, seed=seed, node=node)
    except asyncio.CancelledError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as error:  # noqa: BLE001 one row must not keep the others from running
        (folder / "traceback").write_text("".join(traceback.format_exception(error)))
        count = Count(breaches=(f"the run itself failed: {error!r}, see {folder}/traceback",))
    if count.breaches:
        (folder / "breaches").write_text("\n".join(count.breaches))
    else:
        shutil.rmtree(folder)
    return Run(row.name, kind, round(time.monotonic() - began), happened, count)


async def _run(
    row: Row,
    kind: Kind,
    folder: Path,
    happened: dict[str, float],
    *,
    tasks: int,
    seed: int,
    node: PrivateNode | None,
) -> Count:
    async with contextlib.AsyncExitStack() as stack:
        queue = await _queue(row, kind, node, stack)
        python = await asyncio.to_thread(python_with_a_broken_parser, folder / "python") if row.poison else None
        world = World(
            folder,
            queue=queue,
            tasks=tasks,
            seed=seed,
            poison=row.poison,
            attempts_may_be_spent=row.attempts_may_be_spent,
            python=python,
            data=folder / "data" if row.small_disk else None,
            settings=row.settings,
            happened=happened,
        )
        if row.small_disk:
            world.disk = stack.enter_context(
                small_disk(world.data, processes=world.processes, mebibytes=DISK_MEBIBYTES)
            )
        await stack.enter_async_context(world)
        await world.submit()
        world.start()
        unmet = []
        try:
            await row.fault(world)
        except TimeoutError:
            unmet.append("the service made no progress while its fault was awaited")
        await world.until_settled(seconds=SETTLES_SECONDS + SECONDS_A_TASK * tasks)
        count = await world.verdict()
        return replace(count, breaches=(*count.breaches, *unmet, *_unmet(row, world, await world.log())))


async def run_rows(
    wanted: Iterable[tuple[Row, Kind]],
    *,
    tasks: int,
    seed: int,
    node: PrivateNode,
    lanes: int = 1,
    until: float = math.inf,
) -> AsyncIterator[Run]:
    """Several rows, `lanes` at a time and in their order: most of a run is waiting. None begins after `until`."""
    turn = asyncio.Semaphore(lanes)

    async def one(row: Row, kind: Kind) -> Run | None:
        async with turn:
            if time.monotonic() >= until:
                return None
            return await run_row(row, kind, tasks=tasks, seed=seed, node=node)

    async with asyncio.TaskGroup() as group:
        for ended in asyncio.as_completed([group.create_task(one(row, kind)) for row, kind in wanted]):
            if (run := await ended) is not None:
                yield run


async def _queue(row: Row, kind: Kind, node: PrivateNode | None, stack: contextlib.AsyncExitStack) -> Queue:
    if kind == "embedded":
        return EmbeddedQueue()
    if row.own_nodes or node is None:
        nodes = await stack.enter_async_context(_nodes(row))
    else:
        nodes = [node]
    cable = await stack.enter_async_context(Cable(nodes[0].port)) if row.cable else None
    return RabbitMQ(*nodes, cable=cable)


@contextlib.asynccontextmanager
async def _nodes(row: Row) -> AsyncIterator[list[PrivateNode]]:
    nodes = [PrivateNode(password=BROKER_PASSWORD, consumer_timeout_ms=row.consumer_timeout_ms)]
    nodes += [PrivateNode(beside=nodes[0], password=BROKER_PASSWORD) for _ in range(row.nodes - 1)]
    try:
        for node in nodes:
            await asyncio.to_thread(node.start)
        for node in nodes[1:]:
            await asyncio.to_thread(node.join, nodes[0])
        yield nodes
    finally:
        for node in reversed(nodes):
            await asyncio.to_thread(node.close)


def _unmet(row: Row, world: World, log: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A fault that did not happen proves nothing, and one that nobody can see in the log is no help to its owner."""
    for what, least in row.least.items():
        if world.happened.get(what, 0) < least:
            yield f"the fault was weak: {what} {world.happened.get(what, 0):g}, at least {least:g} is needed"
    for what, most in row.most.items():
        if world.happened.get(what, 0) > most:
            yield f"{what}: {world.happened[what]:g}, at most {most:g} is allowed"
    said = {name for event in log for name in (event["event"], f"{event['event']} {event.get('what')}")}
    for event in row.says:
        if event not in said:
            yield f"the log never says {event}"
