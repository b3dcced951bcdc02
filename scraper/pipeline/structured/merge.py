"""A page's own data and the model's answer as one: what is left to ask, how it is asked, and how both are put together.

What the model is told of the schema stays whole and the same for all pages; the known values stand behind the page, and
only the form of its answer is narrowed. Values come from strangers, so they stand between tags that they cannot write.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from scraper.models import Json
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.structured.known import Known
from scraper.pipeline.structured.pointers import is_within, set_at
from scraper.pipeline.structured.wanted import Wanted, wanted

MAX_HINT_CHARS: Final = 4000  # a long description costs more tokens than it saves


def settled(known: Known, schema: CompiledSchema) -> Known:
    """The part of `known` that makes up whole properties of the answer: what need not be asked for."""
    kept = [pointer for each in wanted(schema).fields for pointer in _whole(each, known.values)]
    return Known({each: known.values[each] for each in kept}, {each: known.fields[each] for each in kept})


def missing(known: Known, schema: CompiledSchema) -> list[str]:
    """The properties of the schema that `known`, which is settled, has no part of."""
    return [each.name for each in wanted(schema).fields if not any(is_within(path, each.path) for path in known.values)]


def merged(known: Known, answer: Json, schema: CompiledSchema) -> dict[str, Json]:
    """`answer` with the known values at their places, properties in the schema's order."""
    data = dict(answer) if isinstance(answer, dict) else {}
    for pointer, value in known.values.items():
        set_at(data, pointer, value)
    return _ordered(data, wanted(schema))


def about_the_rest(known: Known, names: Collection[str]) -> str:
    """The question for what is missing."""
    return (
        f"A part of the answer is known, from data that the page carries:\n{_told(known.values)}\n"
        f"Answer with a JSON object that has only the other properties: {json.dumps(list(names), ensure_ascii=False)}."
    )


def with_hints(known: Known) -> str:
    """The question for everything, with what the page's data says."""
    return (
        f"The page carries data that says:\n{_told(known.values)}\n"
        "It may be outdated or mean something else: where the page's text says otherwise, follow the text. "
        "Answer with the whole JSON value."
    )


def _told(values: Mapping[str, Json]) -> str:
    told: dict[str, Json] = {}
    for pointer, value in values.items():
        set_at(told, pointer, value)
    text = json.dumps(told, ensure_ascii=False)
    if len(text) > MAX_HINT_CHARS:
        short = {name: value for name, value in told.items() if len(json.dumps(value)) < MAX_HINT_CHARS // 10}
        text = json.dumps(short, ensure_ascii=False)[:MAX_HINT_CHARS]
    return f"<known>\n{text.replace('<', chr(92) + 'u003c')}\n</known>"


def _whole(field: Wanted, values: Mapping[str, Json]) -> Iterator[str]:
    """The pointers of the values that `field` is made of, if they are all there."""
    if not field.fields:
        if field.path in values:
            yield field.path
        return
    below = [list(_whole(each, values)) for each in field.fields]
    if all(below):
        yield from (pointer for each in below for pointer in each)


def _ordered(data: dict[str, Json], field: Wanted) -> dict[str, Json]:
    fields = {each.name: each for each in field.fields}
    names = [*(name for name in fields if name in data), *(name for name in data if name not in fields)]
    return {
        name: _ordered(value, fields[name]) if isinstance(value := data[name], dict) and name in fields else value
        for name in names
    }
