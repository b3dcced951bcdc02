"""Which schemas the simulated server's grammar refuses, and how it words that.

vLLM compiles a schema with xgrammar; one that uses what xgrammar cannot do goes to a second compiler, which refuses
some keywords by name and silently ignores what it never heard of. Both are walked here as far as clients can see it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 100
MAX_PATTERN_CHARS = 2_000

_SECOND_COMPILER_KEYS = {
    "multipleOf",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "patternProperties",
    "propertyNames",
}
_UNIMPLEMENTED = (
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "not",
    "if",
    "then",
    "else",
)
_FORMATS = {
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "uri",
    "uuid",
}
_XGRAMMAR_FORMATS = _FORMATS | {"uri-reference", "uri-template", "json-pointer", "relative-json-pointer"}
_TYPES = ("null", "boolean", "object", "array", "number", "integer", "string")
_NO_LOOKAROUND = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]")
_UNICODE_LETTERS = re.compile(r"\\p\{L[a-z]?\}")


class GrammarError(ValueError):
    """The schema cannot become a grammar; the message is the server's."""


def check_schema(schema: dict[str, Any]) -> None:
    """Raise GrammarError for a schema that vLLM answers with 400."""
    parts = list(_subschemas(schema, 0))
    for part in parts:
        _check_types(part)
        _check_pattern(part)
        resolve(schema, part)
    if any(_needs_second_compiler(part) for part in parts):
        for part in parts:
            refused = [key for key in _UNIMPLEMENTED if key in part]
            if refused:
                raise GrammarError(f"Unimplemented keys: {json.dumps(refused)}")
            if isinstance(part.get("format"), str) and part["format"] not in _FORMATS:
                raise GrammarError(f"Unknown format: {part['format']}")


def resolve(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow `$ref` until there is none. Raises GrammarError where one leads nowhere, elsewhere or in a circle."""
    seen: set[str] = set()
    while "$ref" in schema:
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise GrammarError(f"Failed to resolve $ref: {reference!r} is not local")
        if reference in seen:
            raise GrammarError(f"Failed to resolve $ref: {reference} refers to itself")
        seen.add(reference)
        target: Any = root
        for step in filter(None, reference[1:].split("/")):
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise GrammarError(f"Failed to resolve $ref: pointer {reference} does not exist")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **beside}
    return schema


def compile_pattern(pattern: Any) -> re.Pattern[str]:
    """An ECMA pattern as Python's, as far as a grammar supports it. Raises GrammarError."""
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN_CHARS:
        raise GrammarError(f"Invalid regex: a pattern is a string of at most {MAX_PATTERN_CHARS} characters")
    if _NO_LOOKAROUND.search(pattern):
        raise GrammarError(f"Invalid regex: look-around and backreferences are not supported: {pattern[:80]}")
    try:
        return re.compile(_UNICODE_LETTERS.sub("[^\\\\W\\\\d_]", pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise GrammarError(f"Invalid regex: {error}: {pattern[:80]}") from error


def _subschemas(schema: Any, depth: int) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise GrammarError(f"schema is nested deeper than {MAX_DEPTH}")
    if not isinstance(schema, dict):
        return
    yield schema
    for key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
        if isinstance(schema.get(key), dict):
            for child in schema[key].values():
                yield from _subschemas(child, depth + 1)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(schema.get(key), list):
            for child in schema[key]:
                yield from _subschemas(child, depth + 1)
    for key in ("items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"):
        yield from _subschemas(schema.get(key), depth + 1)


def _needs_second_compiler(part: dict[str, Any]) -> bool:
    generative = "pattern" in part or "format" in part
    return (
        not _SECOND_COMPILER_KEYS.isdisjoint(part)
        or ("format" in part and str(part["format"]) not in _XGRAMMAR_FORMATS)
        or (generative and ("minLength" in part or "maxLength" in part))
    )


def _check_types(part: dict[str, Any]) -> None:
    kinds = part.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            raise GrammarError(f"Unsupported type: {json.dumps(kind)}")
    if "enum" in part and not (isinstance(part["enum"], list) and part["enum"]):
        raise GrammarError("enum must be a list with at least one value")
    if not isinstance(part.get("properties", {}), dict):
        raise GrammarError("properties must be an object")
    required = part.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise GrammarError("required must be a list of names")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if not isinstance(part.get(key, []), list):
            raise GrammarError(f"{key} must be a list")


def _check_pattern(part: dict[str, Any]) -> None:
    if "pattern" in part:
        compile_pattern(part["pattern"])
