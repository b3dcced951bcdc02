"""The conversation with the model about one page: ask, check, and at most ask again for what was wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from scraper.deadline import Deadline
from scraper.errors import Held, Permanent
from scraper.events import Observe, SettingWarning, ignore
from scraper.models import Document, Extraction, Json, ParkReason, Task, Usage
from scraper.pipeline.budget import UNKNOWN_CONTEXT_TOKENS, TokenRatio, cut, keep_chars, prompt_size, text_size
from scraper.pipeline.prompt import Message, Prompt, prompt_for
from scraper.pipeline.schema import CompiledSchema, compile_schema
from scraper.pipeline.validate import parse, violations
from scraper.trace import Trace

HELD_AFTER_SECONDS = 60.0  # as long as after any outage
_CUTS = 3  # a second cut is rare, a third is for servers whose count and context disagree


class Reply(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def usage(self) -> Usage: ...


class ServedModel(Protocol):
    @property
    def max_model_len(self) -> int | None: ...


class Model(Protocol):
    """What of the model client is used here."""

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        response_format: Mapping[str, Json],
        deadline: Deadline,
        trace: Trace,
    ) -> Reply: ...

    async def served_model(self, *, deadline: Deadline, trace: Trace) -> ServedModel: ...

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """Tokens of the prompt with its chat template; None where the server cannot say."""
        ...


class Extractor:
    """Turns documents into data that satisfies their task's schema, or says why not."""

    def __init__(
        self,
        model: Model,
        *,
        max_tokens: int,
        context_tokens: int = 0,
        repair_rounds: int = 1,
        max_calls: int = 12,
        observe: Observe = ignore,
    ) -> None:
        """`max_tokens` bounds an answer; `context_tokens` of 0 asks the server for the length of its context."""
        self._model = model
        self._max_tokens = max_tokens
        self._context_tokens = context_tokens
        self._asks = max(1, min(1 + repair_rounds, max_calls))
        self._observe = observe
        self._warned: set[str] = set()
        self._ratio = TokenRatio()

    async def extract(self, document: Document, task: Task, *, deadline: Deadline, trace: Trace) -> Extraction:
        """Ask until the answer fits the schema. What it cost and the last answer are in `trace`, whatever happens.

        Raises Permanent (bad schema, answer no JSON, cut off, or still wrong after its repair), and what asking raises.
        """
        schema = compile_schema(task.schema)
        address = trace.url or task.url or task.base_url or ""
        prompt = prompt_for(schema, instructions=task.instructions, address=address)
        wrong: tuple[str, ...] = ()
        for _ in range(self._asks):
            reply = await self._ask_fitted(prompt, document.text, schema, deadline=deadline, trace=trace)
            trace.enter("validate")
            data = _data(reply)
            wrong = violations(schema, data)
            if not wrong:
                return Extraction(data, reply.model)
            prompt = prompt.repaired(reply.text, wrong)
        asks = "" if self._asks == 1 else f" after {self._asks} asks"
        raise Permanent(ParkReason.SCHEMA_INVALID, f"the answer does not fit the schema{asks}: {'; '.join(wrong[:3])}")

    async def _ask_fitted(
        self, prompt: Prompt, page: str, schema: CompiledSchema, *, deadline: Deadline, trace: Trace
    ) -> Reply:
        """Ask with as much of the page as fits. A refusal may mean that the ratio was wrong: then count, and cut."""
        messages = await self._fitted(prompt, page, deadline=deadline, trace=trace)
        try:
            return await self._ask(messages, schema, deadline=deadline, trace=trace)
        except Permanent as refusal:
            if refusal.reason is not ParkReason.MODEL_REFUSED:
                raise
            shorter = await self._fitted(prompt, page, deadline=deadline, trace=trace, count=True)
            if shorter == messages:
                raise
            return await self._ask(shorter, schema, deadline=deadline, trace=trace)

    async def _ask(self, messages: list[Message], schema: CompiledSchema, *, deadline: Deadline, trace: Trace) -> Reply:
        trace.calls += 1
        reply = await self._model.chat(
            messages,
            max_tokens=self._max_tokens,
            response_format=schema.response_format,
            deadline=deadline,
            trace=trace,
        )
        trace.usage += reply.usage
        trace.model = reply.model
        trace.answer = reply.text
        self._ratio.learn(reply.model, prompt_size(messages), prompt_tokens=reply.usage.prompt_tokens)
        return reply

    async def _fitted(
        self, prompt: Prompt, page: str, *, deadline: Deadline, trace: Trace, count: bool = False
    ) -> list[Message]:
        """The messages, with as much of the page as fits; what did not is recorded in `trace.cut`.

        With `count`, by the server's count even where the ratio says that all of it fits.
        """
        messages = prompt.messages(page)
        limit = await self._prompt_limit(deadline, trace)
        if not count and self._ratio.at_most(prompt_size(messages)) <= limit:
            return messages
        keep = len(page)
        shown = page
        for _ in range(_CUTS + 1):
            tokens = await self._count(messages)
            if tokens <= limit:
                return messages
            share = text_size(shown).total / max(1, prompt_size(messages).total)
            keep = keep_chars(keep, page_share=share, tokens=tokens, limit=limit)
            if keep == 0:
                break
            kept = cut(page, keep=keep)
            shown = kept.text
            trace.cut = {"kept_chars": kept.kept_chars, "dropped_chars": kept.dropped_chars, "limit_tokens": limit}
            messages = prompt.messages(shown)
        raise Permanent(
            ParkReason.TOO_LARGE,
            f"schema and instructions leave no room for the page in the {limit} tokens a prompt may have",
        )

    async def _prompt_limit(self, deadline: Deadline, trace: Trace) -> int:
        """Tokens that a prompt may have. A setting that leaves none is nobody's task's fault: Held."""
        context: int | None = self._context_tokens
        if not context:
            context = (await self._model.served_model(deadline=deadline, trace=trace)).max_model_len
        if not context:
            assumed = (
                f"the server does not tell its context length; {UNKNOWN_CONTEXT_TOKENS} tokens are assumed: set it"
            )
            self._warn("VLLM_CONTEXT_TOKENS", assumed)
        limit = (context or UNKNOWN_CONTEXT_TOKENS) - self._max_tokens
        if limit <= 0:
            no_room = f"{self._max_tokens} tokens for an answer leave no room for a page in {context}: lower it"
            self._warn("VLLM_MAX_TOKENS", no_room)
            raise Held(f"VLLM_MAX_TOKENS: {no_room}", after_seconds=HELD_AFTER_SECONDS)
        return limit

    def _warn(self, setting: str, message: str) -> None:
        if setting not in self._warned:
            self._warned.add(setting)
            self._observe(SettingWarning(setting, message))

    async def _count(self, messages: list[Message]) -> int:
        counted = await self._model.count_tokens(messages)
        return self._ratio.likely(prompt_size(messages)) if counted is None else counted


def _data(reply: Reply) -> Json:
    if reply.finish_reason == "length":
        raise Permanent(
            ParkReason.ANSWER_TOO_LONG,
            f"the answer was cut off after {reply.usage.completion_tokens} tokens (VLLM_MAX_TOKENS)",
        )
    return parse(reply.text)
