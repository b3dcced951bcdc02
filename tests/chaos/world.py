"""One service with everything it needs and nothing it shares, and the witnesses of what becomes of its tasks.

    async with World(folder, broker=EmbeddedQueue(), tasks=200, seed=1) as world:
        await world.submit()
        world.start()
        ...                                   # the fault
        await world.until_settled(seconds=120)
        count = await world.verdict()

The witnesses are independent of what they watch: a trigger in the results database, the simulated model server's
referee, the queues as anybody may count them, the log, /proc, and the folder itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from scraper.testing.site import SimulatedSite
from scraper.testing.vllm import SimulatedVLLM
from tests.chaos.audit import DONE, SAMPLED_SECONDS, Count, Rules, Seen, Stall, audit, leaked
from tests.chaos.disk import Disk
from tests.chaos.tasks import BODY_SECRET, PAGE_SECRET, PROMPT_SECRET, TASK_MAX_BYTES, Given, given
from tests.chaos.witnesses import (
    call_witness,
    command_of,
    ended_so_far,
    events,
    is_alive,
    processes_with,
    seconds_at_work_and_waiting,
    seconds_stolen,
    statement_of,
)
from tests.rabbitmq import dismiss, kill_when_we_are_gone
from tests.service import Service

API_KEY = "planted-api-key-7d20e5"
BROKER_PASSWORD = "planted-broker-password-41bb9a"
SECRETS = {
    "VLLM_API_KEY": API_KEY,
    "the broker's password": BROKER_PASSWORD,
    "text of a page": PAGE_SECRET,
    "instructions of a prompt": PROMPT_SECRET,
    "text of a body that is no task": BODY_SECRET,
}

SETTINGS = {
    "WORKERS": 4,
    "CONCURRENT_CONSUMERS_PER_WORKER": 3,
    "VLLM_MAX_CONCURRENT": 2,
    "VLLM_REQUESTS_PER_MINUTE": 1200,
    "VLLM_TIMEOUT": 10,
    "VLLM_BASE_BACKOFF": 0.2,
    "VLLM_MAX_BACKOFF": 2,
    "VLLM_CIRCUIT_BREAKER_TIMEOUT": 2,
    "VLLM_API_KEY": API_KEY,
    "TASK_MAX_BYTES": TASK_MAX_BYTES,
    "BROKER_HEARTBEAT": 2,
    "DRAIN_SECONDS": 10,
    "ALLOW_PRIVATE_ADDRESSES": "on",
    "FETCH_DELAY": 0,
    "LOG_FORMAT": "json",
}

TIME_SCALE = 20.0  # of the model server: answers take about as long as the pace leaves between two of them
STOP_SECONDS, TOOK_TOO_LONG = 180.0, -1
LOOK_SECONDS = 0.25
PROGRESS_SECONDS = 400.0
"""For a few tasks: workers that died often are started again after half a minute, and some tasks wait a minute."""

_SHORTEST_STALL_SECONDS = 0.0005
_STAYS = {"log", "scraper.db", "data/scraper.db"} | {f"run/host_turns.sqlite{end}" for end in ("", "-wal", "-shm")}
"""Of two processes that close a database in the same moment, SQLite lets neither tidy up behind the other."""


class Queue(Protocol):
    """Where the tasks of a world wait, as a stranger sees it."""

    url: str | None

    async def publish(self, bodies: list[bytes], *, namespace: str, database: Path) -> None: ...

    async def left(self, *, namespace: str, database: Path) -> int: ...


class World:
    """Entered once. The folder's path must be short: sockets are made in it."""

    def __init__(
        self,
        folder: Path,
        *,
        queue: Queue,
        tasks: int,
        seed: int,
        poison: bool = False,
        attempts_may_be_spent: bool = False,
        python: Path | None = None,
        data: Path | None = None,
        settings: Mapping[str, object] | None = None,
        happened: dict[str, float] | None = None,
    ) -> None:
        """`happened` is where what happened is counted."""
        self.random = random.Random(seed)
        self.queue = queue
        self.folder = folder
        self.data = data or folder
        self.database = self.data / "scraper.db"
        self.settings = {**SETTINGS, **(settings or {})}
        self.model: SimulatedVLLM
        self.site: SimulatedSite
        self.given: Given
        self.namespace = f"chaos-{secrets.token_hex(6)}"
        self.happened = {} if happened is None else happened
        self.disk: Disk | None = None
        self._tasks, self._seed, self._poison = tasks, seed, poison
        self._attempts_may_be_spent = attempts_may_be_spent
        self._python = python or Path(sys.executable)
        self._mains: list[subprocess.Popen[bytes]] = []
        self._codes: list[int] = []
        self._guards = contextlib.ExitStack()
        self._late = 0.0
        self._stalls: list[Stall] = []
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.model = await stack.enter_async_context(
                SimulatedVLLM(time_scale=TIME_SCALE, api_key=API_KEY, seed=self._seed)
            )
            self.site = await stack.enter_async_context(SimulatedSite())
            watch = asyncio.create_task(self._watch_for_stalls())
            stack.push_async_callback(_ended, watch)
            stack.enter_context(self._guards)
            stack.callback(self.kill)
            for name in ("tmp", "run", "bin"):
                (self.folder / name).mkdir(mode=0o700)
            self._service = Service(
                self.folder,
                broker_url=self.queue.url,
                QUEUE_NAMESPACE=self.namespace,
                VLLM_BASE_URL=self.model.base_url,
                TMPDIR=self.folder / "tmp",
                PATH=f"{self._mark}:{os.environ.get('PATH', os.defpath)}",
                **self.settings,
            )
            database = f"sqlite:///{self.database}"
            self._service.environment |= {"RESULTS_URL": database, "BROKER_URL": self.queue.url or database}
            self.given = await asyncio.to_thread(
                given, self._tasks, site=self.site, poison=self._poison, seed=self._seed
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.__aexit__(*error)

    # what the owner does

    async def submit(self) -> None:
        """The tasks by the command, the poison in their middle by a stranger; from then on the witness writes."""
        half = len(self.given.lines) // 2
        await self._submit(self.given.lines[:half])
        call_witness(self.database)
        await self.queue.publish(self.given.bodies, namespace=self.namespace, database=self.database)
        await self._submit(self.given.lines[half:])

    def start(self) -> None:
        """`python -m scraper.main`, its log in a file."""
        with (self.folder / "log").open("ab") as log:
            main = subprocess.Popen(
                [self._python, "-m", "scraper.main"],
                env=self._service.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self._mains.append(main)
        self._guards.callback(dismiss, kill_when_we_are_gone(main.pid))  # its workers see it go, and end as well

    async def stop(self) -> None:
        """As an administrator stops it. With which exit code is for the verdict."""
        self.main.terminate()
        try:
            self._codes.append(await asyncio.to_thread(self.main.wait, STOP_SECONDS))
        except subprocess.TimeoutExpired:
            self._codes.append(TOOK_TOO_LONG)

    def kill(self) -> None:
        """As a power cut does: every process at once."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for main in self._mains:
            main.wait()

    # what a fault needs

    @property
    def environment(self) -> dict[str, str]:
        """Of every process of this world."""
        return self._service.environment

    @property
    def main(self) -> subprocess.Popen[bytes]:
        return self._mains[-1]

    def workers(self) -> list[int]:
        """Pids of the workers that run now."""
        with contextlib.suppress(OSError, IndexError):  # none was started so far
            children = Path(f"/proc/{self.main.pid}/task/{self.main.pid}/children").read_text().split()
            return [int(child) for child in children if is_alive(int(child))]
        return []

    def processes(self) -> list[int]:
        """Pids of everything of this world that runs now, children of workers included."""
        return [pid for pid in processes_with(f"PATH={self._mark}:") if pid != os.getpid()]

    def was_stopped(self, since: float, until: float) -> None:
        """Say that a worker could not run from one moment of the monotonic clock to another: it goes on late then."""
        self._stalls.append(Stall(until, until, until - since))

    def count(self, what: str, more: float = 1) -> None:
        """Say that something happened; a row demands that enough did."""
        self.happened[what] = self.happened.get(what, 0) + more

    def settled(self) -> int:
        """Tasks that have ended so far."""
        try:
            return ended_so_far(self.database)
        except sqlite3.Error:
            return 0

    @property
    def unsettled(self) -> int:
        return len(self.given.expected) - self.settled()

    async def until_settled(self, *, seconds: float, but: int = 0) -> bool:
        """Until all tasks but so many have ended, and with none left the queues are empty. False: it took too long."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: self.unsettled <= but, seconds=seconds)
            while not but and await self._queued():  # copies of what is done, in a queue where they wait
                await asyncio.sleep(LOOK_SECONDS)
                if (seconds := seconds - LOOK_SECONDS) < 0:
                    return False
            return True
        return False

    async def until_at_work(self, *, done: int = 1) -> None:
        """Until the first tasks have ended: a fault shall meet a service that works."""
        await until(lambda: self.settled() >= done, seconds=PROGRESS_SECONDS)

    async def progress(self, tasks: int) -> None:
        """Until so many more tasks have ended, or none is left."""
        wanted = min(self.settled() + tasks, len(self.given.expected))
        await until(lambda: self.settled() >= wanted, seconds=PROGRESS_SECONDS)

    async def log(self) -> list[dict[str, Any]]:
        """The events so far."""
        return await asyncio.to_thread(lambda: list(events((self.folder / "log").read_text(errors="replace"))))

    # what the witnesses say

    async def verdict(self) -> Count:
        """Stop everything and count."""
        await self.stop()
        queued = await self._counted()
        exported = await asyncio.to_thread(self._service.results)
        files = sorted(self._files_left())  # before the witness looks: whoever reads a database leaves files beside it
        stored = statement_of(self.database)
        log = (self.folder / "log").read_text(errors="replace")
        stats = self.model.stats
        seen = Seen(
            stored=stored,
            exported={row["task_id"]: row["reason"] or DONE for row in exported},
            queued=queued,
            max_in_flight=stats.max_in_flight,
            starts=stats.starts,
            unsteady_seconds=self._late,
            stalls=self._stalls,
            exit_code=next(filter(None, self._codes), 0),
            processes=[f"{pid} {command_of(pid)}" for pid in self.processes()],
            files=files,
            secrets=leaked(log, SECRETS),
            tracebacks=[line for line in log.splitlines() if "Traceback (most recent call last)" in line],
        )
        rules = Rules(
            max_in_flight=int(str(self.settings["VLLM_MAX_CONCURRENT"])),
            interval_seconds=60.0 / float(str(self.settings["VLLM_REQUESTS_PER_MINUTE"])),
            attempts_may_be_spent=self._attempts_may_be_spent,
        )
        return audit(self.given.expected, seen, rules)

    @property
    def _mark(self) -> str:
        """A folder of the PATH that only processes of this world have: all of them pass it on to their children."""
        return str(self.folder / "bin")

    async def _submit(self, lines: list[str]) -> None:
        file = self.folder / "tasks.jsonl"
        file.write_text("\n".join(lines))
        said = await asyncio.to_thread(self._service, "submit", file)
        assert said.returncode == 0, said.stderr
        file.unlink()

    async def _counted(self) -> int:
        """As soon as somebody can tell."""
        for _ in range(int(PROGRESS_SECONDS / LOOK_SECONDS)):
            if (queued := await self._queued()) >= 0:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return queued

    async def _queued(self) -> int:
        """Less than 0: nobody can tell now."""
        return await self.queue.left(namespace=self.namespace, database=self.database)

    def _files_left(self) -> Iterator[str]:
        for file in self.folder.rglob("*"):
            name = str(file.relative_to(self.folder))
            if file.is_dir() or name.startswith(("python/", "ballast")):
                continue
            if name in _STAYS or name.endswith((".lock", ".state")):
                continue
            yield name

    async def _watch_for_stalls(self) -> None:
        """How late this loop, which the model server shares, gets to see what has arrived; what its workers wait."""
        clock = asyncio.get_running_loop().time
        before: dict[int, tuple[float, float]] = {}
        watched: list[int] = []
        ended, looked, stolen = clock(), -math.inf, seconds_stolen()
        while True:
            began = ended
            await asyncio.sleep(SAMPLED_SECONDS)
            if began - looked > LOOK_SECONDS:
                looked = began
                watched = self._at_work()
            now = {pid: seconds_at_work_and_waiting(pid) for pid in watched}
            ended = clock()  # whatever it was that kept this loop from its work since it began, the look itself too
            late = max(0.0, ended - began - SAMPLED_SECONDS)
            self._late = max(self._late, late)
            gone = {
                pid: (busy - before[pid][0], waited - before[pid][1])
                for pid, (busy, waited) in now.items()
                if pid in before
            }
            busy, waited = (max((each[which] for each in gone.values()), default=0.0) for which in (0, 1))
            before, stolen_before, stolen = now, stolen, seconds_stolen()
            kept = late + waited + stolen - stolen_before
            if kept + busy > _SHORTEST_STALL_SECONDS:
                self._stalls.append(Stall(began, ended, kept, busy))

    def _at_work(self) -> list[int]:
        """Pids of the workers and of their supervisor, which grants."""
        return [*self.workers(), *(main.pid for main in self._mains[-1:])]


async def until(true: Callable[[], bool], *, seconds: float) -> None:
    """Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 other processes bring it about
            await asyncio.sleep(LOOK_SECONDS)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
