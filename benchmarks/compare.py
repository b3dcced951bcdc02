"""Running the sides in turn and taking their measure."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.measure import used
from benchmarks.pages import task_bodies
from benchmarks.sides import BenchmarkFailedError, Side, Stub

WARM_UP_TASKS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One side's cost in one run. Per task: from the first settled task to the last, so that starting is not in it."""

    side: str
    tasks: int
    cpu_ms_per_task: float
    kernel_ms_per_task: float
    supervisor_ms_per_task: float
    model_ms_per_task: float
    tasks_per_second: float
    peak_mb: float
    supervisor_peak_mb: float
    first_task_cpu_s: float  # of the worker, from its start to the first settled task
    first_task_supervisor_cpu_s: float
    first_task_wall_s: float
    chats_per_task: float
    streamed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: every side `repeat` times, in turns, so that a busy minute of the machine meets them all."""

    sides: Sequence[Side]
    stub: Stub
    folder: Path
    tasks: int = 1000
    repeat: int = 3
    seed: int = 1
    warm_up: bool = True


def compare(plan: Plan, *, tell: Callable[[str], None]) -> Iterator[Sample]:
    """The samples, as they come. A warm-up before them fills the caches of the disk and writes compiled modules."""
    file, few = plan.folder / "tasks.jsonl", plan.folder / "few.jsonl"
    _write(file, task_bodies(plan.tasks, seed=plan.seed))
    _write(few, task_bodies(WARM_UP_TASKS, seed=plan.seed))
    for side in plan.sides if plan.warm_up else ():
        tell(f"warming up: {side.name}")
        run_once(side, few, plan.stub, folder=_fresh(plan.folder))
    for repetition in range(1, plan.repeat + 1):
        for side in plan.sides:
            sample = run_once(side, file, plan.stub, folder=_fresh(plan.folder))
            tell(f"{repetition}/{plan.repeat} {side.name}: {sample.cpu_ms_per_task:.2f} CPU-ms a task")
            yield sample


def run_once(side: Side, tasks: Path, stub: Stub, *, folder: Path) -> Sample:
    """Fill the side's queue, start it, and watch it from outside until everything is settled."""
    count = tasks.read_bytes().count(b"\n")
    side.fill(tasks, folder=folder)
    chats_before = _chats(stub)
    began = time.monotonic()
    with side.start(folder=folder, profile=None) as running:
        settled_first = running.wait_for(1, look_every_seconds=0.005)
        first_at, first, stub_first = time.monotonic(), used(running.worker), used(stub.pid)
        supervisor_first = used(running.supervisor) if running.supervisor else None
        running.wait_for(count, look_every_seconds=0.02)
        last_at, last, stub_last = time.monotonic(), used(running.worker), used(stub.pid)
        supervisor_last = used(running.supervisor) if running.supervisor else None
    side.check(running, count)
    counted = max(1, count - settled_first)
    whole, streamed = (after - before for after, before in zip(_chats(stub), chats_before, strict=True))
    if whole + streamed < count:
        raise BenchmarkFailedError(f"{side.name}: {count} tasks but only {whole + streamed} model calls")
    return Sample(
        side=side.name,
        tasks=count,
        cpu_ms_per_task=1000 * (last.cpu_seconds - first.cpu_seconds) / counted,
        kernel_ms_per_task=1000 * (last.kernel_seconds - first.kernel_seconds) / counted,
        supervisor_ms_per_task=1000 * (supervisor_last.cpu_seconds - supervisor_first.cpu_seconds) / counted
        if supervisor_first and supervisor_last
        else 0.0,
        model_ms_per_task=1000 * (stub_last.cpu_seconds - stub_first.cpu_seconds) / counted,
        tasks_per_second=counted / max(1e-9, last_at - first_at),
        peak_mb=last.peak_megabytes,
        supervisor_peak_mb=supervisor_last.peak_megabytes if supervisor_last else 0.0,
        first_task_cpu_s=first.cpu_seconds,
        first_task_supervisor_cpu_s=supervisor_first.cpu_seconds if supervisor_first else 0.0,
        first_task_wall_s=first_at - began,
        chats_per_task=(whole + streamed) / count,
        streamed=streamed > 0,
    )


def profile_once(side: Side, tasks: int, *, folder: Path, out: Path, seed: int = 1) -> None:
    """Run the side's worker under the sampler; the profile is in `out`."""
    file = folder / "profiled.jsonl"
    _write(file, task_bodies(tasks, seed=seed))
    own = _fresh(folder)
    side.fill(file, folder=own)
    with side.start(folder=own, profile=out) as running:
        running.wait_for(1, look_every_seconds=0.005)
        running.tell_working()
        running.wait_for(tasks, look_every_seconds=0.02)
    side.check(running, tasks)


def _fresh(folder: Path) -> Path:
    """A folder whose name no run has had before: queues are named after it."""
    made = folder / secrets.token_hex(6)
    made.mkdir()
    return made


def _write(file: Path, bodies: Iterator[bytes]) -> None:
    with file.open("wb") as out:
        while batch := list(islice(bodies, 100)):
            out.writelines(body + b"\n" for body in batch)


def _chats(stub: Stub) -> tuple[int, int]:
    """How many answers the model has given so far: whole, streamed."""
    with urllib.request.urlopen(f"{stub.url}/stats", timeout=10) as response:
        counts = json.load(response)
    return counts["whole"], counts["streamed"]
