"""What a grant of the shared throttle costs: CPU of the coordinator and of its clients, in processes of their own.

    python -m benchmarks.grants                    8 processes × 50 callers, then 1 × 1,000
    python -m benchmarks.grants --seconds 10

Every caller asks, is granted and gives back at once, so that nothing but the throttle is measured; the pace is the
fastest that settings allow. The budget is 0.3 ms for both sides together.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from scraper.throttle.coordinator import Coordinator
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.verdict import Ending, Verdict

ENDPOINT = "http://localhost:8000/v1"
FASTEST_PER_MINUTE = 60_000.0
BUDGET_MILLISECONDS = 0.3
SETTLE_SECONDS = 0.5
ANSWERED = Verdict(Ending.ANSWERED)


def host(run_dir: Path, pipe: Connection) -> None:
    async def main() -> None:
        async with Coordinator(ENDPOINT, run_dir=run_dir):
            await _measured(pipe)

    asyncio.run(main())


def client(run_dir: Path, callers: int, pipe: Connection) -> None:
    grants = 0

    async def call(throttle: SharedRateLimiter) -> None:
        nonlocal grants
        while True:
            async with throttle.admit(hold_seconds=600, work_seconds=600) as permit:
                grants += 1
                permit.report(ANSWERED)

    async def main() -> None:
        async with SharedRateLimiter(
            ENDPOINT, run_dir=run_dir, max_concurrent=8, requests_per_minute=FASTEST_PER_MINUTE
        ) as throttle:
            tasks = [asyncio.create_task(call(throttle)) for _ in range(callers)]
            await _measured(pipe, lambda: grants)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    asyncio.run(main())


async def _measured(pipe: Connection, count=lambda: 0) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - local
    """Between two words from the pipe: CPU seconds of this process, and how much was counted."""
    loop = asyncio.get_running_loop()
    pipe.send("ready")
    await loop.run_in_executor(None, pipe.recv)
    cpu, counted = time.process_time(), count()
    await loop.run_in_executor(None, pipe.recv)
    pipe.send((time.process_time() - cpu, count() - counted))
    with suppress(EOFError):
        await loop.run_in_executor(None, pipe.recv)


def measure(*, processes: int, callers: int, seconds: float) -> float:
    """Milliseconds of CPU for a grant, over both sides."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        pipes, running = [], []
        for number in range(processes + 1):
            ours, theirs = context.Pipe()
            if number == 0:
                process = context.Process(target=host, args=(run_dir, theirs))
            else:
                process = context.Process(target=client, args=(run_dir, callers, theirs))
            process.start()
            ours.recv()
            pipes.append(ours)
            running.append(process)
        time.sleep(SETTLE_SECONDS)
        for word in ("begin", "end"):
            for pipe in pipes:
                pipe.send(word)
            if word == "begin":
                time.sleep(seconds)
        (host_cpu, _), *clients = [pipe.recv() for pipe in pipes]
        for pipe in reversed(pipes):
            pipe.send("leave")
        for process in running:
            process.join()
    grants = sum(count for _, count in clients)
    client_cpu = sum(cpu for cpu, _ in clients)
    total = 1000 * (host_cpu + client_cpu) / grants
    print(
        f"{processes} × {callers:>5,} waiters  {grants / seconds:7.0f} grants/s   coordinator "
        f"{1000 * host_cpu / grants:.3f} ms   clients {1000 * client_cpu / grants:.3f} ms   both {total:.3f} ms"
    )
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    costs = [measure(processes=8, callers=50, seconds=seconds), measure(processes=1, callers=1000, seconds=seconds)]
    print(f"budget {BUDGET_MILLISECONDS} ms: {'kept' if max(costs) <= BUDGET_MILLISECONDS else 'BROKEN'}")


if __name__ == "__main__":
    main()
