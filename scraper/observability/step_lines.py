"""Steps of a task as log lines: what LOG_LEVEL=debug adds."""

from __future__ import annotations

from scraper.events import Observe, TaskStep
from scraper.trace import Phase


class StepLines:
    """`trace.Record`."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def step(self, phase: Phase, began: float, ended: float) -> None:
        self._observe(TaskStep(phase, round(ended - began, 4)))

    def settled(self, task_id: str, outcome: str, reason: str) -> None:
        """`task_settled` says that already."""
