"""What the owner of a schema should know before a thousand pages are read with it.

A vLLM server makes a grammar of the schema, and the model can write nothing else. What no grammar can say is checked
afterwards only: an answer that breaks it costs a second call. Some keywords make the server refuse the whole request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from scraper.models import Json
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.schema_parts import subschemas
from scraper.pipeline.structured.plan import Asked, plans_for

Verdict: TypeAlias = Literal["refused", "loose", "hint", "data"]

MAX_ENUM: Final = 200
MAX_LISTED: Final = 100
_LEFT_OUT: Final = {
    "uniqueItems": "two equal items are possible",
    "contains": "an array without such an item is possible",
    "minContains": "too few such items are possible",
    "maxContains": "too many such items are possible",
}
"""Refused by the server, so the service leaves them out of the grammar."""

_IGNORED: Final = {
    "not": "what it excludes is possible",
    "if": "conditions are not seen by the grammar",
    "dependentRequired": "which property needs which other is not seen by the grammar",
    "dependentSchemas": "which property needs which other is not seen by the grammar",
    "dependencies": "which property needs which other is not seen by the grammar",
    "minProperties": "fewer properties are possible",
    "maxProperties": "more properties are possible",
    "propertyNames": "other names are possible",
    "unevaluatedProperties": "other properties are possible; additionalProperties: false excludes them",
    "unevaluatedItems": "other items are possible",
}
"""Silently ignored by one of the server's two compilers of grammars, and refused by name by the other."""

_SECOND_COMPILER: Final = ("multipleOf", "patternProperties", "propertyNames")
_FORMATS: Final = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
)
_FIRST_COMPILERS_FORMATS: Final = _FORMATS | {"uri-reference", "uri-template", "json-pointer", "relative-json-pointer"}


@dataclass(frozen=True, slots=True)
class Advice:
    path: str
    verdict: Verdict
    message: str


def advice(schema: CompiledSchema) -> list[Advice]:
    """All that there is to say, refusals first."""
    parts = list(subschemas(schema.schema))
    second = [where for path, part in parts if (where := _second_compiler(path, part))]
    found = [
        *_refusals(parts, second),
        *(each for path, part in parts for each in _loose(path, part)),
        *(each for path, part in parts for each in _hints(path, part)),
        *_recursion(schema),
        *_data(schema),
    ]
    return list(dict.fromkeys(found))[:MAX_LISTED]


def _second_compiler(path: str, part: Mapping[str, Json]) -> str:
    """Where and why the whole schema goes to the server's second compiler, which refuses what the first ignores."""
    keys = [key for key in _SECOND_COMPILER if key in part]
    kind = part.get("format")
    if isinstance(kind, str) and kind not in _FIRST_COMPILERS_FORMATS:
        keys.append(f"format {kind!r}")
    elif ("pattern" in part or isinstance(kind, str)) and not {"minLength", "maxLength"}.isdisjoint(part):
        keys.append("a length beside a pattern or format")
    return f"{path} ({', '.join(keys)})" if keys else ""


def _refusals(parts: list[tuple[str, dict[str, Json]]], second: list[str]) -> Iterator[Advice]:
    if not second:
        return
    for path, part in parts:
        for key in _IGNORED.keys() & part.keys():
            message = f"the model server answers 400: beside {second[0]} its grammar takes no {key}"
            yield Advice(f"{path}/{key}", "refused", message)
        if isinstance(kind := part.get("format"), str) and kind not in _FORMATS:
            message = (
                f"the model server answers 400: it knows no format {kind!r} (known: {', '.join(sorted(_FORMATS))})"
            )
            yield Advice(f"{path}/format", "refused", message)


def _loose(path: str, part: Mapping[str, Json]) -> Iterator[Advice]:
    for key, message in {**_LEFT_OUT, **_IGNORED}.items():
        if key in part and part[key] is not False:
            yield Advice(f"{path}/{key}", "loose", f"cannot be held by a grammar: {message}")
    if isinstance(several := part.get("oneOf"), list) and len(several) > 1:
        yield Advice(f"{path}/oneOf", "loose", "the grammar takes it as anyOf: an answer may fit more than one")
    if isinstance(all_of := part.get("allOf"), list) and len(all_of) > 1:
        yield Advice(f"{path}/allOf", "loose", "several schemas at once are beyond most grammars: write them as one")


def _hints(path: str, part: Mapping[str, Json]) -> Iterator[Advice]:
    named = part.get("properties")
    if isinstance(named, dict) and named:
        if "additionalProperties" not in part and "unevaluatedProperties" not in part:
            yield Advice(path, "hint", "additionalProperties: false keeps the model from adding properties of its own")
        if not part.get("required"):
            yield Advice(path, "hint", "nothing is required: the model may leave everything out")
        for name, child in named.items():
            if isinstance(child, dict) and not _describes(child):
                message = "without a type, description or enum the model has only its name to go by"
                yield Advice(f"{path}/properties/{name[:40]}", "hint", message)
    if part.get("type") == "array" and "maxItems" not in part:
        yield Advice(path, "hint", "maxItems keeps a list from running on until the answer is cut off")
    if isinstance(choices := part.get("enum"), list) and len(choices) > MAX_ENUM:
        yield Advice(f"{path}/enum", "hint", f"{len(choices)} choices stand in every prompt, and slow the grammar")


def _describes(part: Mapping[str, Json]) -> bool:
    return not {"type", "description", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "properties"}.isdisjoint(
        part
    )


def _recursion(schema: CompiledSchema) -> Iterator[Advice]:
    if schema.recursive:
        yield Advice("#", "hint", "it refers to itself: an answer may be nested deeply; a fixed depth is surer")


def _data(schema: CompiledSchema) -> Iterator[Advice]:
    for plan in plans_for(schema):
        for each in _asked(plan.asked):
            yield Advice(f"#{each.field.path}", "data", f"{each.said.name} of a {plan.thing.name}")


def _asked(asked: tuple[Asked, ...]) -> Iterator[Asked]:
    for each in asked:
        if each.said.kind == "thing":
            yield from _asked(each.inside)
        else:
            yield each
