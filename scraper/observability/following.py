"""The present state as far as events tell it: who holds what, and what holds everybody. For whoever has only a log."""

from __future__ import annotations

from itertools import islice
from typing import Any

from scraper.events import (
    CircuitOpened,
    EndpointPaused,
    Event,
    LlmFailed,
    LlmRequest,
    LlmRetry,
    LlmSuccess,
    RateLimitAcquired,
    RateLimitWaiting,
    TaskReceived,
    TaskSettled,
    WorkerStarted,
    WorkerStopped,
)
from scraper.observability.view import until_resumed
from scraper.throttle.endpoint_pause import UNTIL_RESUMED_SECONDS
from scraper.throttle.starts import Starts

MOST_TASKS = 10_000
"""Tasks in hand that are told apart; more than any host works on at once."""


class Following:
    """Follows each task by its id, whichever process has it."""

    def __init__(self) -> None:
        self.starts = Starts()
        self.in_hand: dict[str, int] = {}  # task → pid
        self.in_flight: dict[str, int] = {}
        self.in_line: dict[str, int] = {}  # for a turn at the model
        self.pids: dict[int, None] = {}
        self.circuit_until = 0.0
        self.circuit_ordered = False
        self.paused_until = 0.0
        self.pause_reason = ""

    def hear(self, event: Event, *, at: float, pid: int, task_id: str, interval: float) -> None:
        """`interval`: seconds that the pace wants between two starts."""
        match event:
            case TaskReceived():
                _remember(self.in_hand, task_id, pid)
            case TaskSettled():
                for tasks in self._tasks:
                    tasks.pop(task_id, None)
            case WorkerStarted():
                self._gone(pid)
                _remember(self.pids, pid, None)
            case WorkerStopped():
                self._gone(pid)
            case CircuitOpened():
                self.circuit_until, self.circuit_ordered = at + event.retry_in_s, event.ordered
            case EndpointPaused():
                until = at + (UNTIL_RESUMED_SECONDS if event.seconds is None else event.seconds)
                if until >= self.paused_until:
                    self.paused_until, self.pause_reason = until, event.reason
            case _:
                self._call(event, at=at, pid=pid, task_id=task_id, interval=interval)

    def _call(self, event: Event, *, at: float, pid: int, task_id: str, interval: float) -> None:
        match event:
            case RateLimitWaiting():
                self.in_flight.pop(task_id, None)
                _remember(self.in_line, task_id, pid)
            case RateLimitAcquired():
                self.in_line.pop(task_id, None)
            case LlmRequest():
                self.in_line.pop(task_id, None)
                _remember(self.in_flight, task_id, pid)
                if until_resumed(self.paused_until - at):
                    self.paused_until = 0.0  # no event tells that it was resumed, but this does
                self.starts.add(at, interval=interval)
            case LlmSuccess() | LlmRetry() | LlmFailed():
                self.in_flight.pop(task_id, None)

    @property
    def _tasks(self) -> tuple[dict[str, int], ...]:
        return self.in_hand, self.in_flight, self.in_line

    def _gone(self, pid: int) -> None:
        """Nothing is with that process any more."""
        self.pids.pop(pid, None)
        for tasks in self._tasks:
            for task_id in [each for each, owner in tasks.items() if owner == pid]:
                del tasks[task_id]


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    """At most MOST_TASKS: what was told first goes first."""
    known.pop(key, None)
    known[key] = value
    for oldest in list(islice(known, max(0, len(known) - MOST_TASKS))):
        del known[oldest]
