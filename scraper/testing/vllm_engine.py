"""The physics of a GPU under continuous batching, one engine step at a time, in virtual seconds. No clock, no I/O.

State: the waiting line, the running requests in order of admission (some still prefilling, the rest decoding), the KV
cache in tokens. Each step

1. preempts: while every decoding request needs one more token and the cache cannot hold them, the most recently
   admitted request loses its cache, its prompt becomes prompt + generated so far, and it goes to the front of the line;
2. spends a budget of tokens: decodes first, then running prefills in chunks, then new requests while there are
   sequences left and their first chunk fits;
3. takes `slow · (step + token · scheduled + kv_read · read) · exp(N(0, noise))` seconds; then tokens appear, requests
   complete and give their cache back.

The constants of the presets were fitted to published throughput of these GPUs; the tests hold the resulting curve.
Blocks of a prompt that were computed before are found by their hash and cost no prefill (the prefix cache).
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Physics:
    """What one GPU with one model can do. Seconds and tokens."""

    name: str
    step_seconds: float
    token_seconds: float
    kv_read_seconds: float
    kv_tokens: int
    max_num_seqs: int = 256
    step_tokens: int = 2048
    noise: float = 0.05
    oom_probability: float = 0.01  # per step with a full cache, growing from 0 at `OOM_FROM`
    block_tokens: int = 16

    @property
    def instant(self) -> bool:
        return self.step_seconds == 0 and self.token_seconds == 0 and self.kv_read_seconds == 0


OOM_FROM = 0.97  # share of the cache in use above which a crash becomes possible

PRESETS = {
    "rtx5090-8b": Physics("rtx5090-8b", 10.5e-3, 0.10e-3, 86e-9, 98_000),
    "rtx5090-8b-fp8": Physics("rtx5090-8b-fp8", 5.8e-3, 0.0686e-3, 86e-9, 160_000),
    "instant": Physics("instant", 0.0, 0.0, 0.0, 10_000_000, max_num_seqs=100_000, noise=0.0, oom_probability=0.0),
}


class Job:
    """One request inside the engine. `generated` grows up to `output_tokens`; times are the engine's seconds."""

    __slots__ = (
        "admitted_at",
        "arrived_at",
        "block_hashes",
        "cached_tokens",
        "computed",
        "finished_at",
        "first_token_at",
        "generated",
        "output_tokens",
        "preemptions",
        "private_kv",
        "prompt_tokens",
        "scheduled",
        "shared_blocks",
        "target",
    )

    def __init__(self, *, prompt_tokens: int, output_tokens: int, block_hashes: Sequence[int] = ()) -> None:
        self.prompt_tokens = max(1, prompt_tokens)
        self.output_tokens = max(1, output_tokens)
        self.block_hashes = block_hashes
        self.generated = 0
        self.cached_tokens = 0  # of the prompt, found in the prefix cache at the first admission
        self.computed = 0  # tokens whose KV is there
        self.target = self.prompt_tokens  # tokens to compute before the next one can be generated
        self.scheduled = 0  # tokens of the step that is running
        self.private_kv = 0
        self.shared_blocks: list[int] = []
        self.preemptions = 0
        self.arrived_at = 0.0
        self.admitted_at: float | None = None
        self.first_token_at: float | None = None
        self.finished_at: float | None = None

    @property
    def decoding(self) -> bool:
        return self.computed >= self.target


@dataclass(slots=True)
class Counters:
    """What `/metrics` counts, since the engine's start."""

    preemptions: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prompt_tokens_cached: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    steps: int = 0
    max_running: int = 0


class Engine:
    """Continuous batching over one KV cache."""

    def __init__(self, physics: Physics, *, seed: int = 0) -> None:
        self.physics = physics
        self.slow = 1.0
        self.waiting: deque[Job] = deque()
        self.running: list[Job] = []
        self.kv_used = 0
        self.counters = Counters()
        self.crashed = False
        self.due = NEVER  # when the running step ends
        self.last_step_seconds = 0.0
        self._random = random.Random(seed)
        self._prefixes = PrefixBlocks()
        self._frozen_at: float | None = None

    @property
    def kv_usage(self) -> float:
        return self.kv_used / self.physics.kv_tokens

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    def submit(self, job: Job, *, now: float) -> None:
        """Into the line; a step begins at once where none is running."""
        job.arrived_at = now
        if self.physics.instant and self._frozen_at is None:
            self._complete_at_once(job, now)
            return
        self.waiting.append(job)
        if self.due == NEVER and self._frozen_at is None:
            self._begin_step(now)

    def abort(self, job: Job) -> None:
        """Forget a job wherever it is. It yields no further token."""
        if job in self.running:
            self.running.remove(job)
            self._release(job)
        elif job in self.waiting:
            self.waiting.remove(job)

    def freeze(self, *, now: float) -> None:
        """Stop in the middle of a step: gauges keep their value, no token appears."""
        if self._frozen_at is None:
            self._frozen_at = now

    def thaw(self, *, now: float) -> None:
        if self._frozen_at is None:
            return
        stood_still = now - self._frozen_at
        self._frozen_at = None
        if self.due != NEVER:
            self.due += stood_still
        elif self.waiting:
            self._begin_step(now)

    def advance(self, now: float, *, max_steps: int = 1_000) -> list[Job]:
        """Do the steps that have ended by `now`, at most `max_steps`; the jobs they completed, in order."""
        finished: list[Job] = []
        if self._frozen_at is not None:
            return finished
        while self.due <= now and max_steps > 0 and not self.crashed:
            max_steps -= 1
            ended = self.due
            self._end_step(ended, finished)
            self._begin_step(ended)
        return finished

    # one step

    def _begin_step(self, now: float) -> None:
        scheduled, read = self._schedule(now)
        self._forget_what_does_not_fit()
        if not scheduled:
            self.due = NEVER
            return
        physics = self.physics
        seconds = self.slow * (
            physics.step_seconds + physics.token_seconds * scheduled + physics.kv_read_seconds * read
        )
        if physics.noise:
            seconds *= math.exp(self._random.gauss(0.0, physics.noise))
        self.last_step_seconds = seconds
        self.due = now + seconds
        self.counters.steps += 1
        self.counters.max_running = max(self.counters.max_running, len(self.running))

    def _schedule(self, now: float) -> tuple[int, int]:
        """Choose the step's tokens and reserve their cache: (tokens scheduled, tokens of KV read by the decodes)."""
        decodes = self._preempt_until_decodes_fit()
        budget = max(0, self.physics.step_tokens - decodes)
        read = scheduled = 0
        for job in self.running:
            if job.decoding:
                job.scheduled = 1
                read += job.computed
        self.kv_used += decodes
        scheduled += decodes
        for job in self.running:
            if job.decoding:
                job.private_kv += 1
            else:
                chunk = min(job.target - job.computed, budget, self.physics.kv_tokens - self.kv_used)
                self._reserve(job, max(0, chunk))
                budget -= job.scheduled
                scheduled += job.scheduled
        scheduled += self._admit(budget, now)
        if not scheduled and len(self.running) > 1:
            self._preempt(self.running[-1])  # prefills alone fill the cache: the youngest makes room
            return self._schedule(now)
        return scheduled, read

    def _preempt_until_decodes_fit(self) -> int:
        decodes = sum(job.decoding for job in self.running)
        while decodes and self.kv_used + decodes > self.physics.kv_tokens:
            youngest = self.running[-1]
            decodes -= youngest.decoding
            self._preempt(youngest)
        return decodes

    def _preempt(self, job: Job) -> None:
        self.running.remove(job)
        self._release(job, keep_blocks=False)
        job.computed = job.scheduled = 0
        job.target = job.prompt_tokens + job.generated
        job.preemptions += 1
        self.counters.preemptions += 1
        self.waiting.appendleft(job)

    def _admit(self, budget: int, now: float) -> int:
        admitted = 0
        while self.waiting and budget > 0 and len(self.running) < self.physics.max_num_seqs:
            job = self.waiting[0]
            hits = self._prefixes.hits(job.block_hashes, (job.target - 1) // self.physics.block_tokens)
            cached = len(hits) * self.physics.block_tokens
            revived = self._prefixes.unused(hits) * self.physics.block_tokens
            chunk = min(job.target - cached, budget)
            if self.kv_used + revived + chunk > self.physics.kv_tokens:
                break
            self.waiting.popleft()
            self.running.append(job)
            self._prefixes.take(hits)
            job.shared_blocks = hits
            job.computed = cached
            self.kv_used += revived
            self._count_admission(job, cached, now)
            self._reserve(job, chunk)
            budget -= chunk
            admitted += chunk
        return admitted

    def _count_admission(self, job: Job, cached: int, now: float) -> None:
        self.counters.prefix_cache_queries += job.target
        self.counters.prefix_cache_hits += cached
        if job.admitted_at is None:
            job.admitted_at = now
            job.cached_tokens = cached
            self.counters.prompt_tokens += job.prompt_tokens
            self.counters.prompt_tokens_cached += cached

    def _reserve(self, job: Job, tokens: int) -> None:
        job.scheduled = tokens
        job.private_kv += tokens
        self.kv_used += tokens

    def _end_step(self, now: float, finished: list[Job]) -> None:
        done = []
        for job in self.running:
            if not job.scheduled:
                continue
            job.computed += job.scheduled
            was_prefilling = job.computed - job.scheduled < job.target
            job.scheduled = 0
            if not job.decoding:
                continue
            if was_prefilling:
                self._share_prefix(job)
            job.generated += 1
            self.counters.generation_tokens += 1
            if job.first_token_at is None:
                job.first_token_at = now
            if job.generated >= job.output_tokens:
                done.append(job)
        usage = self.kv_usage
        if usage > OOM_FROM and self.physics.oom_probability:
            growth = (usage - OOM_FROM) / (1 - OOM_FROM)
            self.crashed = self._random.random() < self.physics.oom_probability * growth
        for job in done:
            job.finished_at = now
            self.running.remove(job)
            self._release(job)
        finished += done

    def _share_prefix(self, job: Job) -> None:
        have = len(job.shared_blocks)
        fresh = self._prefixes.add(job.block_hashes[have : job.target // self.physics.block_tokens])
        job.shared_blocks = job.shared_blocks + fresh
        job.private_kv -= len(fresh) * self.physics.block_tokens

    def _release(self, job: Job, *, keep_blocks: bool = True) -> None:
        freed = self._prefixes.give_back(job.shared_blocks, keep=keep_blocks) * self.physics.block_tokens
        self.kv_used -= job.private_kv + freed
        job.private_kv = job.scheduled = 0
        job.shared_blocks = []
        self._forget_what_does_not_fit()

    def _forget_what_does_not_fit(self) -> None:
        self._prefixes.keep_at_most((self.physics.kv_tokens - self.kv_used) // self.physics.block_tokens)

    def _complete_at_once(self, job: Job, now: float) -> None:
        blocks = job.block_hashes[: job.prompt_tokens // self.physics.block_tokens]
        hits = self._prefixes.hits(blocks, (job.prompt_tokens - 1) // self.physics.block_tokens)
        self._count_admission(job, len(hits) * self.physics.block_tokens, now)
        self._prefixes.take(hits)
        fresh = self._prefixes.add(blocks[len(hits) :])
        self._prefixes.give_back([*hits, *fresh])
        self._prefixes.keep_at_most(self.physics.kv_tokens // self.physics.block_tokens)
        job.generated = job.output_tokens
        job.computed = job.target
        job.first_token_at = job.finished_at = now
        self.counters.generation_tokens += job.output_tokens
        self.counters.max_running = max(self.counters.max_running, 1)


class PrefixBlocks:
    """Blocks of prompts by the hash of everything up to their end; those nobody uses are kept until room is needed."""

    def __init__(self) -> None:
        self._users: dict[int, int] = {}
        self._unused: OrderedDict[int, None] = OrderedDict()  # oldest first

    def hits(self, hashes: Sequence[int], at_most: int) -> list[int]:
        """The longest known prefix. At least one token of a prompt is always computed, hence `at_most`."""
        found = []
        for block in hashes[:at_most]:
            if block not in self._users and block not in self._unused:
                break
            found.append(block)
        return found

    def unused(self, blocks: Sequence[int]) -> int:
        return sum(block in self._unused for block in blocks)

    def take(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self._unused.pop(block, None)
            self._users[block] = self._users.get(block, 0) + 1

    def add(self, blocks: Sequence[int]) -> list[int]:
        """Those of `blocks` that follow what is known; a block computed twice at once stays private the second time."""
        fresh = [block for block in blocks if block not in self._users and block not in self._unused]
        self.take(fresh)
        return fresh

    def give_back(self, blocks: Sequence[int], *, keep: bool = True) -> int:
        """How many of `blocks` nobody uses any more; they are remembered if `keep`."""
        freed = 0
        for block in reversed(blocks):  # the end of a prompt is the first to go
            self._users[block] -= 1
            if not self._users[block]:
                del self._users[block]
                freed += 1
                if keep:
                    self._unused[block] = None
        return freed

    def keep_at_most(self, blocks: int) -> None:
        while len(self._unused) > blocks:
            self._unused.popitem(last=False)
