"""A running sum of what happened: what log monitor, panel, metrics and status page are all made of.

A worker adds up its own events and tells the sum to its supervisor twice a second; sums of several workers add up to
one, and the difference of two sums of one worker is what happened in between. However long the run, it is a few
hundred numbers.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

from scraper.events import (
    Back,
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    CircuitOpenedByOrder,
    EndpointMisconfigured,
    EndpointPaused,
    Event,
    LlmFailed,
    LlmRequest,
    LlmRetry,
    LlmSuccess,
    RateLimitWaiting,
    TaskFault,
    TaskReceived,
    TaskSettled,
    ThrottleDegraded,
    WaitingFor,
    WorkerRestarted,
    WorkerStarted,
    WorkerStopped,
)
from scraper.observability.histogram import Histogram
from scraper.observability.said import said
from scraper.terminal_text import in_one_line

_COUNTERS = ("outcomes", "reasons", "seconds", "counts", "waits")
_HISTOGRAMS = ("latency", "first_token")
THROTTLE = "throttle"
MOST_NEWS = 20
LONGEST_NEWS = 200


News: TypeAlias = tuple[int, float, str, str, str]
"""Number, unix time, level, the event's name, and what it says."""


class Tally:
    """Sums since the start, and the present state of whoever they are of."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()  # of parked tasks
        self.seconds: Counter[str] = Counter()  # by phase of a task
        self.counts: Counter[str] = Counter()  # attempts, answers, retries, failed_calls, tokens …
        self.waits: Counter[str] = Counter()  # told waits for a turn, by reason
        self.latency = Histogram()  # of answered attempts
        self.first_token = Histogram()
        # the present state: not summed up
        self.in_hand = 0
        self.circuit = "closed"
        self.wrong = ""  # a wrong setting, in words
        self.never_right = False  # it was wrong before any request was sent: the throttle has not heard of it
        self.away: dict[str, str] = {}  # dependency → why it does not answer
        self.limits: tuple[int, float] | None = None  # max_concurrent and requests_per_minute of the settings
        self.consumers = 0
        self.news: deque[News] = deque(maxlen=MOST_NEWS)  # what was worth saying, numbered from 1 on

    def add(self, event: Event) -> None:
        take = _TAKE.get(type(event))
        if take is not None:
            take(self, event)

    def remember(self, event: Event) -> None:
        """Keep it among the news, if it is worth saying."""
        if (text := said(event)) is not None:
            number = self.news[-1][0] + 1 if self.news else 1
            self.news.append((number, time.time(), event.level, event.name, in_one_line(text, most=LONGEST_NEWS)))

    def merge(self, other: Tally) -> None:
        """Take the sums of `other` along; its present state is not."""
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))

    def since(self, before: Tally) -> Tally:
        """What came after `before`, an earlier state of the same."""
        new = Tally()
        for name in _COUNTERS:
            setattr(new, name, getattr(self, name) - getattr(before, name))
        for name in _HISTOGRAMS:
            setattr(new, name, getattr(self, name).since(getattr(before, name)))
        return new

    @property
    def finished(self) -> int:
        return self.outcomes["done"] + self.outcomes["park"]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {name: getattr(self, name).plain() for name in _HISTOGRAMS} | {"news": list(self.news)}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """What `plain` gave. Raises ValueError, TypeError or KeyError for anything else."""
        tally = cls()
        for name in _COUNTERS:
            getattr(tally, name).update({str(key): _number(count) for key, count in fields[name].items()})
        for name in _HISTOGRAMS:
            setattr(tally, name, Histogram.of(fields[name]))
        tally.in_hand, tally.consumers = int(fields["in_hand"]), int(fields["consumers"])
        tally.circuit, tally.wrong = _text(fields["circuit"]), _text(fields["wrong"])
        tally.never_right = _flag(fields["never_right"])
        tally.away = {what: _text(why) for what, why in fields["away"].items()}
        tally.news.extend(
            (int(number), float(at), _text(level), _text(name), _text(text))
            for number, at, level, name, text in fields["news"]
        )
        limits = fields["limits"]
        tally.limits = None if limits is None else (int(limits[0]), float(limits[1]))
        return tally

    def to_line(self) -> bytes:
        """One line for the pipe to the supervisor."""
        return json.dumps(self.plain()).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """What `to_line` wrote; raises ValueError for anything else."""
        try:
            return cls.of(json.loads(line))
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError("not a tally") from error


def _number(value: object) -> int | float:
    if isinstance(value, int | float):
        return value
    raise ValueError("not a number")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("no flag")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("no text")


# --- what an event adds ----------------------------------------------------------------------------------------------


def _settled(tally: Tally, event: TaskSettled) -> None:
    tally.outcomes[event.outcome] += 1
    if event.outcome == "park":
        tally.reasons[event.reason] += 1
    for phase, seconds in event.timings.items():
        if phase != "total":
            tally.seconds[phase] += seconds  # type: ignore[assignment]  # a Counter sums floats as well


def _answered(tally: Tally, event: LlmSuccess) -> None:
    tally.counts["answers"] += 1
    tally.counts["prompt_tokens"] += event.prompt_tokens
    tally.counts["completion_tokens"] += event.completion_tokens
    tally.counts["cached_tokens"] += event.cached_tokens
    tally.latency.add(event.seconds)
    tally.first_token.add(event.first_token_s)


def _waiting(tally: Tally, event: RateLimitWaiting) -> None:
    tally.waits[event.reason] += 1


def _opened(tally: Tally, _: CircuitOpened) -> None:
    tally.counts["circuit_opened"] += 1
    tally.circuit = "open"


def _half_opened(tally: Tally, _: CircuitHalfOpen) -> None:
    tally.circuit = "half_open"


def _closed(tally: Tally, _: CircuitClosed) -> None:
    tally.circuit, tally.wrong = "closed", ""


def _misconfigured(tally: Tally, event: EndpointMisconfigured) -> None:
    tally.wrong = f"{event.setting}: {event.advice}"
    tally.never_right = not tally.counts["attempts"]


def _first_request(tally: Tally, _: LlmRequest) -> None:
    tally.counts["attempts"] += 1
    tally.wrong, tally.never_right = "", False  # whoever may send has found the settings right


def _away(tally: Tally, event: WaitingFor) -> None:
    tally.away[event.what] = event.error


def _degraded(tally: Tally, event: ThrottleDegraded) -> None:
    tally.away[THROTTLE] = f"process {event.pid}: {event.error}"


def _back(tally: Tally, event: Back) -> None:
    what = THROTTLE if event.what.startswith(THROTTLE) else event.what
    tally.away.pop(what, None)


def _started(tally: Tally, event: WorkerStarted) -> None:
    tally.limits = event.max_concurrent, event.requests_per_minute
    tally.consumers = event.consumers


def _counting(name: str) -> Callable[[Tally, Any], None]:
    def count(tally: Tally, _: Event) -> None:
        tally.counts[name] += 1

    return count


_TAKE: dict[type[Event], Callable[[Tally, Any], None]] = {
    TaskReceived: _counting("received"),
    TaskSettled: _settled,
    TaskFault: _counting("faults"),
    LlmRequest: _first_request,
    LlmSuccess: _answered,
    LlmRetry: _counting("retries"),
    LlmFailed: _counting("failed_calls"),
    RateLimitWaiting: _waiting,
    CircuitOpened: _opened,
    CircuitOpenedByOrder: _opened,
    CircuitHalfOpen: _half_opened,
    CircuitClosed: _closed,
    EndpointPaused: _counting("pauses"),
    EndpointMisconfigured: _misconfigured,
    WaitingFor: _away,
    ThrottleDegraded: _degraded,
    Back: _back,
    WorkerStarted: _started,
    WorkerStopped: _counting("stopped"),
    WorkerRestarted: _counting("restarts"),
}
