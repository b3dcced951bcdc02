"""A running sum of what happened: what a status line, the progress panel and the last words of a run are made of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from scraper.events import CircuitClosed, CircuitHalfOpen, CircuitOpened, EndpointMisconfigured, Event, TaskSettled

LIMITS: Mapping[str, str] = {
    "wait_rate": "the pace, VLLM_REQUESTS_PER_MINUTE",
    "wait_slot": "the slots, VLLM_MAX_CONCURRENT",
    "wait_circuit": "the open circuit: the model server does not answer",
    "server_pause": "a pause that the model server asked for",
    "backoff": "retries of failed model calls",
    "first_token": "the model's queue and its reading of prompts",
    "generate": "the model's writing",
    "host_delay": "politeness to the sites, FETCH_DELAY",
    "fetch": "the sites' speed",
    "clean": "the CPU",
    "validate": "the CPU",
    "store": "the results database",
}
"""Phase of a task → what it means for the owner when most of the time goes there."""


class Tally:
    """Counts of settlements and seconds by phase since the start; a few dozen numbers, however long the run."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.in_hand = 0
        self.circuit = "closed"

    def add(self, event: Event) -> None:
        match event:
            case TaskSettled():
                self.outcomes[event.outcome] += 1
                if event.outcome == "park":
                    self.reasons[event.reason] += 1
                self.seconds.update({phase: seconds for phase, seconds in event.timings.items() if phase != "total"})
            case CircuitOpened():
                self.circuit = "the open circuit: the model server fails"
            case CircuitHalfOpen():
                self.circuit = "the half-open circuit: one request tries whether the model server works again"
            case CircuitClosed():
                self.circuit = "closed"
            case EndpointMisconfigured():
                self.circuit = f"a wrong setting: {event.setting}; {event.advice}"

    def merge(self, other: Tally) -> None:
        """Take the counts of `other` along; its present state is not."""
        self.outcomes += other.outcomes
        self.reasons += other.reasons
        self.seconds += other.seconds

    def limited_by(self) -> str:
        """What most of the tasks' time went to, in the owner's words."""
        if self.circuit != "closed":
            return self.circuit
        if not self.seconds:
            return "nothing yet"
        phase, seconds = self.seconds.most_common(1)[0]
        return f"{LIMITS.get(phase, phase)} ({seconds / self.seconds.total():.0%} of the time)"

    def to_line(self) -> bytes:
        """One line for the pipe to the supervisor."""
        return json.dumps(vars(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Tally:
        """What `to_line` wrote; raises ValueError for anything else."""
        fields: dict[str, Any] = json.loads(line)
        tally = cls()
        for name in ("outcomes", "reasons", "seconds"):
            getattr(tally, name).update(fields[name])
        tally.in_hand, tally.circuit = int(fields["in_hand"]), str(fields["circuit"])
        return tally
