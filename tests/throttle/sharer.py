"""A process that shares an endpoint's throttle: many callers, each attempt noted in a file that is the referee's.

A line is appended in one write, so the file's order is the order of what happened, over all processes.
"""

import argparse
import asyncio
import os
import random
import signal
import time
from pathlib import Path

from scraper.events import CircuitOpened, LeaseReaped, ThrottleDegraded, ThrottleHosted
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.seam import LeaseLost, NotAdmitted
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.verdict import UNSENT, Ending, Verdict

ENDPOINT = "http://localhost:8000/v1"


class Log:
    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what, *fields):
        os.write(self._file, " ".join(map(str, (what, os.getpid(), *fields))).encode() + b"\n")


def observer(log):
    def observe(event):
        if isinstance(event, ThrottleHosted | LeaseReaped | ThrottleDegraded | CircuitOpened):
            log.note("event", event.name, getattr(event, "pid", 0))

    return observe


async def call(throttle, log, draw, options):
    """One attempt after the other, like a consumer; now and then impatient, so that it is cancelled anywhere."""
    while True:
        try:
            async with asyncio.timeout(draw.expovariate(1) * options.patience if options.patience else None):
                async with throttle.admit(attempt_seconds=options.attempt) as permit:
                    if permit.too_late():
                        permit.report(UNSENT)
                        continue
                    number = f"{os.getpid()}-{draw.getrandbits(48)}"
                    log.note("start", number, int(permit.granted_at * 1e9 + 0.5), permit.place)
                    if options.stops_itself:
                        os.kill(os.getpid(), signal.SIGSTOP)
                    try:
                        await asyncio.sleep(draw.uniform(0.5, 1.5) * options.work)
                        permit.report(Verdict(Ending(options.ending)))
                    finally:
                        log.note("end", number)
        except TimeoutError:
            pass
        except LeaseLost:
            log.note("lost")
        except NotAdmitted:
            log.note("refused")


async def stall(draw, options):
    """A loop that is busy with something else, for longer than a grant is good for."""
    while True:
        await asyncio.sleep(draw.uniform(0.5, 1.5) * options.stall_every)
        time.sleep(options.stall)  # noqa: ASYNC251 - blocking is what it is about


async def main(options):
    log = Log(options.log)
    draw = random.Random(options.seed)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with SharedRateLimiter(
        ENDPOINT,
        run_dir=Path(options.run_dir),
        max_concurrent=options.limit,
        requests_per_minute=options.rpm,
        breaker=CircuitBreaker(threshold=options.threshold, timeout_seconds=0.5),
        observe=observer(log),
        silent_seconds=options.silent,
        reap_after_seconds=options.reap_after,
    ) as throttle:
        log.note("ready")
        callers = [asyncio.create_task(call(throttle, log, draw, options)) for _ in range(options.callers)]
        if options.stall:
            callers.append(asyncio.create_task(stall(draw, options)))
        await stop.wait()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    log.note("left")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--callers", type=int, default=10)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--rpm", type=float, default=6000)
    parser.add_argument("--threshold", type=int, default=5)
    parser.add_argument("--work", type=float, default=0.01)
    parser.add_argument("--attempt", type=float, default=5.0)
    parser.add_argument("--ending", default="answered")
    parser.add_argument("--patience", type=float, default=0.0)
    parser.add_argument("--stall", type=float, default=0.0)
    parser.add_argument("--stall-every", type=float, default=1.0)
    parser.add_argument("--stops-itself", type=int, default=0)  # as soon as it holds a slot, until somebody wakes it
    parser.add_argument("--silent", type=float, default=2.0)
    parser.add_argument("--reap-after", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parse()))
