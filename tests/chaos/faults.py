"""What is done to a service while it works. Each says what really happened: a row demands that enough did."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from scraper.testing.vllm_faults import parse_faults
from tests.chaos.queues import RabbitMQ
from tests.chaos.witnesses import processor_seconds
from tests.chaos.world import LOOK_SECONDS, PROGRESS_SECONDS, World, until

Fault: TypeAlias = Callable[[World], Awaitable[None]]

FREEZE_SECONDS = 17.0  # longer than a lease of the embedded queue (15 s) and than any heartbeat of RabbitMQ here
AWAY_SECONDS = 12.0  # of a broker or a database: more than the heartbeats, and than SQLite's own patience
OUTAGE_SECONDS = 24.0  # of the model server; three times the hold limit in that row
HOLD_LIMIT = 8

_FULL = re.compile("disk full|input/output error")  # the second where the disk is a quota

DELIVERIES, PROCESSORS = "deliveries while away", "processors busy while away"


async def poisoned(world: World) -> None:
    """One task in twenty can never be done, and some of those kill the workers that try."""
    await world.until_settled(seconds=PROGRESS_SECONDS + len(world.given.expected))
    deaths = [event["exit_code"] for event in await _said(world, "worker_restarted")]
    world.count("poison", len(world.given.bodies))
    world.count("workers killed", deaths.count(-signal.SIGSEGV))


# processes


async def workers_killed(world: World) -> None:
    """SIGKILL of a random worker every second."""
    await world.until_at_work()
    for _ in range(most_kills(world)):
        await asyncio.sleep(1)
        if not world.unsettled:
            break
        await _signal(world, signal.SIGKILL, "killed")


async def workers_terminated(world: World) -> None:
    """SIGTERM of a random worker every second, and once of the whole service, which is then started again."""
    await world.until_at_work()
    for number in range(most_kills(world)):
        await asyncio.sleep(1)
        if not world.unsettled:
            break
        if number == 3:
            await world.stop()
            world.start()
            world.count("service restarted")
        else:
            await _signal(world, signal.SIGTERM, "terminated")


async def workers_stopped(world: World) -> None:
    """SIGSTOP of two workers, one after the other, for longer than three heartbeats."""
    await world.until_at_work()
    workers = await _workers(world, least=2)
    async with asyncio.TaskGroup() as group:
        for pid in world.random.sample(workers, 2):
            group.create_task(_stopped(world, pid))
            await asyncio.sleep(2)


async def everything_killed(world: World) -> None:
    """SIGKILL of supervisor and workers in the same moment, and a new start; three times."""
    for _ in range(3):
        await world.progress(len(world.given.expected) // 6)
        world.kill()
        world.start()
        world.count("all killed")


async def killed_while_writing(world: World) -> None:
    """SIGKILL of workers that hold the results database's write lock in that moment."""
    await world.until_at_work()
    while world.happened.get("killed while writing", 0) < most_kills(world) / 2 and world.unsettled:
        await asyncio.sleep(0.002)  # a write takes a millisecond: few looks meet one
        workers = world.workers()
        for pid in world.random.sample(workers, len(workers)):
            await asyncio.to_thread(_kill_if_it_writes, world, pid)


def most_kills(world: World) -> int:
    """So many that a run of this size is always under fire, and still comes to an end."""
    return max(12, len(world.given.expected) // 40)


async def _signal(world: World, number: signal.Signals, name: str) -> None:
    workers = await _workers(world, least=1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(world.random.choice(workers), number)
        world.count(name)


async def _workers(world: World, *, least: int) -> list[int]:
    """Those that run now, as soon as there are so many: all may have to be started again first."""
    async with asyncio.timeout(PROGRESS_SECONDS):
        while len(workers := world.workers()) < least:  # noqa: ASYNC110 the kernel has no event for it
            await asyncio.sleep(LOOK_SECONDS)
        return workers


async def _stopped(world: World, pid: int) -> None:
    stopped = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(FREEZE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    world.was_stopped(stopped, time.monotonic())
    world.count("stopped")


def _kill_if_it_writes(world: World, pid: int) -> None:
    """Stop it where it stands; if the database is locked then, it is this process that writes."""
    stopped = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        if _is_locked(world):
            os.kill(pid, signal.SIGKILL)
            world.count("killed while writing")
        os.kill(pid, signal.SIGCONT)
    world.was_stopped(stopped, time.monotonic())


def _is_locked(world: World) -> bool:
    """For longer than any other process writes."""
    with contextlib.closing(sqlite3.connect(world.database, timeout=0.15, isolation_level=None)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        database.execute("ROLLBACK")
    return False


# the broker


async def broker_killed_twice(world: World) -> None:
    """SIGKILL of the broker, started again on the same data; twice."""
    [node] = _rabbitmq(world).nodes
    for _ in range(2):
        await world.progress(len(world.given.expected) // 8)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(node.start)
        world.count("broker killed")


async def broker_frozen(world: World) -> None:
    """The broker stands still, its sockets stay open."""
    [node] = _rabbitmq(world).nodes
    await world.until_at_work(done=5)
    node.freeze()
    try:
        await _while_away(world)
    finally:
        node.thaw()
    world.count("broker frozen")


async def network_cut(world: World) -> None:
    """Nothing gets through between service and broker, in either direction, and nobody is told."""
    cable = _rabbitmq(world).cable
    assert cable is not None
    await world.until_at_work(done=5)
    cable.cut()
    try:
        await _while_away(world)
    finally:
        cable.mend()
    world.count("network cut")


async def leader_killed(world: World) -> None:
    """SIGKILL of the node that leads the tasks queue of a cluster; it comes back later."""
    nodes = _rabbitmq(world).nodes
    await world.until_at_work(done=5)
    said = await asyncio.to_thread(nodes[0].ctl, "list_queues", "--quiet", "name", "leader")
    found = re.search(rf"^{re.escape(world.namespace)}\.tasks\s+(\S+)", said, re.MULTILINE)
    assert found, said
    [leader] = [node for node in nodes if node.name == found[1]]
    await asyncio.to_thread(leader.kill)
    world.count("leader killed")
    await world.progress(len(world.given.expected) // 4)
    await asyncio.to_thread(leader.start)


# the model server


async def model_down(world: World) -> None:
    """The model server refuses connections for longer than the hold limit."""
    await world.until_at_work(done=5)
    world.model.crash(OUTAGE_SECONDS * world.model.time_scale)
    await _while_away(world, seconds=OUTAGE_SECONDS)


TROUBLES = ("503=on", "hang=on", "cut=on", "reset_body=on", "html=on", "broken_json=on")


async def model_in_every_trouble(world: World) -> None:
    """One after the other, each for every request: 503s, hanging, cut bodies, garbage; then a restart."""
    for trouble in TROUBLES:
        await world.progress(len(world.given.expected) // 12)
        world.model.faults.injected.clear()
        [fault] = parse_faults(trouble)
        world.model.faults.add(fault)
        await until(lambda: world.model.faults.injected.total() >= 5, seconds=PROGRESS_SECONDS)
        await asyncio.sleep(2)
        world.model.faults.clear()
        world.count(f"{fault.kind}", world.model.faults.injected[fault.kind])
    await world.progress(len(world.given.expected) // 12)
    world.model.crash(3 * world.model.time_scale)
    world.count("restart")


MIXTURE = ("503", "500", "hang", "reset", "reset_body", "cut", "html", "broken_json", "stream_error")


async def model_mixture(world: World) -> None:
    """Three requests in ten go wrong, each in a way of its own."""
    share = 1 - 0.7 ** (1 / len(MIXTURE))  # drawn one after the other; together 30 %
    for fault in parse_faults(",".join(f"{kind}={share:.4f}" for kind in MIXTURE)):
        world.model.faults.add(fault)
    await world.until_settled(seconds=3600, but=len(world.given.expected) // 20)
    world.model.faults.clear()
    world.count("requests spoilt", world.model.faults.injected.total())
    world.count("share spoilt", round(world.model.faults.injected.total() / world.model.stats.requests, 2))


async def answers_too_slow_for_the_broker(world: World) -> None:
    """One answer in twenty takes longer than the broker lets a consumer keep a message."""
    for fault in parse_faults(f"slow_headers=0.05:{7 * world.model.time_scale}"):
        world.model.faults.add(fault)
    await world.until_settled(seconds=3600, but=len(world.given.expected) // 20)
    world.model.faults.clear()
    world.count("answers too slow", world.model.faults.injected.total())
    world.count("taken back", sum("imeout" in str(event.get("error")) for event in await _said(world, "waiting_for")))


# the results database


async def database_locked(world: World) -> None:
    """Another program keeps the results database for itself."""
    await world.until_at_work(done=5)
    with contextlib.closing(sqlite3.connect(world.database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await _while_away(world)
        other.execute("ROLLBACK")
    world.count("locked")


async def disk_full(world: World) -> None:
    """Not a byte is left on the disk of the results database."""
    assert world.disk is not None
    await world.until_at_work(done=5)
    await asyncio.to_thread(world.disk.fill)
    try:
        await _while_away(world)
    finally:
        world.disk.make_room()
    full = sum(bool(_FULL.search(str(event.get("error")))) for event in await _said(world, "waiting_for"))
    world.count("refused writes", full)


async def _while_away(world: World, *, seconds: float = AWAY_SECONDS) -> None:
    """Something is away for a while: what is in hand is kept, nothing more is taken, and no processor runs hot.

    Counted in the second half; in the first everybody finds out.
    """
    await asyncio.sleep(seconds / 2)
    received, worked = await _received(world), _processor_seconds(world)
    await asyncio.sleep(seconds / 2)
    world.count("away for", seconds)
    world.count(DELIVERIES, await _received(world) - received)
    world.count(PROCESSORS, round((_processor_seconds(world) - worked) / (seconds / 2), 2))


def _processor_seconds(world: World) -> float:
    """What all its processes have used so far."""
    return sum(processor_seconds(pid) for pid in world.processes())


async def _received(world: World) -> int:
    return len(await _said(world, "task_received"))


async def _said(world: World, event: str) -> list[dict[str, object]]:
    return [each for each in await world.log() if each["event"] == event]


def _rabbitmq(world: World) -> RabbitMQ:
    assert isinstance(world.queue, RabbitMQ)
    return world.queue
