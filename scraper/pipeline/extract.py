"""From a document to data, on one screen: what is known, what is asked of the model, what becomes of the answer.

    document ─▶ ask for what is missing ─▶ validate ─▶ (repair) ─▶ ground on the page ─▶ Extraction

Each step but the asking is a pure function of what the step before it made; the asking is a `Conversation`.
"""

from __future__ import annotations

from scraper.deadline import Deadline
from scraper.events import Observe, ignore
from scraper.models import Document, Extraction, Task
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.conversation import Bounds, Conversation
from scraper.pipeline.grounded import Mode, grounded
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.ladder import Ladder
from scraper.pipeline.model import Model
from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import compile_schema
from scraper.trace import Trace


class Extractor:
    """Turns documents into data that satisfies their task's schema, or says why not."""

    def __init__(
        self,
        model: Model,
        *,
        max_tokens: int,
        context_tokens: int = 0,
        attempt_seconds: float = 120.0,
        repair_rounds: int = 1,
        max_calls: int = 12,
        grounding: Mode = "flag",
        observe: Observe = ignore,
    ) -> None:
        """`max_tokens` bounds an answer; `context_tokens` of 0 asks the server for the length of its context."""
        self._model = model
        self._grounding: Mode = grounding
        self._bounds = Bounds(max_tokens, attempt_seconds, repair_rounds=repair_rounds, max_calls=max_calls)
        self._window = ContextWindow(model, max_tokens=max_tokens, context_tokens=context_tokens, observe=observe)

    async def extract(self, document: Document, task: Task, *, deadline: Deadline, trace: Trace) -> Extraction:
        """Data that fits the task's schema. What it cost and the last answer are in `trace`, whatever happens.

        Raises Permanent (bad schema, answer no JSON, cut off, still wrong after its repair, or not from the page where
        `grounding` is strict), and what asking raises.
        """
        schema = compile_schema(task.schema)
        address = trace.url or task.url or task.base_url or ""
        prompt = prompt_for(schema, instructions=task.instructions, address=address)
        ladder = Ladder(document, schema.schema, task.instructions)
        model = Conversation(self._model, self._window, ladder, bounds=self._bounds, deadline=deadline, trace=trace)
        data = await model.answer(prompt, schema)
        page = PageIndex(document.text, title=document.title, address=address, base_url=task.base_url or "")
        found = await grounded(data, schema, page, mode=self._grounding, model=model, prompt=prompt)
        return Extraction(found.data, trace.model, found.fields, found.unsupported)
