"""What can happen, as frozen facts.

Components announce them to the `observe` callable they were given. Log lines, metrics and the monitor are renderings
of these facts; `name` is the event's name in the log, the fields are the line's fields. No page text, prompt, answer
or secret is ever a field.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, TypeAlias

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Blocker: TypeAlias = Literal["slot", "rate", "circuit", "server_pause"]


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. `level` is how loudly a log says it."""

    name: ClassVar[str]
    level: ClassVar[Level] = "info"


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    name: ClassVar[str] = "worker_started"
    consumers: int
    broker: str  # without credentials
    model_server: str
    max_concurrent: int
    requests_per_minute: float


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    name: ClassVar[str] = "worker_stopped"
    reason: str
    done: int
    parked: int


@dataclass(frozen=True, slots=True)
class WorkerRestarted(Event):
    name: ClassVar[str] = "worker_restarted"
    level: ClassVar[Level] = "warning"
    worker: int
    exit_code: int
    restart_in_s: float
    usually: str = ""  # what the signal that ended it usually comes of


@dataclass(frozen=True, slots=True)
class WorkerCannotStart(Event):
    """It has ended before it was ready, `times` in a row. With `given_up` it is not started again."""

    name: ClassVar[str] = "worker_cannot_start"
    level: ClassVar[Level] = "error"
    worker: int
    exit_code: int
    times: int
    usually: str
    given_up: bool


@dataclass(frozen=True, slots=True)
class RunInterrupted(Event):
    """The first signal: what is in hand is finished, within `drain_s`. A second one stops at once."""

    name: ClassVar[str] = "run_interrupted"
    in_hand: int
    drain_s: float


@dataclass(frozen=True, slots=True)
class StopWaits(Event):
    """The results store is away, and `answers` of the model are worth waiting for it."""

    name: ClassVar[str] = "stop_waits_for_store"
    level: ClassVar[Level] = "warning"
    answers: int
    drain_s: float


@dataclass(frozen=True, slots=True)
class TaskReceived(Event):
    name: ClassVar[str] = "task_received"
    task_id: str
    attempt: int
    returns: int


@dataclass(frozen=True, slots=True)
class RateLimitWaiting(Event):
    name: ClassVar[str] = "rate_limit_waiting"
    reason: Blocker
    position: int
    estimated_wait_s: float
    in_flight: int
    limit: int


@dataclass(frozen=True, slots=True)
class RateLimitAcquired(Event):
    name: ClassVar[str] = "rate_limit_acquired"
    waited_s: float
    in_flight: int
    limit: int


@dataclass(frozen=True, slots=True)
class LlmRequest(Event):
    name: ClassVar[str] = "llm_request"
    attempt: int
    max_tokens: int
    prompt_chars: int


@dataclass(frozen=True, slots=True)
class LlmSuccess(Event):
    name: ClassVar[str] = "llm_success"
    attempt: int
    seconds: float
    first_token_s: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    finish_reason: str


@dataclass(frozen=True, slots=True)
class LlmRetry(Event):
    name: ClassVar[str] = "llm_retry"
    level: ClassVar[Level] = "warning"
    attempt: int
    error: str
    backoff_s: float


@dataclass(frozen=True, slots=True)
class LlmFailed(Event):
    name: ClassVar[str] = "llm_failed"
    level: ClassVar[Level] = "error"
    attempts: int
    error: str
    outage: bool


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    name: ClassVar[str] = "circuit_breaker_opened"
    level: ClassVar[Level] = "error"
    ordered: ClassVar[bool] = False
    generation: int
    failures: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class CircuitOpenedByOrder(CircuitOpened):
    """An operator's: the server may be well. Whose it was, `throttle_ordered` says."""

    name: ClassVar[str] = "circuit_breaker_opened_by_order"
    level: ClassVar[Level] = "warning"
    ordered: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CircuitHalfOpen(Event):
    name: ClassVar[str] = "circuit_breaker_half_open"
    level: ClassVar[Level] = "warning"
    generation: int


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    name: ClassVar[str] = "circuit_breaker_closed"
    generation: int
    open_s: float


@dataclass(frozen=True, slots=True)
class EndpointPaused(Event):
    name: ClassVar[str] = "endpoint_paused"
    level: ClassVar[Level] = "warning"
    seconds: float | None  # None: until it is resumed
    reason: str


@dataclass(frozen=True, slots=True)
class EndpointMisconfigured(Event):
    name: ClassVar[str] = "endpoint_misconfigured"
    level: ClassVar[Level] = "error"
    status: int
    setting: str
    advice: str
    ask_again_s: float


@dataclass(frozen=True, slots=True)
class ThrottleHosted(Event):
    """This process hosts the throttle for all processes of the host from now on."""

    name: ClassVar[str] = "throttle_hosted"
    pid: int
    before: str  # whom it takes over from, or why it knows nothing and starts slowly


@dataclass(frozen=True, slots=True)
class ThrottleDegraded(Event):
    """The throttle's host cannot be reached, so nothing starts. Said every 30 s, then `back`."""

    name: ClassVar[str] = "throttle_degraded"
    level: ClassVar[Level] = "error"
    pid: int  # of the process that should answer; 0: nobody knows
    since_s: float
    error: str
    waiting: int  # in this process


@dataclass(frozen=True, slots=True)
class ThrottleLimitsDiffer(Event):
    """Two processes bring different limits for one endpoint; the strictest are in force."""

    name: ClassVar[str] = "throttle_limits_differ"
    level: ClassVar[Level] = "warning"
    pid: int
    limits: str
    other_pid: int
    other_limits: str
    in_force: str


@dataclass(frozen=True, slots=True)
class ThrottleOrdered(Event):
    """An operator has changed the throttle while it works."""

    name: ClassVar[str] = "throttle_ordered"
    order: str
    by: str


@dataclass(frozen=True, slots=True)
class ThrottleSettingsOverruled(Event):
    """The settings have changed, but limits set by command hold until they are reset."""

    name: ClassVar[str] = "throttle_settings_overruled"
    level: ClassVar[Level] = "warning"
    settings: str
    in_force: str
    set_ago_s: float


@dataclass(frozen=True, slots=True)
class ThrottleScopeExceeded(Event):
    """More consumers take from the queue than the throttle knows of: the others' requests are not counted."""

    name: ClassVar[str] = "throttle_scope_exceeded"
    level: ClassVar[Level] = "warning"
    queue: str
    consumers: int  # that the broker counts
    known: int  # to this host's throttle


@dataclass(frozen=True, slots=True)
class LeaseReaped(Event):
    """A process did not give its slot back in time: it is stopped, or hangs."""

    name: ClassVar[str] = "lease_reaped"
    level: ClassVar[Level] = "warning"
    pid: int
    held_s: float


@dataclass(frozen=True, slots=True)
class WaitingFor(Event):
    """A dependency is away; everything in hand is kept. Said once, then every 30 s, then `back`."""

    name: ClassVar[str] = "waiting_for"
    level: ClassVar[Level] = "warning"
    what: str  # broker, store, model server …
    error: str
    since_s: float


@dataclass(frozen=True, slots=True)
class Back(Event):
    name: ClassVar[str] = "back"
    what: str
    after_s: float


@dataclass(frozen=True, slots=True)
class LibraryLog(Event):
    """A warning of a library, its text cut short and without credentials."""

    name: ClassVar[str] = "library_log"
    level: ClassVar[Level] = "warning"
    library: str
    message: str


@dataclass(frozen=True, slots=True)
class LogLinesDropped(Event):
    """Whoever reads this log was so slow that lines were left out; the work went on."""

    name: ClassVar[str] = "log_lines_dropped"
    level: ClassVar[Level] = "warning"
    lines: int


@dataclass(frozen=True, slots=True)
class QueueDepth(Event):
    """How many tasks are left. Said every ten seconds by a supervisor, if it has changed."""

    name: ClassVar[str] = "queue_depth"
    ready: int
    waiting: int  # for a host's turn, a retry or the model server
    in_hand: int


@dataclass(frozen=True, slots=True)
class TaskStep(Event):
    """One step of a task has ended."""

    name: ClassVar[str] = "task_step"
    level: ClassVar[Level] = "debug"
    phase: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TaskFault(Event):
    """A bug met a task: the task gets another attempt, and this says where to look."""

    name: ClassVar[str] = "task_fault"
    level: ClassVar[Level] = "error"
    error: str  # the type alone; its text may quote the page
    where: str


@dataclass(frozen=True, slots=True)
class SettingWarning(Event):
    """A setting that works but will surprise: named, with the fix."""

    name: ClassVar[str] = "setting_warning"
    level: ClassVar[Level] = "warning"
    setting: str
    message: str


@dataclass(frozen=True, slots=True)
class SettingsReread(Event):
    """SIGHUP: what may change at run time has changed, for all workers."""

    name: ClassVar[str] = "settings_reread"
    changed: str  # NAME=value …; empty: nothing


@dataclass(frozen=True, slots=True)
class SettingsRefused(Event):
    """SIGHUP, but what was read is wrong: everything stays as it was."""

    name: ClassVar[str] = "settings_refused"
    level: ClassVar[Level] = "error"
    mistakes: str


@dataclass(frozen=True, slots=True)
class TaskSettled(Event):
    """The whole story of one delivery. What its worker had to leave when it was stopped is `handed_back`."""

    name: ClassVar[str] = "task_settled"
    task_id: str
    outcome: Literal["done", "retry", "hold", "park", "lost", "handed_back"]
    reason: str
    attempts: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    timings: Mapping[str, float]
    total_s: float
    hidden: Mapping[str, int] = field(default_factory=dict)  # what the page hides from its readers, by kind
    unsupported: int = 0  # values that do not stand on the page


Observe: TypeAlias = Callable[[Event], None]


def ignore(_: Event) -> None:
    """An observer for whoever is not interested."""


def log_trouble(event: Event) -> None:
    """An observer for programs of others: warnings and errors go to `logging`, so by default to stderr."""
    if event.level in {"warning", "error"}:
        told = " ".join(f"{each.name}={getattr(event, each.name)!r}" for each in fields(event))
        logging.getLogger("scraper").log(logging.getLevelName(event.level.upper()), "%s %s", event.name, told)


current_task: ContextVar[str] = ContextVar("current_task", default="")
"""The id of the task that the running code works for: beside every fact of a component that does not know it."""
