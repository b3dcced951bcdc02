"""What a schema consists of: its subschemas, and what their references lead to.

References are followed here exactly as the validator follows them, and refused where that cannot be promised: a
reference that only one of the two can follow would hide what a schema costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from urllib.parse import unquote

from scraper.errors import Permanent
from scraper.models import Json, ParkReason, Schema

ONE: Final = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
)
MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")

_SHAPES: Final = (
    ("type", str | list, "a type or a list of types"),
    *((key, list, "a list") for key in ("allOf", "anyOf", "oneOf", "prefixItems", "enum", "required")),
    *((key, dict, "an object of schemas") for key in NAMED),
)

Part: TypeAlias = tuple[str, dict[str, Json]]
"""A subschema behind its path."""


def bad_schema(path: str, what: str) -> Permanent:
    return Permanent(ParkReason.BAD_SCHEMA, f"schema {path}: {what}")


def subschemas(schema: Json, path: str = "#") -> Iterator[Part]:
    """Every object in `schema` that is a schema itself, with its path; not what merely looks like one, as in `enum`."""
    if isinstance(schema, dict):
        yield path, schema
        for _, where, child in children(schema, path):
            yield from subschemas(child, where)


def children(schema: dict[str, Json], path: str) -> Iterator[tuple[str, str, Json]]:
    """What stands in `schema` directly where a schema is due: behind which keyword, where, and what."""
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            for name, child in value.items():
                yield key, f"{path}/{key}/{name[:40]}", child
        elif key in MANY and isinstance(value, list):
            for index, child in enumerate(value):
                yield key, f"{path}/{key}/{index}", child
        elif key in ONE:
            yield key, f"{path}/{key}", value


def resolve(schema: Json, reference: str) -> Json:
    """What the local `reference` leads to; None where it leads nowhere."""
    found = schema
    for step in unquote(reference).removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isascii() and name.isdigit() and len(name) < 6:
            found = found[int(name)] if int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def check_shapes(parts: Sequence[Part]) -> None:
    """Raises Permanent(BAD_SCHEMA) where a keyword is followed by what it cannot mean.

    The validator passes over keywords that its draft does not know; all else here reads them in every draft.
    """
    for path, part in parts:
        for key, kind, what in _SHAPES:
            if key in part and not isinstance(part[key], kind):
                raise bad_schema(f"{path[:200]}/{key}", f"must be {what}")


def check_references(parts: Sequence[Part], root: Schema) -> None:
    """Raises Permanent(BAD_SCHEMA) where one of `parts` refers to anything but a place in the schema `root`."""
    referring = [(f"{path}/{key}", part[key]) for path, part in parts for key in REFERENCES if key in part]
    for path, target in referring:
        if not (isinstance(target, str) and (target == "#" or target.startswith("#/"))):
            raise bad_schema(path, "only references that begin with #/ are followed; nothing is fetched")
    identifier = "id" if "/draft-04/" in str(root.get("$schema")) else "$id"
    for path, part in parts if referring else ():
        name = part.get(identifier)
        if path != "#" and isinstance(name, str) and not name.startswith("#"):
            raise bad_schema(f"{path}/{identifier}", "would change where references lead: leave it out")
