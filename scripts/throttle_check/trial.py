"""A simulated model server, some processes that call it, and what is done to them; what each trial measured.

The server is the referee: it notes every request's first byte and end itself.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import httpx

from scraper.errors import ScraperError
from scraper.event_loop import run
from scraper.throttle import operations
from throttle_check.caller import STOP, Job, Record, call_as_told
from throttle_check.plan import Trial

START_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
"""What must happen may take this much longer than planned before it counts as not happening."""
_LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Measured:
    """What a trial came to."""

    trial: Trial
    record: Record = field(default_factory=Record)
    starts: list[float] = field(default_factory=list)  # first bytes at the server, sorted
    intervals: list[tuple[float, float, int | None]] = field(default_factory=list)  # (start, end, status) there
    max_in_flight: int = 0
    mended_at: float | None = None
    trouble: str = ""

    @property
    def smear(self) -> float:
        """Seconds by which the busy machine itself displaced what the server saw; 0 where others called as well.

        Where some were cancelled unwritten it is not known which is which: each is then taken for the last one written
        before it, which allows for less.
        """
        written = sorted(self.record.written)
        if len(written) < len(self.starts):
            return 0.0
        if len(written) == len(self.starts):
            return max((seen - sent for sent, seen in zip(written, self.starts, strict=True)), default=0.0)
        befores = [(seen, bisect_right(written, seen)) for seen in self.starts]
        return max((seen - written[count - 1] for seen, count in befores if count), default=0.0)


class Server:
    """A simulated model server in a process of its own."""

    def __init__(self, root_url: str) -> None:
        self.root_url = root_url
        self.base_url = f"{root_url}/v1"

    def order(self, **what: Any) -> None:
        """As `POST /_control` takes it."""
        httpx.post(f"{self.root_url}/_control", json=what, timeout=10, trust_env=False).raise_for_status()

    def saw(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.root_url}/_stats?last=100000", timeout=10, trust_env=False)
        seen: dict[str, Any] = answer.raise_for_status().json()
        return seen

    def answered(self) -> int:
        return int(self.saw()["by_status"].get("200", 0))


@contextmanager
def simulated_server() -> Iterator[Server]:
    """Answers at once unless told otherwise."""
    command = [sys.executable, "-m", "scraper.testing.vllm", "--preset", "instant", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        if not base_url:
            raise RuntimeError("the simulated model server did not start")
        yield Server(base_url.removesuffix("/v1"))
    finally:
        process.kill()
        process.wait()


class Callers:
    """`count` caller processes. With `apart`, each has a RUN_DIR of its own: nothing is shared."""

    def __init__(self, count: int, *, apart: bool = False) -> None:
        self.count = count
        self._apart = apart
        self._processes: list[tuple[BaseProcess, Connection]] = []
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        for _ in range(self.count):
            ours, theirs = context.Pipe()
            process = context.Process(target=call_as_told, args=(theirs,), daemon=True)
            process.start()
            self._processes.append((process, ours))
        for _, pipe in self._processes:
            _received(pipe, START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._processes:
            pipe.close()
            process.terminate()
            process.join()
        for folder in self._folders:
            folder.cleanup()

    def call(
        self,
        server: Server,
        trial: Trial,
        *,
        processes: int | None = None,
        meanwhile: Callable[[Measured, Path], None] | None = None,
    ) -> Measured:
        """Let the processes call together as `trial` says; without a number of calls for as long as `meanwhile`."""
        measured = Measured(trial)
        chosen = self._processes[: processes or self.count]
        server.order(reset_stats=True)
        shared = self._folder()
        for number, (_, pipe) in enumerate(chosen):
            run_dir = self._folder() if self._apart and number else shared
            pipe.send(_job(server, trial, run_dir=run_dir, processes=len(chosen)))
        try:
            if meanwhile is not None:
                meanwhile(measured, shared)
                for _, pipe in chosen:
                    pipe.send(STOP)
            limits, calls = trial.limits, max(1, trial.calls)
            planned = calls * (limits.interval + trial.answer_seconds) + limits.max_retries * limits.max_backoff
            for _, pipe in chosen:
                measured.record.merge(_received(pipe, planned + PATIENCE_SECONDS))
        except TimeoutError as late:
            measured.trouble = str(late)
        _take(measured, server.saw())
        return measured

    def _folder(self) -> Path:
        folder = tempfile.TemporaryDirectory(prefix="throttle-")
        self._folders.append(folder)
        return Path(folder.name)


def fail_and_recover(server: Server, measured: Measured, run_dir: Path) -> None:
    """The server is well, then fails until the circuit has opened twice, then is well until it is closed."""
    limits = measured.trial.limits

    def failures() -> int:
        """In a row; 0 while the circuit is not open."""
        try:
            circuit = run(operations.show(server.base_url, run_dir))["circuit"]
        except ScraperError:
            return 0
        return int(circuit["failures"]) if circuit["state"] == "open" else 0

    until("a first answer", lambda: server.answered() > 0, within=10)
    server.order(faults="500=on")
    until("an open circuit", lambda: failures() >= limits.threshold, within=limits.threshold * limits.interval)
    until("a failed probe", lambda: failures() > limits.threshold, within=limits.timeout)
    server.order(clear=True)
    measured.mended_at = time.monotonic()
    before = server.answered()
    until("an answer again", lambda: server.answered() > before + 1, within=2 * limits.timeout)


def until(what: str, true: Callable[[], bool], *, within: float) -> None:
    """Raises TimeoutError."""
    end = time.monotonic() + within + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {within + PATIENCE_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


def _job(server: Server, trial: Trial, *, run_dir: Path, processes: int) -> Job:
    """Each process alone could use all the slots, and has more callers than that."""
    at_a_time = trial.limits.max_concurrent + 1 if trial.calls != 1 else 1
    calls = -(-trial.calls // processes)
    return Job(
        server.base_url,
        run_dir,
        trial.limits,
        callers=at_a_time if processes == 1 else max(2, -(-2 * at_a_time // processes)),
        calls=calls,
    )


def _received(pipe: Connection, within: float) -> Any:
    if not pipe.poll(within):
        raise TimeoutError(f"a calling process did not answer within {within:.0f} s")
    return pipe.recv()


def _take(measured: Measured, seen: dict[str, Any]) -> None:
    measured.starts = sorted(seen["starts"])
    measured.intervals = [(began, ended, status) for began, ended, status, *_ in seen["intervals"]]
    measured.max_in_flight = seen["max_in_flight"]
