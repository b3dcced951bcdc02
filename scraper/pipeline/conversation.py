"""All that is asked of the model for one task: prompts that fit its context, asks that are counted, answers that fit.

    answer = ask → validate → (repair: ask → validate)

Whatever is asked, the calls of a task together never exceed `max_calls`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.models import Document, Json, ParkReason
from scraper.pipeline.budget import cut, keep_chars, prompt_size, text_size
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.model import Model, Reply
from scraper.pipeline.prompt import Message, Prompt
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.validate import parse, violations
from scraper.trace import Trace

_CUTS = 3  # a second cut is rare, a third is for servers whose count and context disagree


@dataclass(frozen=True, slots=True)
class Bounds:
    """What asking may cost: tokens of an answer, repairs of an answer, calls of a task."""

    max_tokens: int
    repair_rounds: int = 1
    max_calls: int = 12


class Conversation:
    """One task's. What it costs and the last answer are left in `trace`, whatever happens."""

    def __init__(
        self,
        model: Model,
        window: ContextWindow,
        document: Document,
        *,
        bounds: Bounds,
        deadline: Deadline,
        trace: Trace,
    ) -> None:
        self._model = model
        self._window = window
        self._page = document.text
        self._bounds = bounds
        self._deadline = deadline
        self._trace = trace

    @property
    def calls_left(self) -> int:
        return max(0, self._bounds.max_calls - self._trace.calls)

    async def answer(self, prompt: Prompt, shape: CompiledSchema) -> Json:
        """An answer to `prompt` that fits `shape`, to which the model's grammar is held as well.

        Raises Permanent (no JSON, cut off, or still wrong after its repairs), and what asking raises.
        """
        asks = 0
        wrong: tuple[str, ...] = ("the task has spent its calls",)
        while self.calls_left and asks <= self._bounds.repair_rounds:
            reply = await self._ask_fitted(prompt, shape)
            asks += 1
            self._trace.enter("validate")
            data = _data(reply)
            wrong = violations(shape, data)
            if not wrong:
                return data
            prompt = prompt.repaired(reply.text, wrong)
        after = f" after {asks} asks" if asks > 1 else ""
        raise Permanent(ParkReason.SCHEMA_INVALID, f"the answer does not fit the schema{after}: {'; '.join(wrong[:3])}")

    async def _ask_fitted(self, prompt: Prompt, shape: CompiledSchema) -> Reply:
        """Ask with as much of the page as fits. A refusal may mean that the ratio was wrong: then count, and cut."""
        messages = await self._fitted(prompt)
        try:
            return await self._ask(messages, shape)
        except Permanent as refusal:
            if refusal.reason is not ParkReason.MODEL_REFUSED or not self.calls_left:
                raise
            shorter = await self._fitted(prompt, count=True)
            if shorter == messages:
                raise
            return await self._ask(shorter, shape)

    async def _ask(self, messages: list[Message], shape: CompiledSchema) -> Reply:
        trace = self._trace
        trace.calls += 1
        reply = await self._model.chat(
            messages,
            max_tokens=self._bounds.max_tokens,
            response_format=shape.response_format,
            deadline=self._deadline,
            trace=trace,
        )
        trace.usage += reply.usage
        trace.model = reply.model
        trace.answer = reply.text
        self._window.learn(messages, reply)
        return reply

    async def _fitted(self, prompt: Prompt, *, count: bool = False) -> list[Message]:
        """The messages, with as much of the page as fits; what did not is recorded in `trace.cut`.

        With `count`, by the server's count even where the ratio says that all of it fits.
        """
        messages = prompt.messages(self._page)
        limit = await self._window.prompt_limit(deadline=self._deadline, trace=self._trace)
        if not count and self._window.surely_within(limit, messages):
            return messages
        keep = len(self._page)
        shown = self._page
        for _ in range(_CUTS + 1):
            tokens = await self._window.count(messages)
            if tokens <= limit:
                return messages
            share = text_size(shown).total / max(1, prompt_size(messages).total)
            keep = keep_chars(keep, page_share=share, tokens=tokens, limit=limit)
            if keep == 0:
                break
            kept = cut(self._page, keep=keep)
            shown = kept.text
            self._trace.cut = {
                "kept_chars": kept.kept_chars,
                "dropped_chars": kept.dropped_chars,
                "limit_tokens": limit,
            }
            messages = prompt.messages(shown)
        raise Permanent(
            ParkReason.TOO_LARGE,
            f"schema and instructions leave no room for the page in the {limit} tokens a prompt may have",
        )


def _data(reply: Reply) -> Json:
    if reply.finish_reason == "length":
        raise Permanent(
            ParkReason.ANSWER_TOO_LONG,
            f"the answer was cut off after {reply.usage.completion_tokens} tokens (VLLM_MAX_TOKENS)",
        )
    return parse(reply.text)
