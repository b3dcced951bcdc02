"""A process with many callers of the real client, to be attacked: they ask the model server for ever.

SIGTERM ends it, SIGUSR1 stalls its loop, SIGUSR2 cancels a random half of what its callers ask at that moment. What
happens to it is noted in a file that all of them write to; what it does to the server, the server knows.
"""

import argparse
import asyncio
import os
import random
import signal
import time
from pathlib import Path

from scraper.errors import Held, ModelFailed, Permanent, Transient
from scraper.event_loop import run
from scraper.events import (
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    EndpointMisconfigured,
    EndpointPaused,
    LeaseReaped,
    LlmRequest,
    ThrottleDegraded,
    ThrottleHosted,
)
from scraper.llm_client import CircuitBreaker, LLMClient, SharedRateLimiter
from tests.throttle.sharer import Log

ASK = [{"role": "user", "content": "A word for blue?"}]
NOTED = (
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    EndpointMisconfigured,
    EndpointPaused,
    LeaseReaped,
    LlmRequest,
    ThrottleDegraded,
    ThrottleHosted,
)


class Callers:
    """Each asks again as soon as its answer is there."""

    def __init__(self, client, log, draw):
        self._client = client
        self._log = log
        self._draw = draw
        self._asking = set()
        self._tasks = []

    def start(self, count):
        self._tasks += [asyncio.create_task(self._call()) for _ in range(count)]

    def cancel_half(self):
        for asking in sorted(self._asking, key=id):
            if self._draw.random() < 0.5:
                asking.cancel()

    async def stop(self):
        for task in [*self._tasks, *self._asking]:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, *self._asking, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error  # a mistake of its own: the exit code tells

    async def _call(self):
        while True:
            asking = asyncio.create_task(self._client.chat(ASK, max_tokens=8))
            self._asking.add(asking)
            await asyncio.wait([asking])
            self._asking.discard(asking)
            if not asking.cancelled() and (error := asking.exception()) is not None:
                if not isinstance(error, Held | ModelFailed | Permanent | Transient):
                    raise error
                self._log.note("raised", type(error).__name__)


def observer(log):
    def observe(event):
        if isinstance(event, NOTED):
            log.note("event", event.name, getattr(event, "pid", 0), f"{time.monotonic():.4f}")

    return observe


async def main(options):
    log, draw = Log(options.log), random.Random(options.seed)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, options.stall)
    throttle = SharedRateLimiter(
        options.url,
        run_dir=Path(options.run_dir),
        max_concurrent=options.limit,
        requests_per_minute=options.rpm,
        breaker=CircuitBreaker(timeout_seconds=options.open_seconds),
        observe=observer(log),
        silent_seconds=options.silent,
    )
    client = LLMClient(
        options.url,
        api_key=options.key,
        model=options.model,
        timeout_seconds=options.attempt,
        base_backoff_seconds=0.1,
        max_backoff_seconds=5.0,
        rate_limiter=throttle,
        observe=observer(log),
        random=draw.random,
    )
    async with throttle, client:
        callers = Callers(client, log, draw)
        loop.add_signal_handler(signal.SIGUSR2, callers.cancel_half)
        callers.start(options.callers)
        log.note("ready")
        await stop.wait()
        await callers.stop()
    log.note("left", open_sockets())


def open_sockets():
    """Of this process, now that everything is closed; the loop itself keeps a pair to wake itself."""
    files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)]
    return sum(str(file).startswith("socket:") for file in files)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--model", default="m")
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--rpm", type=float, default=300)
    parser.add_argument("--attempt", type=float, default=10.0)
    parser.add_argument("--open-seconds", type=float, default=1.0)
    parser.add_argument("--silent", type=float, default=2.0)
    parser.add_argument("--stall", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    run(main(parse()))
