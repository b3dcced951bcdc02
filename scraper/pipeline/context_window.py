"""How long a prompt may be, and how long one is: what the server tells, what its replies have taught, what is set."""

from __future__ import annotations

from collections.abc import Sequence

from scraper.deadline import Deadline
from scraper.errors import Held
from scraper.events import Observe, SettingWarning, ignore
from scraper.pipeline.budget import TEMPLATE_TOKENS, UNKNOWN_CONTEXT_TOKENS, TokenRatio, most_tokens, prompt_size
from scraper.pipeline.model import Model, Reply
from scraper.pipeline.prompt import Message
from scraper.trace import Trace

HELD_AFTER_SECONDS = 60.0  # as long as after any outage


class ContextWindow:
    """The context of the model that answers, shared by all tasks of a process.

    `max_tokens` bounds an answer; `context_tokens` of 0 asks the server for the length of its context.
    """

    def __init__(self, model: Model, *, max_tokens: int, context_tokens: int = 0, observe: Observe = ignore) -> None:
        self._model = model
        self._max_tokens = max_tokens
        self._context_tokens = context_tokens
        self._observe = observe
        self._warned: set[str] = set()
        self._ratio = TokenRatio()

    async def prompt_limit(self, *, deadline: Deadline, trace: Trace) -> int:
        """Tokens that a prompt may have. A setting that leaves none is nobody's task's fault: Held."""
        context = await self._context(deadline, trace)
        limit = context - self._max_tokens
        if limit <= 0:
            no_room = f"{self._max_tokens} tokens for an answer leave no room for a page in {context}: lower it"
            self._warn("VLLM_MAX_TOKENS", no_room)
            raise Held(f"VLLM_MAX_TOKENS: {no_room}", after_seconds=HELD_AFTER_SECONDS)
        return limit

    async def room_beside(self, prompt_tokens: int, *, deadline: Deadline, trace: Trace) -> int:
        """Tokens that an answer to a prompt of about `prompt_tokens` may have at most."""
        return await self._context(deadline, trace) - prompt_tokens - TEMPLATE_TOKENS

    async def _context(self, deadline: Deadline, trace: Trace) -> int:
        context: int | None = self._context_tokens
        if not context:
            with trace.within("first_token"):  # the server's time, not that of cleaning
                context = (await self._model.served_model(deadline=deadline, trace=trace)).max_model_len
        if not context:
            assumed = (
                f"the server does not tell its context length; {UNKNOWN_CONTEXT_TOKENS} tokens are assumed: set it"
            )
            self._warn("VLLM_CONTEXT_TOKENS", assumed)
        return context or UNKNOWN_CONTEXT_TOKENS

    def surely_within(self, limit: int, messages: Sequence[Message]) -> bool:
        """Whether the ratio alone says that `messages` fit: costs no request."""
        return self._ratio.at_most(prompt_size(messages)) <= limit

    async def count(self, messages: Sequence[Message], *, trace: Trace) -> int:
        """Tokens of the prompt, by the server's count where it counts."""
        with trace.within("first_token"):
            counted = await self._model.count_tokens(messages)
        if counted is None or counted > most_tokens(prompt_size(messages)):
            return self.likely(messages)
        return counted

    def likely(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt, by what replies have taught; rather too many."""
        return self._ratio.likely(prompt_size(messages))

    def learn(self, messages: Sequence[Message], reply: Reply) -> None:
        """How many tokens the prompt really had."""
        self._ratio.learn(reply.model, prompt_size(messages), prompt_tokens=reply.usage.prompt_tokens)

    def _warn(self, setting: str, message: str) -> None:
        if setting not in self._warned:
            self._warned.add(setting)
            self._observe(SettingWarning(setting, message))
