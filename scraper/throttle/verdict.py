"""What the end of an attempt means: for the call (try again?) and for the circuit breaker (whose fault?).

| ending            | what happened                                                            | again? | breaker |
|-------------------|--------------------------------------------------------------------------|--------|---------|
| ANSWERED          | 200 with a chat completion, whatever its text, read on or hung up on     | done   | success |
| NO_ANSWER         | connect error, reset, early end of the body, timeout, malformed HTTP     | yes    | failure |
| SERVER_ERROR      | 5xx, finish_reason=error, an error event inside a 200 stream             | yes    | failure |
| NOT_A_COMPLETION  | 2xx that is not a chat completion: a proxy's page, broken JSON around it | yes    | failure |
| TRY_LATER         | 408 and 4xx nobody can name a culprit for                                | yes    | neutral |
| TOO_MANY          | 429                                                                      | yes    | alive   |
| REFUSED           | 400, 413, 422: the task is to blame                                      | never  | neutral |
| MISCONFIGURED     | 401, 403, 404, 405, redirects: key, model name or URL; the call waits    | waits  | neutral |
| OUT_OF_TIME       | the call's own deadline ended an attempt before the attempt's timeout    | no     | neutral |
| UNHEALTHY         | a probe whose GET /health failed; nothing was sent, no retry is spent    | waits  | failure |
| UNSENT            | handed back: too late to write, or still misconfigured                   | waits  | none    |
| CANCELLED         | the caller went away                                                     | never  | none    |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from scraper.models import Usage


class Effect(StrEnum):
    """What a circuit breaker makes of an attempt."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALIVE = "alive"  # not a success, but closes a half-open circuit
    NEUTRAL = "neutral"
    NONE = "none"  # nothing was learned


class Again(StrEnum):
    """What the call does next."""

    DONE = "done"
    RETRY = "retry"  # costs a retry
    WAIT = "wait"  # back into the queue, costs nothing
    NEVER = "never"


class Ending(StrEnum):
    """The rows of the table above."""

    again: Again
    effect: Effect
    was_sent: bool

    def __new__(cls, value: str, again: Again, effect: Effect) -> Self:
        row = str.__new__(cls, value)
        row._value_ = value
        row.again, row.effect = again, effect
        row.was_sent = value not in {"unhealthy", "unsent"}
        return row

    ANSWERED = "answered", Again.DONE, Effect.SUCCESS
    NO_ANSWER = "no_answer", Again.RETRY, Effect.FAILURE
    SERVER_ERROR = "server_error", Again.RETRY, Effect.FAILURE
    NOT_A_COMPLETION = "not_a_completion", Again.RETRY, Effect.FAILURE
    TRY_LATER = "try_later", Again.RETRY, Effect.NEUTRAL
    TOO_MANY = "too_many", Again.RETRY, Effect.ALIVE
    REFUSED = "refused", Again.NEVER, Effect.NEUTRAL
    MISCONFIGURED = "misconfigured", Again.WAIT, Effect.NEUTRAL
    OUT_OF_TIME = "out_of_time", Again.NEVER, Effect.NEUTRAL
    UNHEALTHY = "unhealthy", Again.WAIT, Effect.FAILURE
    UNSENT = "unsent", Again.WAIT, Effect.NONE
    CANCELLED = "cancelled", Again.NEVER, Effect.NONE


_NAMED_STATUSES = {
    408: Ending.TRY_LATER,
    429: Ending.TOO_MANY,
    400: Ending.REFUSED,
    413: Ending.REFUSED,
    422: Ending.REFUSED,
    401: Ending.MISCONFIGURED,
    403: Ending.MISCONFIGURED,
    404: Ending.MISCONFIGURED,
    405: Ending.MISCONFIGURED,
    402: Ending.MISCONFIGURED,  # a gateway wants to be paid
    407: Ending.MISCONFIGURED,  # a proxy wants a password
    410: Ending.MISCONFIGURED,  # the path is gone
}


def ending_of_status(status: int) -> Ending:
    """How an attempt ended whose response has this status; 200 still has to prove that it is a completion."""
    if named := _NAMED_STATUSES.get(status):
        return named
    if status == 200:
        return Ending.ANSWERED
    if status < 300:
        return Ending.NOT_A_COMPLETION
    if status < 400:
        return Ending.MISCONFIGURED  # the URL is not the server's own
    if status < 500:
        return Ending.TRY_LATER
    return Ending.SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Misconfiguration:
    """Which setting the server's answer speaks of, and what to do about it."""

    status: int
    setting: str
    advice: str


class Verdict(NamedTuple):
    """All that the throttle learns from one attempt. Plain values: it may travel between processes."""

    ending: Ending
    pause_seconds: float = 0.0  # the server asked everyone to stay away this long
    pause_reason: str = ""
    misconfiguration: Misconfiguration | None = None
    usage: Usage = Usage()
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0


CANCELLED = Verdict(Ending.CANCELLED)
UNSENT = Verdict(Ending.UNSENT)
