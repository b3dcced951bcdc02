"""Faults on demand: which request is hit, by what, until when. Pure; the server acts them out.

A fault is written KIND=HOW or KIND=HOW:SECONDS, several with commas:

    503=0.1            one request in ten
    hang=3x            the next three requests
    500=on             every request until it is cleared
    429=0.05:30        one in twenty, with Retry-After: 30
    slow_headers=on:2  two seconds before the first byte of every answer
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

KINDS = {
    "400": "a 400 of the server's own",
    "401": "wrong key",
    "404": "unknown model",
    "429": "too many requests; SECONDS is its Retry-After",
    "500": "internal server error",
    "503": "overloaded; SECONDS, if given, is its Retry-After (vLLM sends none)",
    "hang": "the request is taken and never answered (or after SECONDS it is)",
    "reset": "connection reset before the headers",
    "reset_body": "connection reset in the middle of the body",
    "cut": "the body ends early, the connection closes politely",
    "html": "200 with a proxy's HTML page",
    "broken_json": "200 whose body is cut-off JSON of the right length",
    "stream_error": "an error event inside a stream, then [DONE]; without streaming a 500",
    "whitespace": "the answer runs away in whitespace until max_tokens",
    "repetition": "the answer repeats a phrase until max_tokens",
    "slow_headers": "SECONDS (default 5) before the first byte of the answer",
    "bad_json": "the model's text is not JSON",
    "wrong_schema": "the model's text is JSON that breaks the schema",
    "empty_answer": "the model's text is empty",
    "obey": "the model follows every order that the page gives, as far as the schema lets it",
}
CHANGES_ANSWER = frozenset({"bad_json", "wrong_schema", "whitespace", "repetition", "empty_answer"})

_SPEC = re.compile(r"(?P<kind>[a-z0-9_]+)=(?:(?P<next>\d+)x|(?P<on>on)|(?P<share>[0-9.]+))(?::(?P<seconds>[0-9.]+))?")


class BadFault(ValueError):
    """A fault that cannot be understood; the message says what would be."""


@dataclass(slots=True)
class Fault:
    """One kind of trouble: with `probability`, `left` more times (None: until cleared)."""

    kind: str
    probability: float = 1.0
    left: int | None = None
    seconds: float | None = None
    retry_after: str | None = None  # sent as it is, so that odd values can be tried

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadFault(f"unknown fault «{self.kind}»; known: {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise BadFault(f"{self.kind}: a probability lies between 0 and 1, not {self.probability}")
        if self.left is not None and self.left < 1:
            raise BadFault(f"{self.kind}: the next {self.left} requests are none; write 1x or more")
        if self.seconds is not None and not 0 <= self.seconds < 1e9:
            raise BadFault(f"{self.kind}: {self.seconds} is no number of seconds")
        if self.retry_after is None and self.kind in {"429", "503"} and self.seconds is not None:
            self.retry_after = f"{self.seconds:g}"


def parse_faults(text: str) -> list[Fault]:
    """Faults from a line like `503=0.1,hang=2x`. Raises BadFault."""
    faults = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        match = _SPEC.fullmatch(item)
        if match is None:
            raise BadFault(f"«{item}» is no fault; write KIND=0.1, KIND=3x or KIND=on, each with :SECONDS if needed")
        try:
            share = float(match["share"] or 1)
            seconds = float(match["seconds"]) if match["seconds"] else None
        except ValueError as error:
            raise BadFault(f"«{item}»: {error}") from error
        faults.append(Fault(match["kind"], share, left=int(match["next"]) if match["next"] else None, seconds=seconds))
    return faults


def fault_from_json(value: Any) -> Fault:
    """A fault from `{"kind": "429", "next": 3, "retry_after": "soon"}`. Raises BadFault."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise BadFault('a fault is an object with a "kind"')
    unknown = set(value) - {"kind", "probability", "next", "seconds", "retry_after"}
    if unknown:
        raise BadFault(f"unknown field in a fault: {', '.join(sorted(unknown))}")
    numbers = {key: value.get(key) for key in ("probability", "next", "seconds")}
    for key, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise BadFault(f"{key} is a number, not {number!r}")
    left, share, seconds = numbers["next"], numbers["probability"], numbers["seconds"]
    retry_after = value.get("retry_after")
    return Fault(
        value["kind"],
        1.0 if share is None else float(share),
        left=None if left is None else int(left),
        seconds=None if seconds is None else float(seconds),
        retry_after=None if retry_after is None else str(retry_after),
    )


class FaultPlan:
    """Which fault hits the next request. The first that is drawn wins; drawing is seeded."""

    def __init__(self, faults: list[Fault], *, seed: int) -> None:
        self.faults = list(faults)
        self.injected: Counter[str] = Counter()
        self._random = random.Random(seed)

    def add(self, fault: Fault) -> None:
        self.faults.append(fault)

    def clear(self, kind: str | None = None) -> None:
        """Take back the faults of one kind, or all."""
        self.faults = [fault for fault in self.faults if kind is not None and fault.kind != kind]

    def draw(self) -> Fault | None:
        for fault in self.faults:
            if self._random.random() >= fault.probability:
                continue
            if fault.left is not None:
                fault.left -= 1
                if fault.left == 0:
                    self.faults.remove(fault)
            self.injected[fault.kind] += 1
            return fault
        return None
