"""Runs the simulated engine against a clock: submits, aborts, wakes who waits for tokens."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence

from scraper.testing.vllm_engine import NEVER, Engine, Job, Physics
from scraper.testing.vllm_tokens import block_hashes

_SHORTEST_SLEEP_SECONDS = 0.001  # what an event loop's timer can do; several engine steps are then done at once
_STEPS_AT_ONCE = 500  # so that a machine too slow for the time scale falls behind instead of stalling its loop
_ABORT_SECONDS = (0.05, 0.9)  # from a client's disconnect to the abort: observed to be within a second


class Generation:
    """An answer on its way. `job.generated` of `tokens` exist; `progress` is set whenever there are more."""

    def __init__(self, job: Job, tokens: Sequence[str], finish_reason: str) -> None:
        self.job = job
        self.tokens = tokens
        self.finish_reason = finish_reason
        self.failed = False
        self.progress = asyncio.Event()

    @property
    def done(self) -> bool:
        return self.job.finished_at is not None

    def text(self, since: int = 0) -> str:
        return "".join(self.tokens[since : self.job.generated])


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """Somebody else's requests on the same GPU: random arrivals, not seen over HTTP."""

    requests_per_minute: float
    prompt_tokens: int = 1_000
    output_tokens: int = 200


class EngineHost:
    """One engine and its clock, which runs `time_scale` times as fast as the event loop's."""

    def __init__(
        self,
        physics: Physics,
        *,
        seed: int,
        time_scale: float,
        on_finish: Callable[[Generation], None],
        on_crash: Callable[[], None],
        tenant: Tenant | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._physics = physics
        self._seed = seed
        self._scale = time_scale
        self._started_at = self._loop.time()
        self._on_finish = on_finish
        self._on_crash = on_crash
        self._random = random.Random(seed)
        self._wake = asyncio.Event()
        self._generations: dict[Job, Generation] = {}
        self.frozen = False
        self.engine = Engine(physics, seed=seed)
        self.tasks = [self._loop.create_task(self._pump())]
        if tenant is not None and tenant.requests_per_minute > 0:
            self.tasks.append(self._loop.create_task(self._background_load(tenant)))

    def now(self) -> float:
        """Simulated seconds since the start."""
        return (self._loop.time() - self._started_at) * self._scale

    async def sleep(self, simulated_seconds: float) -> None:
        await asyncio.sleep(simulated_seconds / self._scale)

    def call_later(self, simulated_seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(simulated_seconds / self._scale, call)

    def start(self, prompt: Sequence[str], tokens: Sequence[str], *, most: int) -> Generation:
        """Begin to generate `tokens`, cut after `most` of them."""
        job = Job(
            prompt_tokens=len(prompt),
            output_tokens=min(len(tokens), most),
            block_hashes=block_hashes(prompt, self._physics.block_tokens),
        )
        generation = Generation(job, tokens, "stop" if len(tokens) <= most else "length")
        self._generations[job] = generation
        self.engine.submit(job, now=self.now())
        if job.finished_at is not None:
            self._finish(job)
        self._wake.set()
        return generation

    def abort(self, generation: Generation) -> None:
        """The client is gone: the engine notices a little later, and generates until then."""
        engine = self.engine

        def forget() -> None:
            if not generation.done:
                engine.abort(generation.job)
                self._generations.pop(generation.job, None)

        self.call_later(self._random.uniform(*_ABORT_SECONDS), forget)

    def freeze(self) -> None:
        self.frozen = True
        self.engine.freeze(now=self.now())

    def thaw(self) -> None:
        self.frozen = False
        self.engine.thaw(now=self.now())
        self._wake.set()

    def fail_all(self) -> None:
        """The engine is dead: everyone who waits is told."""
        for generation in self._generations.values():
            generation.failed = True
            generation.progress.set()
        self._generations.clear()

    def renew(self) -> None:
        """A fresh engine, as after a restart of the process: cold cache, counters at zero."""
        slow = self.engine.slow
        self.fail_all()
        self.engine = Engine(self._physics, seed=self._seed)
        self.engine.slow = slow
        self.frozen = False
        self._wake.set()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _pump(self) -> None:
        while True:
            if self.engine.due == NEVER or self.frozen or self.engine.crashed:
                self._wake.clear()
                await self._wake.wait()
                continue
            left = (self.engine.due - self.now()) / self._scale
            await asyncio.sleep(max(left, _SHORTEST_SLEEP_SECONDS))
            self._advance()

    def _advance(self) -> None:
        engine = self.engine
        finished = engine.advance(self.now(), max_steps=_STEPS_AT_ONCE)
        for job in finished:
            self._finish(job)
        for generation in self._generations.values():
            generation.progress.set()
        if engine.crashed:
            self._on_crash()

    def _finish(self, job: Job) -> None:
        generation = self._generations.pop(job, None)
        if generation is not None:
            generation.progress.set()
            self._on_finish(generation)

    async def _background_load(self, tenant: Tenant) -> None:
        draw = random.Random(self._seed + 1)
        while True:
            await self.sleep(draw.expovariate(tenant.requests_per_minute / 60))
            job = Job(
                prompt_tokens=max(1, int(draw.expovariate(1 / tenant.prompt_tokens))),
                output_tokens=max(1, int(draw.expovariate(1 / tenant.output_tokens))),
            )
            if job.prompt_tokens + job.output_tokens < self._physics.kv_tokens // 2:
                self.engine.submit(job, now=self.now())
                self._wake.set()
