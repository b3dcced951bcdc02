"""What a grant of the shared throttle costs: CPU of the coordinator and of its clients, in processes of their own.

    python -m benchmarks.grants                    8 processes × 50 callers and 1 × 1,000, paced and unpaced
    python -m benchmarks.grants --seconds 10 --rounds 5

Every caller asks, is granted and gives back at once, so that nothing but the throttle is measured. Paced is the
fastest that settings allow: each grant wakes two sleeping loops three times, and what that costs is the machine's.
So the same run measures a floor: a bare server on the same event loop that sends a small line to one of as many
processes, at the same pace, and gets it back. Unpaced, only slots hold anybody back, and what is measured is our own
work. Of several rounds the cheapest counts: whatever else the machine does can only add. The budget is 0.3 ms for both
sides together.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias, cast

from scraper.event_loop import run
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
PROCESSES = 8
BARE_LINE = b"x" * 150 + b"\n"
"""About what a grant and its end take on the wire."""
SETTLE_SECONDS = 0.5
ANSWERED = Verdict(Ending.ANSWERED)


def host(run_dir: Path, pipe: Connection) -> None:
    async def main() -> None:
        async with Coordinator(ENDPOINT, run_dir=run_dir):
            await _measured(pipe)

    run(main())


def client(run_dir: Path, callers: int, per_minute: float, pipe: Connection) -> None:
    async def main() -> None:
        async with SharedRateLimiter(
            ENDPOINT, run_dir=run_dir, max_concurrent=SLOTS, requests_per_minute=per_minute
        ) as throttle:
            await _call(throttle, callers, pipe)

    run(main())


def alone(_: Path, callers: int, per_minute: float, pipe: Connection) -> None:
    async def main() -> None:
        await _call(RateLimiter(SLOTS, per_minute), callers, pipe)

    run(main())


def bare_host(run_dir: Path, per_minute: float, pipe: Connection) -> None:
    """The floor: a line to one process after the other, at the pace, and each of them back."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wires: list[asyncio.Transport] = []
        heard = 0

        class Wire(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                wires.append(cast("asyncio.Transport", transport))  # uvloop's are none by inheritance
                if per_minute >= UNPACED_PER_MINUTE:
                    wires[-1].write(BARE_LINE)

            def connection_lost(self, _: Exception | None) -> None:
                wires.clear()  # the measurement is over

            def data_received(self, data: bytes) -> None:
                nonlocal heard
                heard += data.count(b"\n")
                if wires and per_minute >= UNPACED_PER_MINUTE:
                    wires[heard % len(wires)].write(BARE_LINE)

        def tick() -> None:
            if wires:
                wires[heard % len(wires)].write(BARE_LINE)
            loop.call_later(60 / per_minute, tick)

        server = await loop.create_unix_server(Wire, run_dir / "bare")
        if per_minute < UNPACED_PER_MINUTE:
            tick()
        await _measured(pipe, lambda: heard)
        server.close()

    run(main())


def bare_client(run_dir: Path, _: float, pipe: Connection) -> None:
    async def main() -> None:
        class Echo(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = cast("asyncio.Transport", transport)

            def data_received(self, data: bytes) -> None:
                self.transport.write(data)

        transport, _ = await asyncio.get_running_loop().create_unix_connection(Echo, run_dir / "bare")
        await _measured(pipe)
        transport.close()

    run(main())


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


Side: TypeAlias = Callable[[Path, Connection], None]


@dataclass(frozen=True, slots=True)
class Cost:
    """Grants a second, and milliseconds of CPU for each: of the first process, and of all others together."""

    rate: float
    first: float
    others: float

    @property
    def total(self) -> float:
        return self.first + self.others


def measure(sides: Sequence[Side], *, seconds: float) -> Cost:
    """Of processes that run `sides`."""
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
    return Cost(grants / seconds, 1000 * first_cpu / grants, 1000 * sum(cpu for cpu, _ in rest) / grants)


def cases(per_minute: float) -> dict[str, list[Side]]:
    """What is compared: its name, and the processes it takes."""
    return {
        "bare loop, no throttle": [
            partial(_placed, bare_host, (per_minute,)),
            *[partial(_placed, bare_client, (per_minute,))] * PROCESSES,
        ],
        "one process, 400 waiters": [partial(_placed, alone, (400, per_minute))],
        "8 × 50 waiters": [host, *[partial(_placed, client, (50, per_minute))] * PROCESSES],
        "1 × 1,000 waiters": [host, partial(_placed, client, (1000, per_minute))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, per_minute in (("paced", FASTEST_PER_MINUTE), ("unpaced", UNPACED_PER_MINUTE)):
        costs: dict[str, list[Cost]] = {}
        for _ in range(options.rounds):
            for case, sides in cases(per_minute).items():
                costs.setdefault(case, []).append(measure(sides, seconds=options.seconds))
        cheapest = {case: min(found, key=lambda cost: cost.total) for case, found in costs.items()}
        floor = next(iter(cheapest.values())).total
        for case, cost in cheapest.items():
            verdict = "kept" if cost.total <= BUDGET_MILLISECONDS else "BROKEN"
            print(
                f"{name:<8} {case:<26} {cost.rate:7,.0f} a second   {cost.total:.3f} ms = "
                f"host {cost.first:.3f} + clients {cost.others:.3f}   {cost.total / floor:4.1f} × bare"
                + (f"   budget {BUDGET_MILLISECONDS} ms {verdict}" if "×" in case else "")
            )


def _placed(side: Callable[..., None], options: Sequence[float], run_dir: Path, pipe: Connection) -> None:
    """`functools.partial` that leaves the folder and the pipe to the process."""
    side(run_dir, *options, pipe)


if __name__ == "__main__":
    main()
