"""The same question is answered once: an unchanged page costs no second call, two equal tasks at a time cost one.

What decides an answer is its key: the document, the address, schema, instructions and rules of the prompt, the model's
name, the settings the model is asked with, and the version of this program. Only answers that were validated are kept.
Within a process whoever asks the same waits for the first; two processes that ask the same at the same moment both ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Final

from scraper import __version__
from scraper.deadline import Deadline
from scraper.errors import Held, Unavailable
from scraper.json_text import write_json
from scraper.models import Document, Extraction, Json, Task
from scraper.pipeline import Extract
from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import compile_schema
from scraper.ports import Answers
from scraper.trace import Trace

HELD_AFTER_SECONDS: Final = 5.0


class AnswerOnce:
    """`extract`, but for what was answered before."""

    def __init__(
        self,
        extract: Extract,
        *,
        answers: Answers,
        model_name: Callable[[], Awaitable[str | None]],
        asked_with: Mapping[str, Json],
    ) -> None:
        """`model_name`: None while nobody knows it, and then nothing is looked up. `asked_with`: the settings."""
        self._extract = extract
        self._answers = answers
        self._model_name = model_name
        self._asked_with = asked_with
        self._asking: dict[bytes, asyncio.Event] = {}

    async def extract(self, document: Document, task: Task, *, deadline: Deadline, trace: Trace) -> Extraction:
        """Data that fits the task's schema; raises as extracting does. `trace.cached` says that it cost no call."""
        model = await self._model_name()
        if model is None:
            return await self._extract.extract(document, task, deadline=deadline, trace=trace)
        key = self._key(document, task, model=model, trace=trace)
        while (others := self._asking.get(key)) is not None:
            await _wait_for(others, deadline=deadline, trace=trace)
        over = self._asking[key] = asyncio.Event()
        try:
            return await self._found(key, trace) or await self._asked(
                key, document, task, deadline=deadline, trace=trace
            )
        finally:
            del self._asking[key]
            over.set()

    async def _found(self, key: bytes, trace: Trace) -> Extraction | None:
        try:
            answer = await self._answers.find(key)
        except Unavailable:  # whoever stores the result waits for the store, and says so
            return None
        if answer is None:
            return None
        trace.cached = True
        trace.cut = answer["cut"]
        return Extraction(answer["data"], answer["model"], answer["fields"], tuple(answer["unsupported"]))

    async def _asked(
        self, key: bytes, document: Document, task: Task, *, deadline: Deadline, trace: Trace
    ) -> Extraction:
        extraction = await self._extract.extract(document, task, deadline=deadline, trace=trace)
        if trace.calls and not _has_gaps(trace.cut):
            answer = {
                "data": extraction.data,
                "model": extraction.model,
                "fields": extraction.fields,
                "unsupported": extraction.unsupported,
                "cut": trace.cut,
            }
            await self._answers.keep(key, answer)
        return extraction

    def _key(self, document: Document, task: Task, *, model: str, trace: Trace) -> bytes:
        address = trace.url or task.url or task.base_url or ""
        prompt = prompt_for(compile_schema(task.schema), instructions=task.instructions, address=address)
        key = sha256(write_json([__version__, model, self._asked_with, prompt.messages("")]).encode())
        for each in fields(document):
            if each.name != "dropped":
                value = getattr(document, each.name)
                text = (
                    value if isinstance(value, str) else write_json(value)
                )  # as JSON a long text takes thrice as long
                data = text.encode("utf-8", "surrogatepass")
                key.update(b"%d:" % len(data))
                key.update(data)
        return key.digest()


def _has_gaps(cut: Json) -> bool:
    """Whether parts of the page could not be read this time; the next time they may."""
    return isinstance(cut, dict) and bool(cut.get("unread_parts"))


async def _wait_for(others: asyncio.Event, *, deadline: Deadline, trace: Trace) -> None:
    """Until whoever asks the same has ended, with an answer or without one. Raises Held where that takes too long."""
    trace.enter("generate")
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(deadline.hold_left):
            await others.wait()
    except TimeoutError:
        raise Held("the same is being asked for another task", after_seconds=HELD_AFTER_SECONDS) from None
    finally:
        waited = clock() - began
        deadline.waited(waited, held_seconds=waited)
