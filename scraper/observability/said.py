"""Events in a few words each, for a list of the last ones. Whatever happens for every task is left out."""

from __future__ import annotations

from scraper.events import (
    Back,
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    EndpointMisconfigured,
    EndpointPaused,
    Event,
    LeaseReaped,
    LibraryLog,
    LlmFailed,
    LlmRetry,
    RunInterrupted,
    SettingWarning,
    StopWaits,
    TaskFault,
    TaskSettled,
    ThrottleDegraded,
    ThrottleHosted,
    ThrottleLimitsDiffer,
    ThrottleOrdered,
    ThrottleScopeExceeded,
    ThrottleSettingsOverruled,
    WaitingFor,
    WorkerCannotStart,
    WorkerRestarted,
    WorkerStarted,
    WorkerStopped,
)
from scraper.exit_codes import exit_in_words
from scraper.observability.view import number_of


def said(event: Event) -> str | None:  # noqa: C901, PLR0911, PLR0912 a table of what is said, read from top to bottom
    """One line without the event's name; None for what is not worth one."""
    match event:
        case TaskSettled(outcome="park"):
            return f"{event.task_id}: parked, {event.reason}"
        case TaskSettled(outcome="retry" | "hold" | "lost"):
            return f"{event.task_id}: {event.outcome}, {event.reason}"
        case LlmRetry():
            return f"attempt {event.attempt}: {event.error}; again in {event.backoff_s:.1f} s"
        case LlmFailed():
            return f"after {number_of('attempt', event.attempts)}: {event.error}" + (
                " (an outage)" if event.outage else ""
            )
        case CircuitOpened():
            why = "an operator's order" if event.ordered else f"{number_of('failure', event.failures)} in a row"
            return f"{why}; next try in {event.retry_in_s:.0f} s"
        case CircuitHalfOpen():
            return "one request tries whether the model server works again"
        case CircuitClosed():
            return f"well again after {event.open_s:.0f} s"
        case EndpointPaused():
            how_long = "until resumed" if event.seconds is None else f"for {event.seconds:.0f} s"
            return f"{how_long}: {event.reason}"
        case EndpointMisconfigured():
            return f"{event.setting}: {event.advice}"
        case ThrottleHosted():
            return f"by process {event.pid}, after {event.before}"
        case ThrottleDegraded():
            return f"process {event.pid} does not answer since {event.since_s:.0f} s: {event.error}"
        case ThrottleLimitsDiffer():
            return f"process {event.pid} {event.limits}, {event.other_pid} {event.other_limits}; {event.in_force}"
        case ThrottleOrdered():
            return f"{event.order}, by {event.by}"
        case ThrottleSettingsOverruled():
            return f"the settings say {event.settings}; until scraper throttle reset it is {event.in_force}"
        case ThrottleScopeExceeded():
            return f"{event.consumers} consumers take from the queue, {event.known} are known"
        case LeaseReaped():
            return f"process {event.pid} held a slot for {event.held_s:.0f} s"
        case WaitingFor():
            return f"the {event.what}: {event.error}"
        case Back():
            return f"the {event.what}, after {event.after_s:.0f} s"
        case LibraryLog():
            return f"{event.library}: {event.message}"
        case TaskFault():
            return f"{event.error} in {event.where}"
        case SettingWarning():
            return f"{event.setting}: {event.message}"
        case WorkerStarted():
            consumers, slots = number_of("consumer", event.consumers), number_of("slot", event.max_concurrent)
            return f"{consumers}, {slots}, {event.requests_per_minute:g} a minute"
        case WorkerStopped():
            return f"{event.reason}: {event.done} done, {event.parked} parked"
        case RunInterrupted():
            return f"{event.drain_s:g} s for {number_of('task', event.in_hand)} in hand"
        case StopWaits():
            answers = number_of("answer", event.answers)
            return f"{answers} of the model, for the results store that is away; {event.drain_s:g} s at most"
        case WorkerCannotStart():
            given_up = " and is given up" if event.given_up else ""
            times = number_of("time", event.times)
            ended = f"worker {event.worker} ended before it was ready ({exit_in_words(event.exit_code)})"
            return f"{ended}, {times} in a row{given_up}"
        case WorkerRestarted():
            return (
                f"worker {event.worker} ended ({exit_in_words(event.exit_code)}); again in {event.restart_in_s:.0f} s"
            )
        case _:
            return None
