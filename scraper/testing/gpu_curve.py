"""What a simulated GPU makes of a number of slots and a pace: requests a minute and their latency. Pure, on no clock.

The same engine that the simulated server runs on, fed by a throttle that always has somebody waiting.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from scraper.testing.vllm_engine import NEVER, PRESETS, Engine, Job

PROMPT_TOKENS = 2_500
ANSWER_TOKENS = 250
"""A page of a shop or a magazine after cleaning, its schema, and a record of a dozen fields."""


@dataclass(frozen=True, slots=True)
class Served:
    """What came out."""

    per_minute: float
    mean_seconds: float
    p95_seconds: float


def served(
    *,
    slots: int,
    requests_per_minute: float | None = None,
    preset: str = "rtx5090-8b",
    prompt_tokens: int = PROMPT_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
    requests: int = 0,
) -> Served:
    """At most `slots` in flight, starts spaced by the pace if there is one; without noise, and without a crash."""
    engine = Engine(dataclasses.replace(PRESETS[preset], noise=0.0, oom_probability=0.0))
    requests = requests or 12 * slots
    interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
    started: dict[Job, float] = {}
    seconds: list[float] = []
    now = next_start = 0.0
    while len(seconds) < requests:
        if len(started) < slots and now >= next_start:
            job = Job(prompt_tokens=prompt_tokens, output_tokens=answer_tokens)
            started[job] = now
            engine.submit(job, now=now)
            next_start = now + interval
            continue
        now = min(engine.due, next_start if len(started) < slots else NEVER)
        seconds += [now - started.pop(job) for job in engine.advance(now)]
    ordered = sorted(seconds)
    return Served(len(seconds) / now * 60.0, sum(seconds) / len(seconds), ordered[int(0.95 * (len(ordered) - 1))])
