"""The last hour as columns of numbers: what the charts of the status page draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scraper.observability.history import STEP_SECONDS, Step

COLUMNS = (
    "t",
    "starts_minute",
    "in_flight",
    "limit",
    "pace",
    "p50",
    "p95",
    "done",
    "parked",
    "tokens",
    "failures",
    "circuit",
)


def rows(steps: Iterable[Step]) -> list[list[Any]]:
    """One row for each step: COLUMNS, and the seconds by phase."""
    return [_row(step) for step in steps]


def _row(step: Step) -> list[Any]:
    p50, p95 = step.latency.quantile(0.5), step.latency.quantile(0.95)
    return [
        step.number * STEP_SECONDS,
        step.starts_minute,
        step.in_flight,
        step.limit,
        step.requests_per_minute,
        None if p50 is None else round(p50, 3),
        None if p95 is None else round(p95, 3),
        step.done,
        step.parked,
        step.tokens,
        step.failures,
        step.circuit,
        {phase: round(spent, 2) for phase, spent in step.seconds.items()},
    ]
