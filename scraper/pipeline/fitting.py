"""As much of a page as fits beside a prompt: a rung of the ladder is taken only where the one above it is too long.

Whether a prompt fits is mostly known without asking (see budget.py); else the server counts it, once per rung.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.budget import keep_chars, prompt_size, text_size
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.ladder import Ladder, Rung
from scraper.pipeline.parts import split
from scraper.pipeline.prompt import Message, Prompt
from scraper.trace import Trace

LONG_BYTES: Final = 10_000  # 2,500 to 3,500 tokens: from here on the frame costs more than it is worth
LARGE_CHARS: Final = 128 * 1024  # of a page whose lines are told apart in a thread: that may take 50 ms
NEARLY: Final = 1.15  # times what fits, as far as can be told from the rung above: worth counting
_TRIES: Final = 6  # two rungs and the passages; more passages are for servers whose count and context disagree


class TooLong(Exception):
    """What is to be read in parts does not fit as it is; `parts` of it would."""

    def __init__(self, parts: int) -> None:
        super().__init__(f"does not fit; {parts} parts would")
        self.parts = parts


class Sheet(Protocol):
    """What of a page is put before the model, and made shorter as it must be."""

    @property
    def can_be_split(self) -> bool: ...

    async def messages(self, prompt: Prompt, *, count: bool = False) -> list[Message]:
        """`prompt` with what fits of the page.

        With `count`, by the server's count even where the ratio says that all of it fits. Raises Permanent(TOO_LARGE)
        where nothing does, and TooLong where it is to be split instead of shortened.
        """
        ...


class Fitting:
    """A page that goes down the ladder as far as it must; what is left out is recorded in `trace.cut`.

    Once shortened it stays so: later prompts begin like the earlier ones. With `in_parts` it loses no more than its
    frame.
    """

    def __init__(
        self, window: ContextWindow, ladder: Ladder, *, deadline: Deadline, trace: Trace, in_parts: bool = False
    ) -> None:
        self._window = window
        self._ladder = ladder
        self._deadline = deadline
        self._trace = trace
        self._in_parts = in_parts
        self._rung: Rung | None = None

    @property
    def can_be_split(self) -> bool:
        return self._in_parts and len(split(self.text, 2)) > 1

    @property
    def text(self) -> str:
        """What was shown last."""
        return (self._rung or self._ladder.whole()).text

    async def messages(self, prompt: Prompt, *, count: bool = False) -> list[Message]:
        """See Sheet."""
        limit = await self._window.prompt_limit(deadline=self._deadline, trace=self._trace)
        rung = self._rung or await self._first()
        messages = prompt.messages(rung.text)
        if not count and self._window.surely_within(limit, messages):
            return self._shown(rung, messages, limit)
        for _ in range(_TRIES):
            tokens = await self._window.count(messages, trace=self._trace)
            if tokens <= limit:
                return self._shown(rung, messages, limit)
            keep = _keep(rung.text, messages, tokens=tokens, limit=limit)
            if keep == 0:
                break
            lower = await self._below(rung, keep)
            if self._in_parts and len(lower.text) >= len(rung.text):
                self._rung = rung
                raise TooLong(math.ceil(len(rung.text) / keep))
            rung = lower
            messages = prompt.messages(rung.text)
        raise _no_room(limit)

    async def _first(self) -> Rung:
        """The whole page, but for the frame of a long one."""
        whole = self._ladder.whole()
        if len(whole.text) < LONG_BYTES and text_size(whole.text).total < LONG_BYTES:
            return whole
        return await self._made(self._ladder.without_frame)

    async def _below(self, rung: Rung, keep: int) -> Rung:
        """The next rung that may fit, when about `keep` characters of this one would."""
        if self._in_parts:
            return await self._made(self._ladder.without_frame)
        steps = {"whole": [self._ladder.without_frame, self._ladder.main], "frame": [self._ladder.main]}
        for step in steps.get(rung.step, []):
            lower = await self._made(step)
            if len(lower.text) < len(rung.text) and len(lower.text) <= NEARLY * keep:
                return lower
        return await self._made(partial(self._ladder.passages, keep))

    async def _made(self, step: Callable[[], Rung]) -> Rung:
        return await asyncio.to_thread(step) if self._ladder.chars > LARGE_CHARS else step()

    def _shown(self, rung: Rung, messages: list[Message], limit: int) -> list[Message]:
        self._rung = rung
        read_in_parts = self._trace.cut is not None and self._trace.cut["step"] == "parts"
        if rung.dropped_chars and not read_in_parts:  # a further question about what was read whole says nothing new
            kept = self._ladder.chars - rung.dropped_chars
            self._trace.cut = {
                "step": rung.step,
                "kept_chars": kept,
                "dropped_chars": rung.dropped_chars,
                "limit_tokens": limit,
            }
        return messages


class Part:
    """A part of a page, which is shown whole or split again."""

    def __init__(self, text: str, window: ContextWindow, *, deadline: Deadline, trace: Trace) -> None:
        self.text = text
        self._window = window
        self._deadline = deadline
        self._trace = trace

    @property
    def can_be_split(self) -> bool:
        return len(split(self.text, 2)) > 1

    async def messages(self, prompt: Prompt, *, count: bool = False) -> list[Message]:
        """See Sheet."""
        limit = await self._window.prompt_limit(deadline=self._deadline, trace=self._trace)
        messages = prompt.messages(self.text)
        if not count and self._window.surely_within(limit, messages):
            return messages
        tokens = await self._window.count(messages, trace=self._trace)
        if tokens <= limit:
            return messages
        keep = _keep(self.text, messages, tokens=tokens, limit=limit)
        raise TooLong(max(2, math.ceil(len(self.text) / keep))) if keep and self.can_be_split else _no_room(limit)


def _keep(text: str, messages: list[Message], *, tokens: int, limit: int) -> int:
    """How many characters of `text`, which stands in `messages`, may stay; 0 where none may."""
    share = text_size(text).total / max(1, prompt_size(messages).total)
    return keep_chars(len(text), page_share=share, tokens=tokens, limit=limit)


def _no_room(limit: int) -> Permanent:
    return Permanent(
        ParkReason.TOO_LARGE,
        f"schema and instructions leave no room for the page in the {limit} tokens a prompt may have",
    )
