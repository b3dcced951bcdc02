"""What is compared: the floor, and ours on each broker. Each is filled with the same tasks and started as it is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from benchmarks.measure import children

HERE = Path(__file__).resolve().parent
Progress = Literal["dots", "events"]  # how a side says that it has settled a task

STOP_SECONDS = 30.0
STALLED_SECONDS = 60.0  # without any progress


class BenchmarkFailedError(Exception):
    """A side did not do the work, so its cost would mean nothing."""


class Side(Protocol):
    """One way to do the work. `folder` is its own for one run."""

    @property
    def name(self) -> str: ...

    def fill(self, tasks: Path, *, folder: Path) -> None:
        """Put every line of `tasks` into its queue."""
        ...

    def start(self, *, folder: Path, profile: Path | None) -> Running:
        """Start working. With `profile`, the worker alone and under the sampler, which writes there."""
        ...

    def check(self, running: Running, count: int) -> None:
        """Raises BenchmarkFailedError unless every one of `count` tasks ended as it should."""
        ...


class Running:
    """A side at work: its processes, and how many tasks it has settled."""

    def __init__(
        self, command: Sequence[str], *, environment: dict[str, str], folder: Path, progress: Progress, supervised: bool
    ) -> None:
        self.log = folder / "log"
        self._progress = progress
        self._supervised = supervised
        self.out = folder / "out"
        self._counted, self._settled = 0, 0
        with self.out.open("wb") as stdout, self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=environment, cwd=folder
            )

    @property
    def worker(self) -> int:
        """The process that does the work."""
        if not self._supervised:
            return self.process.pid
        workers = children(self.process.pid)
        if len(workers) != 1:
            raise BenchmarkFailedError(f"one worker was expected, not {len(workers)}:\n{self.tail()}")
        return workers[0]

    @property
    def supervisor(self) -> int | None:
        return self.process.pid if self._supervised else None

    def settled(self) -> int:
        """Tasks that have ended so far; reads only what was written since the last time."""
        file, mark = (self.out, b".") if self._progress == "dots" else (self.log, b'"task_settled"')
        with file.open("rb") as written:
            written.seek(self._counted)
            new = written.read()
        whole = new[: new.rfind(b"\n") + 1] if self._progress == "events" else new
        self._counted += len(whole)
        self._settled += whole.count(mark)
        return self._settled

    def wait_for(self, count: int, *, look_every_seconds: float) -> int:
        """Until at least `count` tasks are settled; how many are."""
        settled, since = self.settled(), time.monotonic()
        while settled < count:
            if self.process.poll() is not None:
                raise BenchmarkFailedError(f"it ended with exit code {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() - since > STALLED_SECONDS:
                raise BenchmarkFailedError(f"nothing settled for {STALLED_SECONDS:.0f} s:\n{self.tail()}")
            time.sleep(look_every_seconds)
            before, settled = settled, self.settled()
            if settled > before:
                since = time.monotonic()
        return settled

    def tell_working(self) -> None:
        """To the sampler: from here on it is work and no longer starting."""
        self.process.send_signal(signal.SIGUSR1)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


@dataclass(frozen=True, slots=True)
class Floor:
    """aio-pika, httpx, the parsing that the service does, and nothing else; `bare`: selectolax's parsing instead."""

    rabbitmq_url: str
    model_url: str
    bare: bool = False

    @property
    def name(self) -> str:
        return "bare floor" if self.bare else "floor"

    def fill(self, tasks: Path, *, folder: Path) -> None:
        asyncio.run(self._publish(tasks.read_bytes().splitlines(), _namespace(folder)))

    async def _publish(self, bodies: list[bytes], queue: str) -> None:
        import aio_pika  # noqa: PLC0415 the embedded queue alone can be measured without it

        async with await aio_pika.connect(self.rabbitmq_url) as connection:
            channel = await connection.channel()
            await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
            for start in range(0, len(bodies), 100):
                publishes = (
                    channel.default_exchange.publish(
                        aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), routing_key=queue
                    )
                    for body in bodies[start : start + 100]
                )
                await asyncio.gather(*publishes)

    def start(self, *, folder: Path, profile: Path | None) -> Running:
        program = [str(HERE / "floor_worker.py"), self.rabbitmq_url, _namespace(folder), self.model_url]
        command = [sys.executable, *_under_sampler(profile), *program, *["--bare"] * self.bare]
        return Running(command, environment=_environment(), folder=folder, progress="dots", supervised=False)

    def check(self, running: Running, count: int) -> None:
        if running.settled() != count:
            raise BenchmarkFailedError(f"{running.settled()} tasks settled, not {count}:\n{running.tail()}")


@dataclass(frozen=True, slots=True)
class Ours:
    """The service with everything on, and limits so wide that they never make it wait."""

    model_url: str
    rabbitmq_url: str | None = None  # None: the embedded queue

    @property
    def name(self) -> str:
        return "ours, embedded queue" if self.rabbitmq_url is None else "ours, RabbitMQ"

    def fill(self, tasks: Path, *, folder: Path) -> None:
        command = [sys.executable, "-m", "scraper.main", "submit", str(tasks)]
        done = subprocess.run(
            command, env=self._settings(folder), cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchmarkFailedError(f"submit ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")

    def start(self, *, folder: Path, profile: Path | None) -> Running:
        command = "worker" if profile else "run"
        return Running(
            [sys.executable, *_under_sampler(profile), "-m", "scraper.main", command],
            environment=self._settings(folder),
            folder=folder,
            progress="events",
            supervised=profile is None,
        )

    def check(self, running: Running, count: int) -> None:
        lines = [json.loads(line) for line in running.log.read_bytes().splitlines() if b'"task_settled"' in line]
        ends = Counter((line["outcome"], line["reason"]) for line in lines)
        if ends != {("done", ""): count}:
            raise BenchmarkFailedError(f"{count} tasks were to be done, but it says {dict(ends)}:\n{running.tail()}")

    def _settings(self, folder: Path) -> dict[str, str]:
        database = f"sqlite:///{folder / 'scraper.db'}"
        return _environment() | {
            "BROKER_URL": self.rabbitmq_url or database,
            "RESULTS_URL": database,
            "QUEUE_NAMESPACE": _namespace(folder),
            "RUN_DIR": str(folder / "run"),
            "VLLM_BASE_URL": self.model_url,
            "VLLM_MAX_CONCURRENT": "64",
            "VLLM_REQUESTS_PER_MINUTE": "60000",
            "LOG_FORMAT": "json",
        }


@dataclass(frozen=True, slots=True)
class Stub:
    """The model server, running."""

    url: str
    pid: int


@contextmanager
def stub_model(*, chunks: int, pace_ms: float) -> Iterator[Stub]:
    """The stub as a process of its own."""
    options = ["--chunks", str(chunks), "--pace-ms", str(pace_ms)]
    with subprocess.Popen(
        [sys.executable, str(HERE / "stub_model.py"), *options], stdout=subprocess.PIPE, env=_environment(), text=True
    ) as process:
        try:
            assert process.stdout
            yield Stub(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()


def _under_sampler(profile: Path | None) -> list[str]:
    return [str(HERE / "sampler.py"), str(profile)] if profile else []


def _namespace(folder: Path) -> str:
    """The name of a run's queues: a folder is used once, and so is its name."""
    return f"bench-{folder.name}"


def _environment() -> dict[str, str]:
    """What a shell gives, without any setting of the person who runs this."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
