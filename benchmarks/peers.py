"""What processes that were all told the same limits really send: ours beside the limiters of others, at the server.

    make bench-peers                                  4 processes × 20 callers, «2 in flight, 60 per 6 s», 20 s each
    python -m benchmarks.peers --seconds 60

Every process is given the limits and asks the same simulated model server in the same way; only who lets a caller go
differs. A limiter that lives in one process keeps its promise there, and the server gets it once for each process.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeAlias

import httpx

from scraper.event_loop import run
from scraper.testing.vllm import SimulatedVLLM
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.verdict import UNSENT, Ending, Verdict

IN_FLIGHT, STARTS, WINDOW_SECONDS = 2, 60, 6.0
PROCESSES, CALLERS = 4, 20
TIME_SCALE = 0.5
"""An answer takes about 0.12 s then, so that two in flight can use the whole rate."""

Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[bool]]
"""Wait for one's turn; false: it came too late and was handed back."""


@asynccontextmanager
async def ours(url: str, run_dir: Path) -> AsyncIterator[Turn]:
    async with SharedRateLimiter(
        url, run_dir=run_dir, max_concurrent=IN_FLIGHT, requests_per_minute=60 * STARTS / WINDOW_SECONDS
    ) as throttle:

        @asynccontextmanager
        async def turn() -> AsyncIterator[bool]:
            async with throttle.admit() as permit:
                in_time = not permit.too_late()
                permit.report(Verdict(Ending.ANSWERED) if in_time else UNSENT)
                yield in_time

        yield turn


@asynccontextmanager
async def aiolimiter(_: str, __: Path) -> AsyncIterator[Turn]:
    from aiolimiter import AsyncLimiter  # noqa: PLC0415 - only for this comparison

    limiter, slots = AsyncLimiter(STARTS, WINDOW_SECONDS), asyncio.Semaphore(IN_FLIGHT)

    @asynccontextmanager
    async def turn() -> AsyncIterator[bool]:
        async with slots, limiter:
            yield True

    yield turn


@asynccontextmanager
async def pyrate_limiter(_: str, __: Path) -> AsyncIterator[Turn]:
    from pyrate_limiter import Limiter, Rate  # noqa: PLC0415 - only for this comparison

    limiter, slots = Limiter(Rate(STARTS, int(WINDOW_SECONDS * 1000))), asyncio.Semaphore(IN_FLIGHT)

    @asynccontextmanager
    async def turn() -> AsyncIterator[bool]:
        async with slots:
            await limiter.try_acquire_async("model server")
            yield True

    yield turn


SIDES = {
    "scraper": ours,
    "aiolimiter + Semaphore": aiolimiter,
    "pyrate-limiter (in memory) + Semaphore": pyrate_limiter,
}


def process(name: str, url: str, run_dir: Path, begin: Event) -> None:
    """Callers that ask for ever."""

    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http, SIDES[name](url, run_dir) as turn:

            async def call() -> None:
                body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "A word for blue?"}]}
                while True:
                    async with turn() as in_time:
                        if in_time:
                            (await http.post(f"{url}/chat/completions", json=body)).raise_for_status()

            await asyncio.get_running_loop().run_in_executor(None, begin.wait)
            await asyncio.gather(*(call() for _ in range(CALLERS)))

    run(main())


async def measure(name: str, *, seconds: float) -> tuple[int, int, float]:
    """At the server: most in flight, most starts in any window, and the share of the allowed rate that was used."""
    context = multiprocessing.get_context("spawn")
    begin = context.Event()
    async with SimulatedVLLM(model="m", time_scale=TIME_SCALE, oom=False) as server:
        with tempfile.TemporaryDirectory() as folder:
            processes = [
                context.Process(target=process, args=(name, server.base_url, Path(folder), begin), daemon=True)
                for _ in range(PROCESSES)
            ]
            for each in processes:
                each.start()
            begin.set()
            while len(server.stats.starts) < 2 * PROCESSES:  # noqa: ASYNC110 - the referee says so by a plain count
                await asyncio.sleep(0.05)
            await asyncio.sleep(seconds)
            for each in processes:
                each.kill()
                each.join()
        starts = server.stats.starts
        used = (len(starts) - 1) * WINDOW_SECONDS / STARTS / (starts[-1] - starts[0])
        return server.stats.max_in_flight, server.stats.most_starts_in(WINDOW_SECONDS), used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    print(f"{PROCESSES} processes, each told «{IN_FLIGHT} in flight, {STARTS} per {WINDOW_SECONDS:g} s»\n")
    print("| limiter | most in flight | most starts in 6 s | rate used |\n|---|---|---|---|")
    for name in SIDES:
        in_flight, starts, used = asyncio.run(measure(name, seconds=seconds))
        cells = [
            name,
            f"{in_flight} ({in_flight / IN_FLIGHT:.2f} ×)",
            f"{starts} ({starts / STARTS:.2f} ×)",
            f"{used:.1%}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
