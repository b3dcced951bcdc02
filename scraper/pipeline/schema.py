"""Schemas come over a queue and are hostile input: checked, compiled once, and kept.

Nothing is ever fetched, patterns match in linear time, and no schema can make validating an answer expensive: written
out without references it stays small, and one that refers to itself is not asked for every detail of a deep answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import jsonschema_rs

from scraper.models import Json, Schema
from scraper.pipeline.schema_depth import MAX_DEPTH, deepest
from scraper.pipeline.schema_parts import (
    MANY,
    NAMED,
    ONE,
    REFERENCES,
    bad_schema,
    check_references,
    check_shapes,
    subschemas,
)
from scraper.pipeline.schema_size import written_out

MAX_CHARS: Final = 64 * 1024  # about 16,000 tokens: already more than most prompts
MAX_PATTERNS: Final = 32
MAX_PATTERN_CHARS: Final = 512
MAX_PATTERN_BYTES: Final = 1 << 20  # compiled; `[^\s]{1,200}` takes more than a quarter of it
MAX_LEAST: Final = 64 * 1024  # characters, items or properties that an answer must have: more than any model writes
KEPT: Final = 64  # compiled schemas; a run has a handful, a hostile queue must not fill the memory

_LOOSENED: Final = frozenset({"uniqueItems", "contains", "minContains", "maxContains"})
"""Keywords that vLLM's grammar answers with 400; the validator still checks them."""

_DESCRIBING: Final = frozenset({"properties", "items", "prefixItems", "$ref", "allOf", "anyOf", "oneOf"})
_TOGETHER: Final = frozenset(
    {
        *REFERENCES,
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "const", "enum"),
        *("dependentRequired", "dependentSchemas", "dependencies", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames", "unevaluatedProperties"),
    }
)
"""Keywords that speak of an object's properties together, and not of one by its name."""
_LINK_NAME: Final = re.compile(
    r"(?:^|[_\-.])(?:ur[il]|href|link|image|img|photo|picture|logo|thumbnail|avatar|website|homepage)s?(?:$|[_\-.])",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LINK_FORMATS: Final = frozenset({"uri", "iri", "uri-reference", "iri-reference", "url"})


@dataclass(frozen=True, slots=True, eq=False)
class CompiledSchema:
    """A schema that is safe to use, and all that is derived from it once. Equal schemas are one object, while kept."""

    schema: Schema
    text: str  # compact JSON, keys in the order given: a grammar makes the model answer in that order
    validator: jsonschema_rs.Validator
    response_format: Mapping[str, Json]
    wants_links: bool
    recursive: bool
    detailed_depth: int  # levels of a wrong answer down to which it may be told what is wrong, where recursive
    depth: int  # levels of objects and arrays that an answer may have

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def compile_schema(schema: Schema) -> CompiledSchema:
    """The compiled form of `schema`, from memory where it was seen lately. Raises Permanent(BAD_SCHEMA)."""
    try:
        text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except RecursionError as error:
        raise bad_schema("#", f"is nested deeper than {MAX_DEPTH} levels") from error
    except (ValueError, TypeError) as error:  # NaN, infinity, a lone surrogate, a number too long to write
        raise bad_schema("#", "is not JSON: NaN, infinity, a lone surrogate or an endless number") from error
    return _compile(text)


def narrowed(schema: CompiledSchema, names: Collection[str]) -> CompiledSchema | None:
    """The part of `schema` that speaks of its properties `names` alone, in its order: to ask for, and to check.

    None where it says something about properties together (allOf, if, a reference to one …): then it is asked whole.
    """
    return _narrowed(schema, frozenset(names))


@lru_cache(KEPT)
def _narrowed(schema: CompiledSchema, names: frozenset[str]) -> CompiledSchema | None:
    whole = schema.schema
    properties = whole.get("properties")
    if not isinstance(properties, dict) or not names <= properties.keys() or together(whole):
        return None
    references = (part[key] for _, part in subschemas(whole) for key in REFERENCES if key in part)
    if not all(reference.startswith(("#/$defs/", "#/definitions/")) for reference in references):
        return None
    part = {
        **whole,
        "type": "object",
        "properties": {name: child for name, child in properties.items() if name in names},
        "required": [name for name in whole.get("required", ()) if name in names],
    }
    return _compile(json.dumps(part, ensure_ascii=False, separators=(",", ":")))


def together(schema: Schema) -> bool:
    """Whether `schema` says something about its properties together, and not only of each by its name."""
    return not _TOGETHER.isdisjoint(schema)


def wants_links(schema: Schema) -> bool:
    """Whether an answer needs addresses of links or images: a uri format, or a property whose name says so."""
    for _, part in subschemas(schema):
        if isinstance(kind := part.get("format"), str) and kind in _LINK_FORMATS:
            return True
        names = part.get("properties")
        if isinstance(names, dict) and any(_LINK_NAME.search(_CAMEL.sub("_", name)) for name in names):
            return True
    return False


@lru_cache(KEPT)
def _compile(text: str) -> CompiledSchema:
    if len(text) > MAX_CHARS:
        raise bad_schema("#", f"has {len(text)} characters; {MAX_CHARS} are allowed")
    schema = json.loads(text)  # a copy that nobody else can change
    _check_depth(schema)
    _check_root(schema)
    parts = list(subschemas(schema))
    check_shapes(parts)
    check_references(parts, schema)
    _check_patterns(parts)
    _check_least(parts)
    whole = written_out(schema)
    return CompiledSchema(
        schema,
        text,
        _validator(schema),
        _response_format(schema),
        wants_links(schema),
        whole.recursive,
        whole.detailed_depth,
        depth=deepest(schema),
    )


def _check_depth(schema: Json) -> None:
    level = [schema]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise bad_schema("#", f"is nested deeper than {MAX_DEPTH} levels")


def _check_root(schema: dict[str, Json]) -> None:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if not ({"object", "array"} & {each for each in kinds if isinstance(each, str)}) and (
        kind is not None or not _DESCRIBING & schema.keys()
    ):
        raise bad_schema("#", "must describe an object or an array, such as {'type': 'object', 'properties': {…}}")


def _check_patterns(parts: list[tuple[str, dict[str, Json]]]) -> None:
    patterns = [(f"{path}/pattern", part["pattern"]) for path, part in parts if "pattern" in part]
    for path, part in parts:
        named = part.get("patternProperties")
        patterns += [(f"{path}/patternProperties", name) for name in named] if isinstance(named, dict) else []
    if len(patterns) > MAX_PATTERNS:
        raise bad_schema("#", f"has {len(patterns)} patterns; {MAX_PATTERNS} are allowed")
    for path, pattern in patterns:
        if isinstance(pattern, str) and len(pattern) > MAX_PATTERN_CHARS:
            raise bad_schema(path, f"has {len(pattern)} characters; {MAX_PATTERN_CHARS} are allowed")


def _check_least(parts: list[tuple[str, dict[str, Json]]]) -> None:
    """A grammar writes a minimum out: one that no answer can reach could keep the model server busy for minutes."""
    for path, part in parts:
        for key in ("minLength", "minItems", "minProperties"):
            least = part.get(key)
            if isinstance(least, int | float) and least > MAX_LEAST:
                raise bad_schema(f"{path}/{key}", f"is {least:g}; {MAX_LEAST} are allowed")


_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")


def _validator(schema: dict[str, Json]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            offline=True,
            mask="the value",
            pattern_options=jsonschema_rs.RegexOptions(size_limit=MAX_PATTERN_BYTES, dfa_size_limit=MAX_PATTERN_BYTES),
        )
    except jsonschema_rs.ValidationError as error:
        path = "/".join(["#", *(str(step)[:40] for step in error.instance_path)])
        what = error.message[:200]
        if error.kind.name == "format" and "pattern" in path.lower():
            what = "is no regular expression without look-around and back-references, or a too large one"
        elif error.kind.name == "anyOf" and error.instance_path[-1:] == ["type"]:
            what = f"is none of {', '.join(_TYPES)}, and no list of them"
        raise bad_schema(path, what) from error
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise bad_schema("#", str(error)[:200]) from error


def _response_format(schema: dict[str, Json]) -> Mapping[str, Json]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": _for_grammar(schema)},
    }


def _for_grammar(schema: Json) -> Json:
    if not isinstance(schema, dict):
        return schema
    shown: dict[str, Json] = {}
    for key, value in schema.items():
        if key in _LOOSENED:
            continue
        if key in NAMED and isinstance(value, dict):
            shown[key] = {name: _for_grammar(child) for name, child in value.items()}
        elif key in MANY and isinstance(value, list):
            shown[key] = [_for_grammar(child) for child in value]
        elif key in ONE:
            shown[key] = _for_grammar(value)
        else:
            shown[key] = value
    return shown
