"""One picture of a run, whoever tells of it; every rendering shows a `View` of it.

| who tells                       | how                               | of what                            |
|---------------------------------|-----------------------------------|------------------------------------|
| log lines, a process' own facts | `hear`                            | everything, of any number of pids  |
| workers, over their lifeline    | `worker_says`: sums, twice a second | tasks, requests, tokens, time    |
| the throttle's coordinator      | `throttle_says`: its status       | slots, pace, gaps, circuit, pauses |
| the broker                      | `queue_says`                      | what is left                       |

Pure: times are arguments, in seconds since 1970. Memory stays the same however much is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Self

from scraper.events import (
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    CircuitOpenedByOrder,
    Event,
    LlmRequest,
    QueueDepth,
    WorkerRestarted,
)
from scraper.observability.advice import advice
from scraper.observability.following import Following
from scraper.observability.gpu import gpu
from scraper.observability.history import STEP_SECONDS, History, Step
from scraper.observability.said import said
from scraper.observability.tally import Tally
from scraper.observability.view import Queue, Said, Throttle, View, until_resumed
from scraper.terminal_text import in_one_line

RECENT_SECONDS = 300.0
"""What a run is limited by is judged from so many last seconds."""
RATE_SECONDS = 60.0
SPARK_STEPS = 30
MOST_EVENTS = 50
MOST_CHANGES = 20
_CIRCUIT = {CircuitOpened, CircuitOpenedByOrder, CircuitHalfOpen, CircuitClosed}


class Picture:
    """Sums, the last hour, and the present state."""

    def __init__(self) -> None:
        self.history = History()
        self.queue: Queue | None = None
        self._finished = 0  # tasks heard of, at the same time
        self._received = 0  # tasks, when the queue was last looked at
        self._stalled_since: float | None = None  # tasks are ready and consumers idle, but nothing is received
        self._own = Tally()  # of what was heard as events
        self._ended = Tally()  # of workers that are gone
        self._workers: dict[int, Tally] = {}
        self._elsewhere = 0  # workers of the supervisors that this is a picture of
        self._told: Mapping[str, Any] | None = None  # the throttle's status
        self._following = Following()
        self._circuit_log: deque[tuple[float, str]] = deque(maxlen=MOST_CHANGES)
        self._events: deque[Said] = deque(maxlen=MOST_EVENTS)
        self._began: float | None = None
        self._heard_at = 0.0
        self._booked = Tally()  # as much of `_own` as is in the history

    # --- who tells ------------------------------------------------------------------------------------------------

    def hear(self, event: Event, *, at: float, pid: int = 0, task_id: str = "") -> None:
        """One fact, of any worker."""
        self._begin(at)
        if self._heard_at and at // STEP_SECONDS != self._heard_at // STEP_SECONDS:
            self._book()
        self._heard_at = at
        self._own.add(event)
        self._following.hear(
            event,
            at=at,
            pid=pid,
            task_id=task_id or getattr(event, "task_id", ""),
            interval=60.0 / self._own.limits[1] if self._own.limits else 1.0,
        )
        if type(event) in _CIRCUIT:
            self._note_circuit(self._own.circuit, at)
        elif isinstance(event, LlmRequest):
            self._note_state(at)
        elif isinstance(event, QueueDepth):
            self.queue_says(Queue(event.ready, event.waiting, event.in_hand), at=at)
        elif isinstance(event, WorkerRestarted):
            self._ended.merge(self._workers.pop(event.worker, Tally()))  # what it held is with nobody
        if (text := said(event)) is not None:
            self._events.append(Said(at, event.level, event.name, in_one_line(text)))

    def worker_says(self, worker: int, tally: Tally, *, at: float) -> None:
        """A worker's sums. Its successor begins anew, once `hear` was told WorkerRestarted."""
        self._begin(at)
        before = self._workers.get(worker)
        self._workers[worker] = tally
        known = before.news[-1][0] if before is not None and before.news else 0
        self._events.extend(Said(*news[1:]) for news in tally.news if news[0] > known)
        self.history.at(at).add(tally.since(before) if before is not None else tally)
        self._note_state(at)

    def throttle_says(self, status: Mapping[str, Any] | None, *, at: float) -> None:
        """The coordinator's `status`; None: nobody hosts, or it does not answer."""
        self._told = status
        if status is not None:
            self._begin(at)
            self._note_circuit(status["circuit"]["state"], at)
            self._note_state(at)

    def queue_says(self, queue: Queue | None, *, at: float) -> None:
        """How many tasks are left; None: the broker does not say."""
        total = self.total()
        self.queue, self._finished = queue, total.finished
        received, self._received = self._received, total.counts["received"]
        idle = queue is not None and queue.ready > 0 and total.in_hand < total.consumers
        if not idle or total.counts["received"] != received:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = at

    # --- what there is to show ------------------------------------------------------------------------------------

    def total(self) -> Tally:
        """All sums of the run, and the present state."""
        total = Tally()
        for tally in (self._own, self._ended, *self._workers.values()):
            total.merge(tally)
        states = [self._own, *self._workers.values()]
        total.in_hand = len(self._following.in_hand) + sum(tally.in_hand for tally in self._workers.values())
        total.circuit = self._circuit()
        total.consumers = sum(tally.consumers for tally in states)
        wrong = next((tally for tally in states if tally.never_right), None) or next(
            (tally for tally in states if tally.wrong), Tally()
        )
        total.wrong, total.never_right = wrong.wrong, wrong.never_right
        total.away = {what: why for tally in states for what, why in tally.away.items()}
        total.limits = next((tally.limits for tally in states if tally.limits), None)
        return total

    def throttle(self, now: float) -> Throttle:
        """As its coordinator tells, else as far as it was heard."""
        total = self.total()
        if self._told is not None:
            return _told(self._told, wrong_at_first=total.wrong if total.never_right else "")
        slots, pace = total.limits or (None, None)
        until = self._following.circuit_until if total.circuit == "open" else None
        return Throttle(
            in_flight=len(self._following.in_flight),
            limit=slots,
            requests_per_minute=pace,
            waiting=len(self._following.in_line),
            starts_last_minute=self._following.starts.last_minute(now),
            gaps=tuple(self._following.starts.gaps),
            smallest_gap_s=self._following.starts.smallest_gap,
            circuit=total.circuit,
            circuit_ordered=self._following.circuit_ordered,
            retry_in_s=None if until is None else max(0.0, until - now),
            paused_for_s=max(0.0, self._following.paused_until - now),
            pause_reason=self._following.pause_reason if now < self._following.paused_until else "",
            misconfigured=total.wrong,
        )

    def view(self, now: float) -> View:
        """Everything there is to show at `now`."""
        if self._heard_at:
            self._book()
        total, throttle = self.total(), self.throttle(now)
        queue = self._queue_now(total.finished)
        recent = _sum(self.history.last(RECENT_SECONDS, now=now))
        minute = _sum(self.history.last(RATE_SECONDS, now=now))
        elapsed = max(1.0, min(RATE_SECONDS, now - (self._began if self._began is not None else now)))
        per_minute = (minute.done + minute.parked) / elapsed * 60.0
        left = None if queue is None else queue.left
        latency = recent.latency if recent.latency.count else total.latency
        advised = advice(
            recent.seconds or total.seconds,
            throttle=throttle,
            latency_mean_s=latency.mean,
            queue=queue,
            away=total.away,
            elapsed_s=elapsed,
        )
        busy = gpu(
            throttle,
            total.away,
            request_seconds=minute.latency.total_seconds,
            answers=minute.latency.count,
            elapsed_s=elapsed,
        )
        return View(
            at=now,
            throttle=throttle,
            queue=queue,
            workers=self._count(),
            stalled_s=0.0 if self._stalled_since is None else max(0.0, now - self._stalled_since),
            in_hand=total.in_hand,
            outcomes=dict(total.outcomes),
            reasons=dict(total.reasons.most_common()),
            counts=dict(total.counts),
            waits=dict(total.waits),
            away={what: in_one_line(why) for what, why in total.away.items()},
            seconds=dict(total.seconds),
            recent_seconds=dict(recent.seconds),
            latency_p50_s=latency.quantile(0.5),
            latency_p95_s=latency.quantile(0.95),
            latency_mean_s=latency.mean,
            first_token_p50_s=total.first_token.quantile(0.5),
            first_token_p95_s=total.first_token.quantile(0.95),
            tokens_per_second=minute.tokens / elapsed,
            finished_per_minute=round(per_minute, 1),
            seconds_left=_seconds_left(left, per_minute, throttle.paused_for_s),
            gpu=busy.sentence,
            gpu_state=busy.state,
            limited_by=in_one_line(advised.sentence),
            change=advised.setting,
            spark=self._spark(now),
            circuit_log=tuple(self._circuit_log),
            events=tuple(sorted(self._events, key=lambda said: said.at)),
        )

    # --- for a picture of several -----------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """For JSON: what another process needs to add this picture to its own."""
        if self._heard_at:
            self._book()
        total = self.total()
        return {
            "total": total.plain(),
            "workers": self._count(),
            "history": [step.plain() for step in self.history.steps],
            "circuit_log": list(self._circuit_log),
            "events": [[each.at, each.level, each.name, each.text] for each in self._events],
            "began": self._began,
        }

    @classmethod
    def of(cls, told: Sequence[Mapping[str, Any]]) -> Self:
        """One picture of what several supervisors told. Raises ValueError, TypeError or KeyError."""
        picture = cls()
        events: list[Said] = []
        changes: set[tuple[float, str]] = set()
        for number, plain in enumerate(told):
            picture._elsewhere += int(plain["workers"])
            picture._workers[number] = Tally.of(plain["total"])
            picture.history.merge(History(Step.of(step) for step in plain["history"]))
            changes |= {(float(at), str(state)) for at, state in plain["circuit_log"]}
            events += [Said(float(at), str(level), str(name), str(text)) for at, level, name, text in plain["events"]]
            if plain["began"] is not None:
                picture._begin(min(float(plain["began"]), picture._began or float(plain["began"])))
        picture._circuit_log.extend(sorted(changes))
        picture._events.extend(sorted(events, key=lambda each: each.at))
        return picture

    def _count(self) -> int:
        return self._elsewhere or len(self._workers) or len(self._following.pids)

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _begin(self, at: float) -> None:
        self._began = at if self._began is None else min(self._began, at)

    def _book(self) -> None:
        """Put what was heard since the last time into the ten seconds it happened in."""
        new = self._own.since(self._booked)
        self._booked = Tally()
        self._booked.merge(self._own)
        self.history.at(self._heard_at).add(new)

    def _note_circuit(self, state: str, at: float) -> None:
        if state != (self._circuit_log[-1][1] if self._circuit_log else "closed"):
            self._circuit_log.append((at, state))
            self._note_state(at, circuit=state)

    def _note_state(self, at: float, *, circuit: str = "") -> None:
        told, following = self._told, self._following
        if told is not None and told["processes"]:  # without any it has the defaults
            in_flight, starts = told["in_flight"], told["starts"]["last_60s"]
            limit, pace = told["max_concurrent"], told["requests_per_minute"]
        else:
            in_flight, starts = len(following.in_flight), following.starts.last_minute(at)
            limit, pace = self._limits() or (0, 0.0)
        self.history.at(at).state(
            in_flight=in_flight,
            starts_minute=starts,
            limit=limit,
            requests_per_minute=pace,
            circuit=circuit or self._circuit(),
        )

    def _queue_now(self, finished: int) -> Queue | None:
        """As it was last told, less what has been finished since: it is asked for less often than workers speak."""
        return None if self.queue is None else self.queue.less(finished - self._finished)

    def _limits(self) -> tuple[int, float] | None:
        return next((tally.limits for tally in (self._own, *self._workers.values()) if tally.limits), None)

    def _circuit(self) -> str:
        if self._told is not None:
            return str(self._told["circuit"]["state"])
        states = [tally.circuit for tally in (self._own, *self._workers.values())]
        return next((state for state in states if state != "closed"), "closed")

    def _spark(self, now: float) -> list[int]:
        starts = {step.number: step.starts for step in self.history.last(SPARK_STEPS * STEP_SECONDS, now=now)}
        newest = int(now // STEP_SECONDS)
        return [starts.get(number, 0) for number in range(newest - SPARK_STEPS + 1, newest + 1)]


def _sum(steps: list[Step]) -> Step:
    total = Step(0)
    for step in steps:
        total.merge(step)
    return total


def _seconds_left(left: int | None, per_minute: float, paused_for_s: float) -> float | None:
    """At the pace of the last minute, after a pause; None where either is not known."""
    if left is None or not per_minute or until_resumed(paused_for_s):
        return None
    return round(left / per_minute * 60.0 + (paused_for_s if left else 0.0), 1)


def _told(status: Mapping[str, Any], *, wrong_at_first: str) -> Throttle:
    """The throttle knows of wrong settings from requests; a worker that could send none yet knows of its own."""
    circuit, starts = status["circuit"], status["starts"]
    brought = status["settings_say"] is not None  # until somebody brings limits, those of an earlier run are remembered
    return Throttle(
        in_flight=status["in_flight"],
        limit=status["max_concurrent"] if brought else None,
        requests_per_minute=status["requests_per_minute"] if brought else None,
        waiting=status["waiting"],
        starts_last_minute=starts["last_60s"],
        gaps=tuple(starts["gaps"]),
        smallest_gap_s=starts["smallest_gap_s"],
        circuit=circuit["state"],
        circuit_ordered=circuit.get("ordered", False),
        retry_in_s=circuit["retry_in_s"] if circuit["state"] == "open" else None,
        generation=circuit["generation"],
        probes=circuit["probes"],
        paused_for_s=status["paused_for_s"],
        pause_reason=status["pause_reason"],
        misconfigured=status["misconfigured"] or wrong_at_first,
        blocked_by=status["blocked_by"],
        set_by_command=status["set_by_command"],
        host_pid=status.get("host_pid", 0),
        host_pids=status.get("host_pids", ""),
    )
