"""What a grant of the shared throttle costs: CPU of the coordinator and of its clients, in processes of their own.

    python -m benchmarks.grants                    8 processes × 50 callers and 1 × 1,000, paced and unpaced
    python -m benchmarks.grants --seconds 10

Every caller asks, is granted and gives back at once, so that nothing but the throttle is measured. Paced is the
fastest that settings allow: each grant wakes three sleeping loops, and a machine's cost of waking is most of it.
Unpaced, only slots hold anybody back. The same callers on the throttle of one process say what the machine is worth.
The budget is 0.3 ms for both sides together.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from scraper.throttle.coordinator import Coordinator
from scraper.throttle.rate_limiter import RateLimiter
from scraper.throttle.seam import Throttle
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.verdict import Ending, Verdict

ENDPOINT = "http://localhost:8000/v1"
FASTEST_PER_MINUTE = 60_000.0
UNPACED_PER_MINUTE = 6_000_000.0
SLOTS = 8
BUDGET_MILLISECONDS = 0.3
SETTLE_SECONDS = 0.5
ANSWERED = Verdict(Ending.ANSWERED)


def host(run_dir: Path, pipe: Connection) -> None:
    async def main() -> None:
        async with Coordinator(ENDPOINT, run_dir=run_dir):
            await _measured(pipe)

    asyncio.run(main())


def client(run_dir: Path, callers: int, per_minute: float, pipe: Connection) -> None:
    async def main() -> None:
        async with SharedRateLimiter(
            ENDPOINT, run_dir=run_dir, max_concurrent=SLOTS, requests_per_minute=per_minute
        ) as throttle:
            await _call(throttle, callers, pipe)

    asyncio.run(main())


def alone(_: Path, callers: int, per_minute: float, pipe: Connection) -> None:
    async def main() -> None:
        await _call(RateLimiter(SLOTS, per_minute), callers, pipe)

    asyncio.run(main())


async def _call(throttle: Throttle, callers: int, pipe: Connection) -> None:
    grants = 0

    async def call() -> None:
        nonlocal grants
        while True:
            async with throttle.admit(hold_seconds=600, work_seconds=600) as permit:
                grants += 1
                permit.report(ANSWERED)
            await asyncio.sleep(0)  # a free slot in this very process shall not starve its loop

    tasks = [asyncio.create_task(call()) for _ in range(callers)]
    await _measured(pipe, lambda: grants)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _measured(pipe: Connection, count: Callable[[], int] = lambda: 0) -> None:
    """Between two words from the pipe: CPU seconds of this process, and how much was counted."""
    loop = asyncio.get_running_loop()
    pipe.send("ready")
    await loop.run_in_executor(None, pipe.recv)
    cpu, counted = time.process_time(), count()
    await loop.run_in_executor(None, pipe.recv)
    pipe.send((time.process_time() - cpu, count() - counted))
    with suppress(EOFError):
        await loop.run_in_executor(None, pipe.recv)


def measure(sides: Sequence[Callable[[Path, Connection], None]], *, seconds: float) -> tuple[float, float, float]:
    """Of processes that run `sides`: grants a second, and milliseconds of CPU for a grant of the first and the rest."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes, running = [], []
        for side in sides:
            ours, theirs = context.Pipe()
            process = context.Process(target=side, args=(Path(folder), theirs))
            process.start()
            ours.recv()
            pipes.append(ours)
            running.append(process)
        time.sleep(SETTLE_SECONDS)
        for pipe in pipes:
            pipe.send("begin")
        time.sleep(seconds)
        for pipe in pipes:
            pipe.send("end")
        (first_cpu, counted), *rest = [pipe.recv() for pipe in pipes]
        for pipe in reversed(pipes):
            pipe.send("leave")
        for process in running:
            process.join()
    grants = counted + sum(count for _, count in rest)
    return grants / seconds, 1000 * first_cpu / grants, 1000 * sum(cpu for cpu, _ in rest) / grants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    for name, per_minute in (("paced", FASTEST_PER_MINUTE), ("unpaced", UNPACED_PER_MINUTE)):
        rate, cpu, _ = measure([partial(_placed, alone, 400, per_minute)], seconds=seconds)
        print(f"{name:<8} in one process, 400 waiters {rate:7,.0f} grants/s   {cpu:.3f} ms")
        for processes, callers in ((8, 50), (1, 1000)):
            clients = [partial(_placed, client, callers, per_minute) for _ in range(processes)]
            rate, host_cpu, client_cpu = measure([host, *clients], seconds=seconds)
            total = host_cpu + client_cpu
            print(
                f"{name:<8} {processes} × {callers:>5,} waiters          {rate:7,.0f} grants/s   {total:.3f} ms = "
                f"coordinator {host_cpu:.3f} + clients {client_cpu:.3f}   "
                f"budget {BUDGET_MILLISECONDS} ms {'kept' if total <= BUDGET_MILLISECONDS else 'BROKEN'}"
            )


def _placed(
    side: Callable[[Path, int, float, Connection], None],
    callers: int,
    per_minute: float,
    run_dir: Path,
    pipe: Connection,
) -> None:
    side(run_dir, callers, per_minute, pipe)


if __name__ == "__main__":
    main()
