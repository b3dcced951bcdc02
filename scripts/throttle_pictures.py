#!/usr/bin/env python3
"""The pictures of VLLM_THROTTLING.md, from what is measured while this runs. Takes about a minute.

Two are computed and always the same (the GPU's curve, the delays), two are measured at a simulated server that four
processes call: with the shared throttle and with one for each, and through an outage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from chart import Axis, Panel, picture

from scraper.testing.gpu_curve import ANSWER_TOKENS, PROMPT_TOKENS, served
from scraper.throttle.backoff import Backoff
from throttle_check import plan
from throttle_check.plan import Limits, Trial
from throttle_check.trial import Callers, Measured, fail_and_recover, simulated_server

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
DEFAULTS = Limits(2, 20, 5, 1.0, 60.0, 5, 60.0)
PRESETS = (("conservative", 1, 10), ("balanced", 2, 20), ("aggressive", 4, 40))
PROCESSES = 4
SCALE = 15.0
SLOTS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48)


@click.command()
@click.option("-o", "--output", default=FOLDER, show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option("--computed", is_flag=True, help="Only those that are not measured.")
def main(*, output: Path, computed: bool) -> None:
    """Make the pictures of VLLM_THROTTLING.md.

    \b
    Example:
      python scripts/throttle_pictures.py
    """
    output.mkdir(parents=True, exist_ok=True)
    made: dict[str, Callable[[], str]] = dict(COMPUTED)
    if not computed:
        made |= MEASURED
    for name, make in made.items():
        (output / name).write_text(make(), encoding="utf-8")
        click.echo(output / name)


def starts() -> str:
    """Four processes with the default settings: one throttle for all, and one for each."""
    trial = Trial(DEFAULTS.faster(SCALE), SCALE, calls=22)
    with simulated_server() as server:
        with Callers(PROCESSES) as callers:
            shared = callers.call(server, trial)
        with Callers(PROCESSES, apart=True) as callers:
            apart = callers.call(server, replace(trial, calls=PROCESSES * trial.calls))
    panel = Panel(Axis("seconds", 60, range(0, 61, 10)), Axis("requests started", 80, range(0, 81, 20)), height=260)
    allowed = [(0.0, 1.0), (60.0, 1.0 + DEFAULTS.requests_per_minute)]
    panel.line(allowed, "quiet", dashed=True)
    panel.steps(_minute(apart), "other")
    panel.steps(_minute(shared), "ours")
    panel.name(33, 52, "a limiter in each of 4 processes", "other", anchor="end")
    panel.name(59, 6, "one throttle for all of them", "ours", anchor="end")
    panel.name(59, 24, "allowed: 20 a minute", "quiet", anchor="end")
    return picture(
        "What reaches the server when four processes are told «20 a minute»",
        "Measured at a simulated server, first bytes of requests; 60 s shown in the settings' own time.",
        [panel],
    )


def outage() -> str:
    """The server fails for a while: what reaches it, and when the circuit lets nobody through."""
    with simulated_server() as server, Callers(PROCESSES) as callers:
        measured = callers.call(server, plan.breaker(DEFAULTS), meanwhile=partial(fail_and_recover, server))
    scale, origin = measured.trial.scale, measured.starts[0]

    def at(moment: float) -> float:
        return (moment - origin) * scale

    seconds = 20 * (1 + int(max(map(at, measured.starts)) / 20))
    panel = Panel(Axis("seconds", seconds, range(0, seconds + 1, 20)), Axis("in flight", 2.6, range(3)), height=170)
    panel.line([(0, 2), (seconds, 2)], "quiet", dashed=True)
    panel.name(seconds, 2, "allowed: 2", "quiet", dx=-6, dy=15, anchor="end")
    for number, (opened, _) in enumerate(sorted(measured.record.opened)):
        name = "circuit open: nothing is sent" if not number else "open again: the probe failed"
        panel.span(at(opened), at(opened) + DEFAULTS.timeout, "bad", name)
    panel.steps(_in_flight(measured, at), "quiet")
    for began, _, status in measured.intervals:
        panel.dots([(at(began), 1.0)], "good" if status == 200 else "bad")
    return picture(
        "An outage of the model server, as the server sees it",
        "Each dot a request of four processes: green answered, red failed, the fifth in a row opens. Measured, scaled.",
        [panel],
    )


def gpu() -> str:
    """What concurrency buys, and what it costs."""
    curve = [(slots, served(slots=slots)) for slots in SLOTS]
    rate = Panel(Axis("requests in flight", 48, range(0, 49, 4)), Axis("pages a minute", 160, range(0, 161, 40)))
    rate.line([(slots, each.per_minute) for slots, each in curve], "ours")
    rate.dots([(slots, each.per_minute) for slots, each in curve], "ours", radius=2.5)
    for name, slots, pace in PRESETS:
        done = served(slots=slots, requests_per_minute=pace).per_minute
        rate.dots([(slots, done)], "good", radius=6)
        rate.name(slots, done, f"{name}: {slots} in flight, {pace} a minute", "good", dx=14, dy=8 if slots == 1 else 4)
    rate.name(48, curve[-1][1].per_minute, "the cache is full: work is thrown away", "bad", dy=26, anchor="end")
    latency = Panel(Axis("requests in flight", 48, range(0, 49, 4)), Axis("seconds a page", 40, range(0, 41, 10)), 150)
    latency.line([(slots, each.p95_seconds) for slots, each in curve], "quiet", dashed=True)
    latency.line([(slots, each.mean_seconds) for slots, each in curve], "other")
    latency.name(36, curve[12][1].p95_seconds, "95 % are faster than this", "quiet", dx=-8, dy=-10, anchor="end")
    latency.name(36, curve[12][1].mean_seconds, "mean", "other", dx=10, dy=16)
    return picture(
        "What a GPU makes of more requests at once",
        f"Simulated RTX 5090, 8B model, pages of {PROMPT_TOKENS:,} tokens, answers of {ANSWER_TOKENS}; "
        "green: the presets.",
        [rate, latency],
    )


def delays() -> str:
    """The plan of the retries, and two hundred draws of each."""
    plan_of, draw = Backoff(DEFAULTS.base_backoff, DEFAULTS.max_backoff), random.Random(1)  # noqa: S311 a picture
    panel = Panel(Axis("retry", 7.5, range(1, 8), least=0.5), Axis("seconds before it", 60, range(0, 61, 10)))
    bounds = [(retry, plan_of.bounds(retry)) for retry in range(1, 8)]
    panel.band([(retry, low) for retry, (low, _) in bounds], [(retry, high) for retry, (_, high) in bounds], "ours")
    for retry in range(1, 8):
        drawn = [plan_of.delay(retry, draw=draw.random()) for _ in range(200)]
        points = [(retry + draw.uniform(-0.16, 0.16), delay) for delay in drawn]
        panel.dots(points, "ours" if retry <= DEFAULTS.max_retries else "quiet", radius=1.8)
    panel.line([(0.5, 60), (7.5, 60)], "quiet", dashed=True)
    panel.name(0.5, 60, "VLLM_MAX_BACKOFF", "quiet", dx=8, dy=16)
    panel.name(5, 22, "the default ends here: VLLM_MAX_RETRIES=5", "ours", dx=-8, dy=-12, anchor="end")
    return picture(
        "How long a failed request waits before it is tried again",
        "1 s, doubled each time, ± 25 %, drawn anew for each: those who failed together do not come back together.",
        [panel],
    )


def _minute(measured: Measured) -> Sequence[tuple[float, float]]:
    """Starts so far over the first minute, in the settings' own time."""
    first, scale = measured.starts[0], measured.trial.scale
    points = [((start - first) * scale, float(number)) for number, start in enumerate(measured.starts, start=1)]
    return [point for point in points if point[0] <= 60.0]


def _in_flight(measured: Measured, at: Callable[[float], float]) -> Sequence[tuple[float, float]]:
    changes = sorted(
        [(at(began), 1) for began, _, _ in measured.intervals] + [(at(ended), -1) for _, ended, _ in measured.intervals]
    )
    points, now = [(0.0, 0.0)], 0
    for moment, change in changes:
        now += change
        points.append((moment, float(now)))
    return points


COMPUTED = {"gpu.svg": gpu, "delays.svg": delays}
MEASURED = {"starts.svg": starts, "outage.svg": outage}


if __name__ == "__main__":
    main()
