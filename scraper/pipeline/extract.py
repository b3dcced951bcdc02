"""From a document to data, on one screen: what is known, what is asked of the model, what becomes of the answer.

    document ─▶ what its own data says ─▶ ask for what is missing ─▶ validate ─▶ (repair) ─▶ merge
             ─▶ ground on the page ─▶ Extraction

Each step but the asking is a pure function of what the step before it made; the asking is a `Conversation`. Where
nothing is missing, nothing is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from scraper.deadline import Deadline
from scraper.errors import Permanent
from scraper.events import Observe, ignore
from scraper.models import Document, Extraction, Json, ParkReason, Task
from scraper.pipeline.context_window import ContextWindow
from scraper.pipeline.conversation import Bounds, Conversation
from scraper.pipeline.grounded import Mode, grounded
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.ladder import Ladder
from scraper.pipeline.model import Model
from scraper.pipeline.prompt import Prompt, prompt_for
from scraper.pipeline.schema import CompiledSchema, compile_schema, narrowed
from scraper.pipeline.structured.known import Known, known_values
from scraper.pipeline.structured.merge import about_the_rest, merged, missing, settled, with_hints
from scraper.trace import Trace

Use: TypeAlias = Literal["first", "hint", "off"]
"""first: what is certain is taken, and only the rest asked for · hint: everything is asked for, and told what the data
says. A task with instructions is asked with hints: they may change what a field means."""


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
        structured_data: Use = "first",
        grounding: Mode = "flag",
        observe: Observe = ignore,
    ) -> None:
        """`max_tokens` bounds an answer; `context_tokens` of 0 asks the server for the length of its context."""
        self._model = model
        self._structured_data: Use = structured_data
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
        trace.enter("validate")
        known = known_values(document, schema) if self._structured_data != "off" else Known()
        sure = Known() if self._structured_data == "hint" or task.instructions else settled(known, schema)
        data, taken = await _answer(model, prompt, schema, known=known, sure=sure)
        page = PageIndex(document.text, title=document.title, address=address, base_url=task.base_url or "")
        found = await grounded(data, schema, page, mode=self._grounding, model=model, prompt=prompt, known=taken)
        return Extraction(found.data, trace.model, found.fields, found.unsupported)


async def _answer(
    model: Conversation, prompt: Prompt, schema: CompiledSchema, *, known: Known, sure: Known
) -> tuple[Json, Mapping[str, Json]]:
    """Data that fits the schema, and where those of its fields come from that the model was not asked for.

    `sure` is taken as it is and the model asked for the rest; if both do not fit together, it is asked for everything.
    """
    names = missing(sure, schema)
    rest = narrowed(schema, names) if sure and names else None
    if sure and (rest or not names):
        asked = prompt.asking(about_the_rest(sure, names))
        data = merged(sure, await model.answer(asked, rest) if rest else {}, schema)
        if schema.validator.is_valid(data):
            return data, sure.fields
        if not model.calls_left:
            what = "what the page's data says and the answer to the rest do not fit the schema together"
            raise Permanent(ParkReason.SCHEMA_INVALID, f"{what} (MAX_CALLS_PER_TASK)")
    return await model.answer(prompt.asking(with_hints(known)) if known else prompt, schema), {}
