"""Samples and profiles as something to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.compare import Sample
from benchmarks.duties import duty_of

Value = Callable[[Sample], float]

FLOOR, BARE_FLOOR = "floor", "bare floor"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; with `at_most`, a target, of the floor where `of_floor`."""

    label: str
    value: Value
    digits: int = 2
    at_most: float | None = None
    of_floor: bool = False


ROWS = (
    Row("CPU-ms a task", lambda sample: sample.cpu_ms_per_task, at_most=0.8, of_floor=True),
    Row("  in the kernel", lambda sample: sample.kernel_ms_per_task),
    Row("  supervisor, beside it", lambda sample: sample.supervisor_ms_per_task),
    Row("  model stub, beside it", lambda sample: sample.model_ms_per_task),
    Row("tasks/s", lambda sample: sample.tasks_per_second, digits=0),
    Row("model calls a task", lambda sample: sample.chats_per_task),
    Row("  of them streamed", lambda sample: float(sample.streamed), digits=0),
    Row("peak RSS of the worker, MB", lambda sample: sample.peak_mb, digits=1, at_most=75),
    Row("  supervisor, beside it", lambda sample: sample.supervisor_peak_mb, digits=1),
    Row(
        "CPU-s from start to first task",
        lambda sample: sample.first_task_cpu_s + sample.first_task_supervisor_cpu_s,
        at_most=0.7,
    ),
    Row("  worker", lambda sample: sample.first_task_cpu_s),
    Row("  supervisor", lambda sample: sample.first_task_supervisor_cpu_s),
    Row("wall-s from start to first task", lambda sample: sample.first_task_wall_s),
)


def table(samples: Sequence[Sample]) -> Table:
    """Medians of every side, beside ours the ratio to the floor run by run, and the aims."""
    by_side = grouped(samples)
    floor, bare = by_side.get(FLOOR, []), by_side.get(BARE_FLOOR, [])
    ours = {name: each for name, each in by_side.items() if name not in {FLOOR, BARE_FLOOR}}
    shown = Table(title_justify="left")
    shown.add_column("median of each side", no_wrap=True)
    for name in by_side:
        shown.add_column(name, justify="right")
        if name in ours:
            shown.add_column("÷ floor (of each run)")
    shown.add_column("aim")
    for row in ROWS:
        cells = []
        for name, each in by_side.items():
            cells.append(f"{median(map(row.value, each)):.{row.digits}f}")
            if name in ours:
                cells.append(_ratio(row, each, floor))
        shown.add_row(row.label, *cells, _aim(row, list(ours.values()), floor))
        if row.of_floor and bare:
            beside = [["", _ratio(row, each, bare)] if name in ours else [""] for name, each in by_side.items()]
            shown.add_row("  ÷ bare floor", *chain.from_iterable(beside))
    return shown


def grouped(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """By side, in the order they ran."""
    by_side: dict[str, list[Sample]] = {}
    for sample in samples:
        by_side.setdefault(sample.side, []).append(sample)
    return by_side


def ratios(value: Value, ours: Sequence[Sample], floor: Sequence[Sample]) -> list[float]:
    """Ours to the floor's of the same repetition: what slows the machine down slows both."""
    return [value(our) / value(its) for our, its in zip(ours, floor, strict=False) if value(its)]


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians by side, and of the ratios, for a program to read."""
    by_side = grouped(samples)
    floor = by_side.get(FLOOR, [])
    return {
        name: {
            "cpu_ms_per_task": median(sample.cpu_ms_per_task for sample in each),
            "cpu_of_floor": median(found) if (found := ratios(ROWS[0].value, each, floor)) else None,
            "peak_mb": median(sample.peak_mb for sample in each),
            "first_task_cpu_s": median(sample.first_task_cpu_s + sample.first_task_supervisor_cpu_s for sample in each),
            "tasks_per_second": median(sample.tasks_per_second for sample in each),
        }
        for name, each in by_side.items()
    }


def profile_tables(
    profile: Sequence[Mapping[str, Any]], *, name: str, tasks: int, floor_ms: float | None = None
) -> Iterator[Table]:
    """Where the worker's CPU time went: starting; then of a task by package, by function, by all it calls, by duty.

    The duties are the service's; with `floor_ms`, what a task costs the floor under the same sampler, beside it.
    """
    start = [sample for sample in profile if sample["phase"] == "start"]
    work = [sample for sample in profile if sample["phase"] == "work"]
    yield _top(f"{name}: starting, by package", _by(start, _own_package), unit="s", per=1)
    yield _top(f"{name}: working, by package", _by(work, _own_package), unit="ms/task", per=tasks / 1000)
    yield _top(f"{name}: working, by function alone", _by(work, _own), unit="ms/task", per=tasks / 1000)
    yield _top(f"{name}: working, with all it calls", _by(work, _with_callees), unit="ms/task", per=tasks / 1000)
    if FLOOR not in name:
        duties = _by(work, lambda sample: [duty_of(sample["stack"])])
        yield _top(f"{name}: what each duty costs", duties, unit="ms/task", per=tasks / 1000, floor=floor_ms)


def ms_per_task(profile: Sequence[Mapping[str, Any]], *, tasks: int) -> float:
    """CPU time of the worker, once it was started."""
    return sum(float(sample["seconds"]) for sample in profile if sample["phase"] == "work") * 1000 / tasks


def _by(samples: Iterable[Mapping[str, Any]], names: Callable[[Mapping[str, Any]], Iterable[str]]) -> Counter[str]:
    seconds: Counter[str] = Counter()
    for sample in samples:
        for name in set(names(sample)):
            seconds[name] += sample["seconds"]
        seconds[""] += sample["seconds"]
    return seconds


def _own(sample: Mapping[str, Any]) -> list[str]:
    return [f"{sample['stack'][0]}:{sample['line']}"]


def _own_package(sample: Mapping[str, Any]) -> list[str]:
    return [sample["stack"][0].split("/")[0].split(":")[0]]


def _with_callees(sample: Mapping[str, Any]) -> list[str]:
    return list(sample["stack"])


def _top(
    title: str, seconds: Counter[str], *, unit: str, per: float, lines: int = 45, floor: float | None = None
) -> Table:
    total = seconds.pop("", 0.0)
    shown = Table("", unit, "share", title=f"{title} ({total / per:.2f} {unit})", title_justify="left")
    if floor:
        shown.add_column(f"of the floor ({floor:.2f})")
    for where, each in seconds.most_common(lines):
        beside = [f"{each / per / floor:.1%}"] if floor else []
        shown.add_row(where, f"{each / per:.3f}", f"{each / total:.1%}", *beside)
    return shown


def _ratio(row: Row, ours: Sequence[Sample], floor: Sequence[Sample]) -> str:
    found = ratios(row.value, ours, floor)
    if not found:
        return ""
    return f"{median(found):.2f}" + (f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else "")


def _aim(row: Row, ours: Sequence[Sequence[Sample]], floor: Sequence[Sample]) -> str:
    if row.at_most is None:
        return ""
    found = [ratios(row.value, each, floor) if row.of_floor else list(map(row.value, each)) for each in ours]
    aim = f"≤ {row.at_most:g}" + (" × floor" if row.of_floor else "")
    verdicts = ["met" if median(each) <= row.at_most else "missed" for each in found if each]
    return f"{aim}: {', '.join(verdicts)}" if verdicts else aim
