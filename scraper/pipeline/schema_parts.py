"""What a schema consists of: its subschemas, what their references lead to, and how much that is written out.

References are followed here exactly as the validator follows them, and refused where that cannot be promised: a
reference that only one of the two can follow would hide what a schema costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import unquote

from scraper.errors import Permanent
from scraper.models import Json, ParkReason, Schema

MAX_WRITTEN_OUT: Final = 10_000  # subschemas with all references followed; a validator's errors grow with it

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

Part: TypeAlias = tuple[str, dict[str, Json]]
"""A subschema behind its path."""


def bad_schema(path: str, what: str) -> Permanent:
    return Permanent(ParkReason.BAD_SCHEMA, f"schema {path}: {what}")


def subschemas(schema: Json, path: str = "#") -> Iterator[Part]:
    """Every object in `schema` that is a schema itself, with its path; not what merely looks like one, as in `enum`."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            for name, child in value.items():
                yield from subschemas(child, f"{path}/{key}/{name[:40]}")
        elif key in MANY and isinstance(value, list):
            for index, child in enumerate(value):
                yield from subschemas(child, f"{path}/{key}/{index}")
        elif key in ONE:
            yield from subschemas(value, f"{path}/{key}")


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


def written_out(schema: Schema) -> tuple[int, bool]:
    """How many subschemas there are with every reference followed once per use, and whether any leads into itself.

    Raises Permanent(BAD_SCHEMA) where they are more than MAX_WRITTEN_OUT, or a reference leads nowhere.
    """
    reached = _reached(schema)
    sizes: dict[int, int] = {}
    recursive = False
    way = [reached[id(schema)]]  # from the root to where we are: as long as it likes, so this is no recursion
    inside = {id(schema)}
    while way:
        here = way[-1]
        for target in here.onward:
            if target in inside:
                recursive = True
            elif target in sizes:
                here.size += sizes[target]
            else:
                inside.add(target)
                way.append(reached[target])
                break
        else:
            way.pop()
            inside.remove(here.target)
            sizes[here.target] = here.size
            if way:
                way[-1].size += here.size
    size = sizes[id(schema)]
    if size > MAX_WRITTEN_OUT:
        raise _too_large()
    return size, recursive


@dataclass(slots=True)
class _Reached:
    """A schema that references lead to: how large it is, and which others (by identity) its references lead to."""

    target: int
    size: int
    onward: Iterator[int] = field(default_factory=lambda: iter(()))


def _reached(schema: Schema) -> dict[int, _Reached]:
    """The root and all that can be reached from it, each looked at once, however its name is spelled."""
    reached: dict[int, _Reached] = {}
    waiting: list[tuple[str, Mapping[str, Json]]] = [("#", schema)]
    looked_at = 0
    while waiting:
        path, target = waiting.pop()
        if id(target) in reached:
            continue
        outside = {key: value for key, value in target.items() if key not in {"$defs", "definitions"}}
        parts = list(subschemas(outside if target is schema else target, path))
        looked_at += len(parts)
        if looked_at > MAX_WRITTEN_OUT:
            raise _too_large()
        check_references(parts, schema)
        found = list(_targets(parts, schema))
        waiting += [(name, each) for name, each in found if isinstance(each, dict)]
        leaves = sum(isinstance(each, bool) for _, each in found)
        onward = [id(each) for _, each in found if isinstance(each, dict)]
        reached[id(target)] = _Reached(id(target), len(parts) + leaves, iter(onward))
    return reached


def _targets(parts: Sequence[Part], root: Schema) -> Iterator[tuple[str, dict[str, Json] | bool]]:
    for path, part in parts:
        for key in REFERENCES:
            if key in part:
                found = resolve(root, part[key])
                if not isinstance(found, dict | bool):
                    raise bad_schema(f"{path[:200]}/{key}", f"leads to no schema: {part[key][:100]}")
                yield part[key], found


def _too_large() -> Permanent:
    return bad_schema("#", f"is too large with its references written out; {MAX_WRITTEN_OUT} subschemas are allowed")
