"""Processes that call the model server as workers do, through the product's own client, and note what they did.

A process is told what to do over a pipe, one Job after the other, and answers each with a Record. The clock of all
processes of one host, and of a simulated server on it, is the same monotonic one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

from scraper.errors import ScraperError
from scraper.event_loop import run
from scraper.events import CircuitClosed, CircuitOpened, Event, LlmRequest, LlmRetry, LlmSuccess, ThrottleDegraded
from scraper.llm_client import LLMClient
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.shared_limiter import SharedRateLimiter
from throttle_check.plan import Limits

QUESTION = [{"role": "user", "content": "Say yes."}]
STOP = "stop"


@dataclass(frozen=True, slots=True)
class Job:
    """Call `base_url` with `callers` at a time: `calls` times, or until told to stop where that is 0."""

    base_url: str
    run_dir: Path
    limits: Limits
    callers: int
    calls: int = 0
    api_key: str = ""
    model: str = ""
    timeout_seconds: float = 120.0


@dataclass(slots=True)
class Record:
    """What one process did. Times are readings of the host's monotonic clock."""

    written: list[float] = field(default_factory=list)  # when a request was about to be written
    retries: list[tuple[int, float]] = field(default_factory=list)  # (attempt before it, seconds it was told to wait)
    opened: list[tuple[float, int]] = field(default_factory=list)  # (when, after how many failures)
    closed: list[float] = field(default_factory=list)
    answered: int = 0
    errors: list[str] = field(default_factory=list)

    def observe(self, event: Event) -> None:
        match event:
            case LlmRequest():
                self.written.append(monotonic())
            case LlmSuccess():
                self.answered += 1
            case LlmRetry():
                self.retries.append((event.attempt, event.backoff_s))
            case CircuitOpened():
                self.opened.append((monotonic(), event.failures))
            case CircuitClosed():
                self.closed.append(monotonic())
            case ThrottleDegraded():
                self.errors.append(event.error)
            case _:
                pass

    def merge(self, other: Record) -> None:
        for name in ("written", "retries", "opened", "closed", "errors"):
            getattr(self, name).extend(getattr(other, name))
        self.answered += other.answered


def call_as_told(pipe: Connection) -> None:
    """The whole life of a caller process: until its pipe ends."""
    with suppress(EOFError, ConnectionError, KeyboardInterrupt):
        pipe.send("ready")
        while True:
            job = pipe.recv()
            if isinstance(job, Job):
                pipe.send(run(_do(job, pipe)))


async def _do(job: Job, pipe: Connection) -> Record:
    record, limits = Record(), job.limits
    left = job.calls
    throttle = SharedRateLimiter(
        job.base_url,
        run_dir=job.run_dir,
        max_concurrent=limits.max_concurrent,
        requests_per_minute=limits.requests_per_minute,
        breaker=CircuitBreaker(limits.threshold, limits.timeout),
        observe=record.observe,
    )
    client = LLMClient(
        job.base_url,
        api_key=job.api_key,
        model=job.model,
        timeout_seconds=job.timeout_seconds,
        max_retries=limits.max_retries,
        base_backoff_seconds=limits.base_backoff,
        max_backoff_seconds=limits.max_backoff,
        rate_limiter=throttle,
        observe=record.observe,
    )

    async def call() -> None:
        nonlocal left
        while left > 0 or not job.calls:
            left -= 1
            try:
                await client.chat(QUESTION, max_tokens=1)
            except ScraperError as error:
                record.errors.append(str(error))

    told = asyncio.Event()

    def hear() -> None:
        assert pipe.recv() == STOP
        told.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), hear)
    async with throttle, client:
        calling, stopped = (asyncio.create_task(each) for each in (_all(call, job.callers), told.wait()))
        either: list[asyncio.Task[Any]] = [calling, stopped]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for one in either:
            one.cancel()
        await asyncio.wait(either)
    loop.remove_reader(pipe.fileno())
    os.set_blocking(pipe.fileno(), True)  # the loop had changed it
    if not calling.cancelled():
        calling.result()
    return record


async def _all(call: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(call())
