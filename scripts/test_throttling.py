#!/usr/bin/env python3
"""A check of your throttle settings: what was asked, and what the model server really sees.

The settings are read as the workers read them, from the environment and .env. A simulated model server notes every
request itself while processes of this script flood it through the throttle, make it fail and let it recover. Your own
server, if VLLM_BASE_URL answers, gets a handful of one-token requests, in turn with whatever workers run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import Any

import click
import httpx
from rich.console import Console

from scraper.config import Settings, load_settings, surprises
from scraper.credentials import without_credentials
from scraper.errors import Misconfigured, ScraperError
from scraper.event_loop import run
from scraper.llm_client import LLMClient
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.run_dir import MeetingPlace, try_out
from scraper.throttle.shared_limiter import SharedRateLimiter
from throttle_check import judge, plan, report
from throttle_check.caller import QUESTION, Record
from throttle_check.judge import Row
from throttle_check.plan import Limits
from throttle_check.trial import Callers, fail_and_recover, simulated_server

REAL_REQUESTS = 5
REAL_SECONDS = 12.0
"""A slow pace allows fewer requests to a real server in this time."""
HELLO_SECONDS = 3.0
WIDTH = 110
"""Columns where there is no terminal to ask."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--processes", default=1, type=click.IntRange(1, 32), show_default=True, help="That call at once.")
@click.option(
    "--apart", is_flag=True, help="Give each process a RUN_DIR of its own: what happens if nothing is shared."
)
@click.option("--real-time", is_flag=True, help="At the settings' own speed; takes minutes, and says how many.")
@click.option("--simulated", is_flag=True, help="Leave VLLM_BASE_URL alone, even if it answers.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def main(*, processes: int, apart: bool, real_time: bool, simulated: bool, as_json: bool) -> None:
    """Do my throttle settings protect the model server? Exit code 1 if not.

    Times are scaled so that it takes less than half a minute; what is shown is in the settings' own time.

    \b
    Examples:
      python scripts/test_throttling.py
      python scripts/test_throttling.py --processes 4
      python scripts/test_throttling.py --processes 4 --apart     # must fail: four throttles instead of one
      VLLM_MAX_CONCURRENT=4 VLLM_REQUESTS_PER_MINUTE=40 python scripts/test_throttling.py --json
    """
    try:
        settings = load_settings()
        try_out(MeetingPlace.of(settings.vllm_base_url, settings.run_dir))
    except Misconfigured as error:
        click.echo(f"Settings:\n{error}", err=True)
        sys.exit(2)
    limits = _limits(settings)
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else WIDTH)
    if real_time:
        console.print(f"in real time this takes about {plan.seconds(limits) / 60:.0f} min")
    sections = dict(_sections(limits, console, processes=processes, apart=apart, real_time=real_time))
    if not simulated and (real := _real(settings, limits, console)) is not None:
        sections["your server"] = real
    rows = [row for section in sections.values() for row in section]
    told = [f"{name}: {message}" for name, message in surprises(settings)]
    words = list(report.conclusion(limits, rows, processes=processes, surprises=told))
    if as_json:
        click.echo(json.dumps(_plain(limits, sections, words, processes=processes)))
    else:
        for title, section in sections.items():
            console.print(report.table(title, section), "")
        for sentence in words:
            console.print(sentence, highlight=False)
    sys.exit(0 if report.holds(rows) else 1)


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_concurrent=settings.vllm_max_concurrent,
        requests_per_minute=settings.vllm_requests_per_minute,
        max_retries=settings.vllm_max_retries,
        base_backoff=settings.vllm_base_backoff,
        max_backoff=settings.vllm_max_backoff,
        threshold=settings.vllm_circuit_breaker_threshold,
        timeout=settings.vllm_circuit_breaker_timeout,
    )


def _sections(
    limits: Limits, console: Console, *, processes: int, apart: bool, real_time: bool
) -> Iterator[tuple[str, list[Row]]]:
    """The trials against the simulated server, one after the other."""
    with simulated_server() as server, Callers(processes, apart=apart) as callers:
        with console.status("slots: slow answers"):
            trial = plan.slots(limits, real_time=real_time)
            server.order(faults=f"slow_headers=on:{trial.answer_seconds:.3f}")
            crowded = callers.call(server, trial)
            server.order(clear=True)
        with console.status("pace: quick answers"):
            paced = callers.call(server, plan.pace(limits, real_time=real_time))
        yield "limits, simulated server", [judge.slots(limits, crowded), *judge.pace(limits, paced)]
        with console.status("circuit breaker: the server fails, and is well again"):
            trial = plan.breaker(limits, real_time=real_time)
            failing = callers.call(server, trial, meanwhile=partial(fail_and_recover, server))
        yield "circuit breaker, simulated server", judge.breaker(limits, failing)
        with console.status("backoff: a call that always fails"):
            server.order(faults="500=on")
            retried = callers.call(server, plan.backoff(limits, real_time=real_time), processes=1)
            server.order(clear=True)
        yield "backoff, simulated server", judge.backoff(limits, retried)


def _real(settings: Settings, limits: Limits, console: Console) -> list[Row] | None:
    """A handful of one-token requests, at the settings' own speed and through the throttle that workers share."""
    url = without_credentials(settings.vllm_base_url)
    key = settings.vllm_api_key.get_secret_value()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        httpx.get(f"{settings.vllm_base_url}/models", headers=headers, timeout=HELLO_SECONDS, trust_env=False)
    except httpx.HTTPError:
        console.print(f"{url} does not answer: only the simulated server was tried")
        return None
    requests = max(1, min(REAL_REQUESTS, 1 + int(REAL_SECONDS / limits.interval)))
    with console.status(f"{requests} requests of one token to {url}"):
        record, seconds = run(_ask_carefully(settings, limits, requests))
    answers = Row(
        "answers", str(requests), str(record.answered), "kept" if record.answered == requests else "BROKEN",
        "; ".join(record.errors[:1]),
    )  # fmt: skip
    gaps = [later - earlier for earlier, later in pairwise(record.written)]
    if not gaps:
        why = "one request only, at this pace" if requests == 1 else ""
        return [answers, Row("smallest gap of two starts", f"{limits.interval:.3g} s", "-", "not measured", why)]
    late = judge.good_for(limits.interval)
    gap = Row(
        "smallest gap of two starts",
        f"{limits.interval:.3g} s; as written at least {limits.interval - late:.2g} s",
        f"{min(gaps):.3g} s, by this script's own clock",
        "kept" if min(gaps) >= limits.interval - late else "BROKEN",
    )
    took = Row("seconds of one answer", "-", f"{seconds:.2f} s for one token", "not measured", "yours are longer")
    return [answers, gap, took]


async def _ask_carefully(settings: Settings, limits: Limits, requests: int) -> tuple[Record, float]:
    record, url, spent = Record(), settings.vllm_base_url, 0.0
    throttle = SharedRateLimiter(
        url,
        run_dir=settings.run_dir,
        max_concurrent=limits.max_concurrent,
        requests_per_minute=limits.requests_per_minute,
        breaker=CircuitBreaker(limits.threshold, limits.timeout),
        observe=record.observe,
    )
    client = LLMClient(
        url,
        api_key=settings.vllm_api_key.get_secret_value(),
        model=settings.vllm_model,
        timeout_seconds=settings.vllm_timeout,
        max_retries=0,
        rate_limiter=throttle,
        observe=record.observe,
    )
    async with throttle, client:
        for _ in range(requests):
            try:
                await client.chat(QUESTION, max_tokens=1)
            except ScraperError as error:
                record.errors.append(str(error))
                break  # carefully: a server that fails is not asked again
            spent = time.monotonic() - record.written[-1]
    return record, spent


def _plain(limits: Limits, sections: dict[str, list[Row]], words: list[str], *, processes: int) -> dict[str, Any]:
    rows = [row for section in sections.values() for row in section]
    return {
        "settings": asdict(limits),
        "processes": processes,
        "protects": report.holds(rows),
        "checks": [{"section": title, **asdict(row)} for title, section in sections.items() for row in section],
        "conclusion": words,
    }


if __name__ == "__main__":
    main()
