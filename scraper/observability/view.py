"""What there is to show at one moment, as plain values: every rendering (panel, line, JSON, page) takes this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FOR_EVER_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Throttle:
    """The state of the shared throttle, as far as it is known."""

    in_flight: int = 0
    limit: int | None = None
    requests_per_minute: float | None = None
    waiting: int = 0  # calls in line for a turn
    starts_last_minute: int = 0
    gaps: Sequence[int] = ()  # parted at throttle.starts.GAP_EDGES
    smallest_gap_s: float | None = None
    circuit: str = "closed"
    circuit_ordered: bool = False  # open by an operator's order
    retry_in_s: float | None = None
    generation: int = 0
    probes: int = 0
    paused_for_s: float = 0.0
    pause_reason: str = ""
    misconfigured: str = ""
    blocked_by: str | None = None
    set_by_command: Mapping[str, float] = field(default_factory=dict)
    host_pid: int = 0
    host_pids: str = ""  # the pid namespace that `host_pid` is from


@dataclass(frozen=True, slots=True)
class Queue:
    """How many tasks are left, as far as the broker says."""

    ready: int
    waiting: int
    in_hand: int

    @property
    def left(self) -> int:
        return self.ready + self.waiting + self.in_hand

    def less(self, finished: int) -> Queue:
        """After so many more tasks; whoever finishes one takes another as long as any is ready."""
        counts = []
        for count in (self.ready, self.in_hand, self.waiting):
            gone = min(count, finished)
            finished -= gone
            counts.append(count - gone)
        ready, in_hand, waiting = counts
        return Queue(ready, waiting, in_hand)


@dataclass(frozen=True, slots=True)
class Said:
    """One of the last events."""

    at: float
    level: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """A run at one moment."""

    at: float  # unix time
    throttle: Throttle
    queue: Queue | None
    workers: int
    stalled_s: float  # since when tasks are ready beside idle consumers without any being received
    in_hand: int
    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    counts: Mapping[str, int]
    waits: Mapping[str, int]
    away: Mapping[str, str]
    seconds: Mapping[str, float]  # by phase, since the start
    recent_seconds: Mapping[str, float]  # by phase, of the last minutes
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_mean_s: float | None
    first_token_p50_s: float | None
    first_token_p95_s: float | None
    tokens_per_second: float
    finished_per_minute: float
    seconds_left: float | None
    gpu: str  # how the model server is, in a line that begins with the word for it
    gpu_state: str  # that of `gpu.Gpu`
    limited_by: str
    change: str  # the setting to change; empty: none would help
    spark: Sequence[int]  # starts in each ten seconds of the last minutes
    circuit_log: Sequence[tuple[float, str]]
    events: Sequence[Said]

    @property
    def done(self) -> int:
        return self.outcomes.get("done", 0)

    @property
    def parked(self) -> int:
        return self.outcomes.get("park", 0)

    @property
    def left(self) -> int | None:
        """Tasks that are not finished, where the broker says so."""
        return None if self.queue is None else self.queue.left

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.plain(), ensure_ascii=False, allow_nan=False)


def duration(seconds: float) -> str:
    """As a person says it: 40 s, 3 min 20 s, 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def number_of(what: str, number: int, *, several: str = "") -> str:
    """As a person says it: 1 task, 2 tasks; 1 retry, 2 retries."""
    return f"{number} {what if number == 1 else several or what + 's'}"


def pause_text(throttle: Throttle) -> str:
    """How much longer a pause lasts."""
    if until_resumed(throttle.paused_for_s):
        return "until scraper throttle resume"
    return f"{duration(throttle.paused_for_s)} more"


def until_resumed(seconds: float) -> bool:
    """Whether a pause has no end of its own: it is written as a year."""
    return seconds > FOR_EVER_SECONDS


def plain_line(view: View) -> str:
    """A run in one line, for a pipe."""
    throttle = view.throttle
    parts = [
        f"{view.done} done, {view.parked} parked" + ("" if view.left is None else f", {view.left} left"),
        f"in flight {throttle.in_flight}/{_or_unknown(throttle.limit)}",
        f"starts {throttle.starts_last_minute}/{_or_unknown(throttle.requests_per_minute)} a minute",
        f"circuit {throttle.circuit.replace('_', ' ')}",
        number_of("retry", view.counts.get("retries", 0), several="retries"),
        f"latency p50 {seconds_text(view.latency_p50_s)} p95 {seconds_text(view.latency_p95_s)}",
        f"{view.tokens_per_second:.0f} tokens/s",
    ]
    if view.seconds_left is not None:
        parts.append(f"{duration(view.seconds_left)} left")
    return " · ".join(parts) + f" · GPU {view.gpu} · limited by {view.limited_by}"


def seconds_text(seconds: float | None) -> str:
    """Short and with as many digits as are true."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _or_unknown(number: float | None) -> str:
    return "?" if number is None else f"{number:g}"
