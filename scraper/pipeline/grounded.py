"""What becomes of an answer whose values do not all stand on the page.

answer ─▶ look every value up ─┬─ flag: keep it, and say which ──────────────────▶ Grounded
                               └─ strict: ask once for those ─▶ leave out the rest ▶ Grounded, or Permanent
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from scraper.errors import Permanent
from scraper.models import Json, ParkReason
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding.verdict import Verdict, better, judge, properties, pruned
from scraper.pipeline.prompt import Prompt
from scraper.pipeline.schema import CompiledSchema, narrowed

T = TypeVar("T")
Mode: TypeAlias = Literal["flag", "strict", "off"]

MAX_TOLD: Final = 40  # places that a question names; a model does not heed more
LARGE_CHARS: Final = 128 * 1024  # of a page that is looked through in a thread: thousands of values may take seconds


class Asks(Protocol):
    """What of the conversation is used here."""

    @property
    def calls_left(self) -> int: ...

    async def answer(self, prompt: Prompt, shape: CompiledSchema) -> Json: ...


@dataclass(frozen=True, slots=True)
class Grounded:
    """Data, what is known of each of its values, and the places of those that do not stand on the page."""

    data: Json
    fields: Mapping[str, Json] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()  # with `strict` they are no longer in the data


async def grounded(
    data: Json,
    schema: CompiledSchema,
    page: PageIndex,
    *,
    mode: Mode,
    model: Asks,
    prompt: Prompt,
    known: Mapping[str, Json] | None = None,
) -> Grounded:
    """`data`, which fits `schema` and is the answer to `prompt`, checked against its page.

    `known` are the fields whose values come from elsewhere. Raises Permanent(UNSUPPORTED) where a required value does
    not stand on the page and `mode` is strict, and what asking raises.
    """
    if mode == "off":
        return Grounded(data, known or {})
    judge_of = partial(judge, schema=schema.schema, page=page, known=known)
    verdict = await _made(partial(judge_of, data), page)
    if mode == "flag" or not verdict.unfounded:
        return Grounded(data, verdict.fields, verdict.unsupported)
    if model.calls_left:
        names = properties(verdict.unfounded)
        shape = narrowed(schema, names) or schema
        asked = prompt.followed_by(json.dumps(data, ensure_ascii=False), _question(verdict, narrow=shape is not schema))
        new = await _answer(model, asked, shape)
        merged = await _made(partial(better, data, new, names, judge_of=judge_of), page)
        data = merged if schema.validator.is_valid(merged) else data
        verdict = await _made(partial(judge_of, data), page)
    left = pruned(data, verdict.unfounded, fits=schema.validator.is_valid)
    if left is None:
        raise Permanent(ParkReason.UNSUPPORTED, f"required values do not stand on the page: {_names(verdict, schema)}")
    return Grounded(left, (await _made(partial(judge_of, left), page)).fields, verdict.unsupported)


async def _made(work: Callable[[], T], page: PageIndex) -> T:
    """What `work` gives, without keeping the event loop from its leases and heartbeats."""
    return await asyncio.to_thread(work) if page.chars > LARGE_CHARS else work()


async def _answer(model: Asks, prompt: Prompt, shape: CompiledSchema) -> Json:
    """The answer to a further question; none where there was none that fits, since the first one still stands."""
    try:
        return await model.answer(prompt, shape)
    except Permanent:
        return None


def _question(verdict: Verdict, *, narrow: bool) -> str:
    listed = "\n".join(f"- {each}" for each in verdict.unsupported[:MAX_TOLD])
    form = "a JSON object that has only the properties with these values" if narrow else "the whole JSON value"
    return (
        f"These values of that answer do not stand on the page:\n{listed}\n"
        f"Answer with {form}. Write each as the page writes it; what the page does not say is null where the schema "
        "allows null, and left out where it is not required."
    )


def _names(verdict: Verdict, schema: CompiledSchema) -> str:
    """The properties, for an error: one that is not in the schema was made up by the model."""
    known = schema.schema.get("properties")
    names = (name if isinstance(known, dict) and name in known else "*" for name in properties(verdict.unfounded))
    return ", ".join(dict.fromkeys(f"#/{name}" for name in names)) or "#"
