"""All that is asked of the model for one task: prompts that fit its context, asks that are counted, answers that fit.

    answer = ask → (no end to it: ask on other terms) → validate → (repair: ask → validate)
    list   = answer, or where that is too long: split → answer each part → merge → validate

Whatever is asked, the calls of one delivery together never exceed `max_calls`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, replace

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.models import Json, ParkReason
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.fitting import Fitting, Part, Sheet, TooLong
from scraper.pipeline.ladder import Ladder
from scraper.pipeline.model import Model, Reply
from scraper.pipeline.parts import lists_things, merged, of_a_part, parts_needed, split
from scraper.pipeline.prompt import Message, Prompt
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.terms import Terms, first_terms, tokens_in_time
from scraper.pipeline.validate import parse, violations
from scraper.trace import Trace

_PART = (
    "Only a part of the page is shown. Answer with what this part says, and leave out what it does not say; an item "
    "that is cut off at its beginning or end stands whole in another part."
)
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
        self._ladder = ladder
        self._page = Fitting(window, ladder, deadline=deadline, trace=trace)
        self._bounds = bounds
        self._deadline = deadline
        self._trace = trace
        self._generated_seconds = 0.0  # from the last answer's first token to its end
        self._enough_tokens = bounds.max_tokens  # for an answer like those so far

    @property
    def calls_left(self) -> int:
        return max(0, self._bounds.max_calls - self._trace.calls)

    async def answer(self, prompt: Prompt, shape: CompiledSchema) -> Json:
        """An answer to `prompt` that fits `shape`, to which the model's grammar is held as well.

        A list that is too long for one answer, or whose page is too long for one prompt, is read in parts. Raises
        Permanent (no JSON, no end to it, or still wrong after its repairs), and what asking raises.
        """
        if not lists_things(shape.schema) or self.calls_left < 2:
            return await self._answer(self._page, prompt, shape)
        page = Fitting(self._window, self._ladder, deadline=self._deadline, trace=self._trace, in_parts=True)
        try:
            return await self._answer(page, prompt, shape)
        except TooLong as found:
            text, parts = page.text, found.parts
            if parts > self.calls_left and len(main := self._ladder.main().text) < len(text):
                text, parts = main, math.ceil(parts * len(main) / len(text))
            return await self._answer_in_parts(text, parts, prompt, shape)
        except Permanent as error:
            if error.reason is not ParkReason.ANSWER_TOO_LONG or not page.can_be_split or not self.calls_left:
                raise
            return await self._answer_in_parts(page.text, self._parts_after(error, page.text), prompt, shape)

    async def _answer_in_parts(self, text: str, parts: int, prompt: Prompt, shape: CompiledSchema) -> Json:
        """One answer, merged of those to all parts that the calls of the task allow to read."""
        head, asked, loose = self._ladder.head(), prompt.reminded(_PART), of_a_part(shape)
        waiting = deque(split(text, parts))
        answers: list[Json] = []
        unread: list[str] = []
        trouble = Permanent(ParkReason.ANSWER_TOO_LONG, "the list needs more calls than there are (MAX_CALLS_PER_TASK)")
        while waiting:
            part = waiting.popleft()
            shown = part if not answers and not unread else f"{head}\n\n{part}".strip()
            sheet = Part(shown, self._window, deadline=self._deadline, trace=self._trace)
            try:
                if not self.calls_left:
                    raise trouble
                answers.append(await self._answer(sheet, asked, loose))
            except (TooLong, Permanent) as error:
                if isinstance(error, Permanent) and error.reason is ParkReason.TOO_LARGE:
                    raise  # the prompt alone is: no part would be small enough
                smaller = split(part, self._parts_after(error, part))
                if len(smaller) > 1 and self.calls_left:
                    waiting.extendleft(reversed(smaller))
                    continue
                unread.append(part)
                trouble = error if isinstance(error, Permanent) else trouble
        self._record_parts(text, read=len(answers), unread=unread)
        if not answers:
            raise trouble
        data = merged(answers, shape.schema)
        if wrong := violations(shape, data):
            what = f"what {len(answers)} parts say does not fit the schema together: {'; '.join(wrong[:3])}"
            raise Permanent(ParkReason.SCHEMA_INVALID, what)
        return data

    def _parts_after(self, error: TooLong | Permanent, text: str) -> int:
        """How many parts of `text` may work where all of it did not; 1 where its length is not what was wrong."""
        if isinstance(error, TooLong):
            return error.parts
        return parts_needed(text, self._trace.answer or "") if error.reason is ParkReason.ANSWER_TOO_LONG else 1

    def _record_parts(self, text: str, *, read: int, unread: list[str]) -> None:
        kept = max(0, len(text) - sum(map(len, unread)))
        self._trace.cut = {
            "step": "parts",
            "parts": read + len(unread),
            "unread_parts": len(unread),
            "kept_chars": kept,
            "dropped_chars": self._ladder.chars - kept,
        }

    async def _answer(self, sheet: Sheet, prompt: Prompt, shape: CompiledSchema) -> Json:
        terms = replace(first_terms(self._bounds.max_tokens), max_tokens=self._enough_tokens)
        for asks in itertools.count(1):
            reply, terms = await self._whole_reply(sheet, prompt, shape, terms)
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

    async def _whole_reply(
        self, sheet: Sheet, prompt: Prompt, shape: CompiledSchema, terms: Terms
    ) -> tuple[Reply, Terms]:
        """A reply that came to its end, and the terms on which it did. Raises Permanent where none will."""
        for asks in itertools.count(1):
            asked = prompt.reminded(terms.reminder)
            reply = await self._ask_fitted(sheet, asked, shape, terms)
            if reply.stopped is None and reply.finish_reason != "length":
                self._enough_tokens = max(self._enough_tokens, terms.max_tokens)
                return reply, terms
            changed = None
            if asks <= _CHANGES and self.calls_left and (reply.stopped is not None or not sheet.can_be_split):
                changed = await self._changed(sheet, terms, asked, reply, asks)
            if changed is None:
                raise Permanent(ParkReason.ANSWER_TOO_LONG, _no_end(reply, asks))
            terms = changed
        raise AssertionError

    async def _changed(self, sheet: Sheet, terms: Terms, asked: Prompt, reply: Reply, times: int) -> Terms | None:
        """Terms on which what had no end may have one."""
        if reply.stopped is not None:
            return terms.after_runaway(times)
        prompt_tokens = reply.usage.prompt_tokens or self._window.likely(await sheet.messages(asked))
        room = await self._window.room_beside(prompt_tokens, deadline=self._deadline, trace=self._trace)
        in_time = tokens_in_time(
            terms.max_tokens, took_seconds=self._generated_seconds, attempt_seconds=self._bounds.attempt_seconds
        )
        return terms.after_cut(reply.text, room=min(room, in_time))

    async def _ask_fitted(self, sheet: Sheet, prompt: Prompt, shape: CompiledSchema, terms: Terms) -> Reply:
        """Ask with as much of the page as fits. A refusal may mean that the ratio was wrong: then count, and cut."""
        messages = await sheet.messages(prompt)
        terms = await self._beside(messages, terms)
        try:
            return await self._ask(messages, shape, terms)
        except Permanent as refusal:
            if refusal.reason is not ParkReason.MODEL_REFUSED or not self.calls_left:
                raise
            shorter = await sheet.messages(prompt, count=True)
            if shorter == messages:
                raise
            return await self._ask(shorter, shape, terms)

    async def _beside(self, messages: list[Message], terms: Terms) -> Terms:
        """`terms` with no more tokens than fit beside `messages`: a longer answer's prompt has grown by a repair."""
        least = self._bounds.max_tokens
        if terms.max_tokens <= least:
            return terms
        prompt_tokens = self._window.likely(messages)
        room = await self._window.room_beside(prompt_tokens, deadline=self._deadline, trace=self._trace)
        return replace(terms, max_tokens=max(least, min(terms.max_tokens, room)))

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
