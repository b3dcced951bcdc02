#!/usr/bin/env python3
"""What a task costs a worker, beside the least that plain libraries can do it with.

The floor is aio-pika, httpx and the same parsing of pages with nothing around them; ours is the whole service with
everything on, over RabbitMQ and over the queue in a file. All get the same pages and the same model server, which
answers at once. The bare floor takes a page's text as selectolax gives it.
CPU time and ratios mean something on a busy machine; tasks per second and wall time only on an idle one.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run by path: its own folder is what Python puts there

import click  # noqa: E402 needs the line above
from rich.console import Console  # noqa: E402

from benchmarks.compare import Plan, Sample, compare, profile_once  # noqa: E402
from benchmarks.report import FLOOR, ms_per_task, profile_tables, summary, table  # noqa: E402
from benchmarks.sides import BenchmarkFailedError, Floor, Ours, Side, Stub, stub_model  # noqa: E402
from tests.rabbitmq import PrivateNode  # noqa: E402

SIDES = ("bare", "floor", "rabbitmq", "sqlite")
LIBRARIES = ("aio-pika", "httpx", "selectolax", "pydantic", "jsonschema-rs", "structlog")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--tasks", default=1000, show_default=True, type=click.IntRange(min=2), help="Pages in each run.")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each side.")
@click.option("--side", "names", multiple=True, type=click.Choice(SIDES), help="Only these; all without.")
@click.option(
    "--chunks", default=60, show_default=True, type=click.IntRange(min=1), help="Pieces of a streamed answer."
)
@click.option(
    "--pace-ms", default=0.0, show_default=True, type=click.FloatRange(min=0), help="Time between two pieces."
)
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same pages.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all samples here.")
@click.option("--profile", is_flag=True, help="Show where the CPU time goes instead of comparing.")
def main(
    *,
    tasks: int,
    repeat: int,
    names: tuple[str, ...],
    chunks: int,
    pace_ms: float,
    seed: int,
    json_file: Path | None,
    profile: bool,
) -> None:
    """What a task costs a worker, beside the least that plain libraries can do it with.

    \b
    Examples:
      make bench
      .venv/bin/python benchmarks/tasks.py --tasks 300 --json bench.json
      .venv/bin/python benchmarks/tasks.py --profile --side floor --side rabbitmq
      .venv/bin/python benchmarks/tasks.py --pace-ms 10     # an answer that comes token by token
    """  # noqa: D301 click reads the escape \b: keep these lines as they are
    if sys.platform != "linux":
        raise click.ClickException("CPU time and memory are read from /proc: this benchmark runs on Linux only")
    messages = Console(stderr=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scraper-bench-")))
        stub = stack.enter_context(stub_model(chunks=chunks, pace_ms=pace_ms))
        sides = stack.enter_context(opened(names or SIDES, stub))
        try:
            if profile:
                show_profiles(sides, tasks, folder=folder, seed=seed)
                return
            plan = Plan(sides, stub, folder, tasks=tasks, repeat=repeat, seed=seed)
            samples = list(compare(plan, tell=lambda line: messages.print(line, highlight=False)))
        except BenchmarkFailedError as error:
            raise click.ClickException(str(error)) from error
    Console(width=None if sys.stdout.isatty() else 160).print(table(samples))
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(samples), indent=2) + "\n")


@contextmanager
def opened(names: Sequence[str], stub: Stub) -> Iterator[list[Side]]:
    """The sides by name; a RabbitMQ of its own is started where one needs it."""
    model_url = f"{stub.url}/v1"
    with ExitStack() as stack:
        node_url = stack.enter_context(PrivateNode()).url if set(names) != {"sqlite"} else ""
        made: dict[str, Side] = {
            "bare": Floor(node_url, model_url, bare=True),
            "floor": Floor(node_url, model_url),
            "rabbitmq": Ours(model_url, rabbitmq_url=node_url),
            "sqlite": Ours(model_url),
        }
        yield [made[name] for name in SIDES if name in names]


def show_profiles(sides: Sequence[Side], tasks: int, *, folder: Path, seed: int) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    floor_ms = None
    for number, side in enumerate(sides):
        out = folder / f"profile-{number}.json"
        profile_once(side, tasks, folder=folder, out=out, seed=seed)
        profile = json.loads(out.read_text())
        if side.name == FLOOR:
            floor_ms = ms_per_task(profile, tasks=tasks)
        for each in profile_tables(profile, name=side.name, tasks=tasks, floor_ms=floor_ms):
            console.print(each)


def as_json(samples: Sequence[Sample]) -> dict[str, object]:
    """Everything that was measured, and on what."""
    return {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "summary": summary(samples),
        "samples": [asdict(sample) for sample in samples],
    }


if __name__ == "__main__":
    main()
