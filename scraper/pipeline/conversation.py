"""All that is asked of the model for one task: prompts that fit its context, asks that are counted, answers that fit.

    answer = ask → (no end to it: ask on other terms) → validate → (repair: ask → validate)

Whatever is asked, the calls of a task together never exceed `max_calls`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.models import Json, ParkReason
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.fitting import Fitting
from scraper.pipeline.ladder import Ladder
from scraper.pipeline.model import Model, Reply
from scraper.pipeline.prompt import Message, Prompt
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.terms import Terms, first_terms, tokens_in_time
from scraper.pipeline.validate import parse, violations
from scraper.trace import Trace

_CHANGES = 2  # of the terms, for an answer that does not come to its end


@dataclass(frozen=True, slots=True)
class Bounds:
    """What asking may cost: tokens and seconds of an answer, repairs of an answer, calls of a task."""

    max_tokens: int
    attempt_seconds: float = 120.0
    repair_rounds: int = 1
    max_calls: int = 12


class Conversation:
    """One task's. What it costs and the last answer are left in `trace`, whatever happens."""

    def __init__(
        self,
        model: Model,
        window: ContextWindow,
        ladder: Ladder,
        *,
        bounds: Bounds,
        deadline: Deadline,
        trace: Trace,
    ) -> None:
        self._model = model
        self._window = window
        self._page = Fitting(window, ladder, deadline=deadline, trace=trace)
        self._bounds = bounds
        self._deadline = deadline
        self._trace = trace
        self._generated_seconds = 0.0  # from the last answer's first token to its end

    @property
    def calls_left(self) -> int:
        return max(0, self._bounds.max_calls - self._trace.calls)

    async def answer(self, prompt: Prompt, shape: CompiledSchema) -> Json:
        """An answer to `prompt` that fits `shape`, to which the model's grammar is held as well.

        Raises Permanent (no JSON, no end to it, or still wrong after its repairs), and what asking raises.
        """
        terms = first_terms(self._bounds.max_tokens)
        for asks in itertools.count(1):
            reply, terms = await self._whole_reply(prompt, shape, terms)
            self._trace.enter("validate")
            data = parse(reply.text)
            wrong = violations(shape, data)
            if not wrong:
                return data
            if asks > self._bounds.repair_rounds or not self.calls_left:
                after = f" after {asks} asks" if asks > 1 else ""
                what = f"the answer does not fit the schema{after}: {'; '.join(wrong[:3])}"
                raise Permanent(ParkReason.SCHEMA_INVALID, what)
            prompt = prompt.repaired(reply.text, wrong)
        raise AssertionError

    async def _whole_reply(self, prompt: Prompt, shape: CompiledSchema, terms: Terms) -> tuple[Reply, Terms]:
        """A reply that came to its end, and the terms on which it did. Raises Permanent where none will."""
        for asks in itertools.count(1):
            asked = prompt.reminded(terms.reminder)
            reply = await self._ask_fitted(asked, shape, terms)
            if reply.stopped is None and reply.finish_reason != "length":
                return reply, terms
            changed = None if asks > _CHANGES or not self.calls_left else await self._changed(terms, asked, reply, asks)
            if changed is None:
                raise Permanent(ParkReason.ANSWER_TOO_LONG, _no_end(reply, asks))
            terms = changed
        raise AssertionError

    async def _changed(self, terms: Terms, asked: Prompt, reply: Reply, times: int) -> Terms | None:
        """Terms on which what had no end may have one."""
        if reply.stopped is not None:
            return terms.after_runaway(times)
        prompt_tokens = reply.usage.prompt_tokens or self._window.likely(await self._page.messages(asked))
        room = await self._window.room_beside(prompt_tokens, deadline=self._deadline, trace=self._trace)
        in_time = tokens_in_time(
            terms.max_tokens, took_seconds=self._generated_seconds, attempt_seconds=self._bounds.attempt_seconds
        )
        return terms.after_cut(reply.text, room=min(room, in_time))

    async def _ask_fitted(self, prompt: Prompt, shape: CompiledSchema, terms: Terms) -> Reply:
        """Ask with as much of the page as fits. A refusal may mean that the ratio was wrong: then count, and cut."""
        messages = await self._page.messages(prompt)
        try:
            return await self._ask(messages, shape, terms)
        except Permanent as refusal:
            if refusal.reason is not ParkReason.MODEL_REFUSED or not self.calls_left:
                raise
            shorter = await self._page.messages(prompt, count=True)
            if shorter == messages:
                raise
            return await self._ask(shorter, shape, terms)

    async def _ask(self, messages: list[Message], shape: CompiledSchema, terms: Terms) -> Reply:
        trace = self._trace
        trace.calls += 1
        generated = trace.spent("generate")
        reply = await self._model.chat(
            messages,
            max_tokens=terms.max_tokens,
            response_format=shape.response_format,
            sampling=terms.sampling,
            max_depth=shape.depth,
            deadline=self._deadline,
            trace=trace,
        )
        self._generated_seconds = trace.spent("generate") - generated
        if reply.stopped is None:
            trace.usage += reply.usage
        else:  # the server counts at the end of an answer, and there was none
            trace.usage += replace(reply.usage, prompt_tokens=self._window.likely(messages))
        trace.model = reply.model
        trace.answer = reply.text
        self._window.learn(messages, reply)
        return reply


def _no_end(reply: Reply, asks: int) -> str:
    how = f"ran away in {reply.stopped}" if reply.stopped else "was cut off"
    times = f", {asks} times" if asks > 1 else ""
    return f"the answer {how} after {reply.usage.completion_tokens} tokens{times} (VLLM_MAX_TOKENS)"
