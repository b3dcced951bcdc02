"""What a schema consists of: its subschemas, what their references lead to, and how much that is written out.

References are followed here exactly as the validator follows them, and refused where that cannot be promised: a
reference that only one of the two can follow would hide what a schema costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final, TypeAlias
from urllib.parse import unquote

from scraper.errors import Permanent
from scraper.models import Json, ParkReason, Schema

MAX_WRITTEN_OUT: Final = 10_000  # subschemas with all references followed; a validator's errors grow with it
MAX_DETAILED_DEPTH: Final = 8  # levels of an answer that is listed in detail, where a schema refers to itself

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

_UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_OF_THE_SAME_VALUE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)
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
        for _, where, child in _children(schema, path):
            yield from subschemas(child, where)


def _children(schema: dict[str, Json], path: str) -> Iterator[tuple[str, str, Json]]:
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


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """A schema with every reference followed once per use. `recursive`: one leads into itself.

    `detailed_depth`: levels of an answer down to which everything wrong with it can be listed at a bounded cost.
    """

    size: int
    recursive: bool
    detailed_depth: int


def written_out(schema: Schema) -> WrittenOut:
    """Raises Permanent(BAD_SCHEMA) where that is too large, or is defined by itself."""
    reached = _reached(schema)
    try:
        inner_first = list(TopologicalSorter({name: each.here for name, each in reached.items()}).static_order())
    except CycleError as error:
        raise bad_schema(
            reached[error.args[1][0]].path, "is defined by itself: no answer can be checked by it"
        ) from None
    size, recursive = _size(reached, id(schema))
    depth = _detailed_depth(reached, inner_first, id(schema)) if recursive else MAX_DETAILED_DEPTH
    return WrittenOut(size, recursive, depth)


@dataclass(frozen=True, slots=True)
class _Use:
    """A subschema, and how often a validator goes through what it refers to.

    `here`: for the same value that the whole speaks of, and not for something inside that value.
    """

    path: str
    part: dict[str, Json]
    times: int
    here: bool


def _uses(schema: Json, path: str, *, times: int = 1, here: bool = True) -> Iterator[_Use]:
    """`schema` and its subschemas. To tell what is left unevaluated, a validator evaluates all beside it once more."""
    if isinstance(schema, dict):
        again = times if _UNEVALUATED.isdisjoint(schema) else 2 * times
        yield _Use(path, schema, again, here)
        for key, where, child in _children(schema, path):
            same_value = key in _OF_THE_SAME_VALUE
            yield from _uses(child, where, times=again if same_value else times, here=here and same_value)


@dataclass(frozen=True, slots=True)
class _Reached:
    """A schema that references lead to: how large it is, and to which others (by identity) its own lead how often.

    `here`: for the same value that it speaks of; `below`: for something inside that value.
    """

    path: str
    size: int
    here: Counter[int]
    below: Counter[int]


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
        uses = list(_uses(outside if target is schema else target, path))
        looked_at += len(uses)
        if looked_at > MAX_WRITTEN_OUT:
            raise _too_large()
        parts = [(use.path, use.part) for use in uses]
        check_shapes(parts)
        check_references(parts, schema)
        size, here, below = 0, Counter[int](), Counter[int]()
        for use in uses:
            size += use.times
            for name, found in _targets(use, schema):
                if isinstance(found, bool):
                    size += use.times
                else:
                    (here if use.here else below)[id(found)] += use.times
                    waiting.append((name, found))
        reached[id(target)] = _Reached(path, size, here, below)
    return reached


def _targets(use: _Use, root: Schema) -> Iterator[tuple[str, dict[str, Json] | bool]]:
    for key in REFERENCES:
        if key in use.part:
            name = use.part[key]
            found = resolve(root, name)
            if not isinstance(found, dict | bool):
                raise bad_schema(f"{use.path[:200]}/{key}", f"leads to no schema: {name[:100]}")
            yield name, found


def _size(reached: Mapping[int, _Reached], root: int) -> tuple[int, bool]:
    """How many subschemas are written, a reference into itself not followed, and whether there is one."""
    sizes = {name: each.size for name, each in reached.items()}
    way = [(root, _onward(reached[root]))]  # as long as it likes, so this is no recursion
    entered: list[int] = []  # how often each but the first is used by the one before it
    inside, done = {root}, set[int]()
    recursive = False
    while way:
        name, onward = way[-1]
        for target, times in onward:
            if target in inside:
                recursive = True
            elif target in done:
                sizes[name] += times * sizes[target]
            else:
                inside.add(target)
                way.append((target, _onward(reached[target])))
                entered.append(times)
                break
        else:
            way.pop()
            inside.remove(name)
            done.add(name)
            if way:
                sizes[way[-1][0]] += entered.pop() * sizes[name]
    if sizes[root] > MAX_WRITTEN_OUT:
        raise _too_large()
    return sizes[root], recursive


def _onward(reached: _Reached) -> Iterator[tuple[int, int]]:
    return iter((reached.here + reached.below).items())


def _detailed_depth(reached: Mapping[int, _Reached], inner_first: Sequence[int], root: int) -> int:
    """How many levels deep the schema can be written out, references into itself followed, before it is too large."""
    outer = dict.fromkeys(reached, 0)
    for depth in range(MAX_DETAILED_DEPTH + 1):
        sizes: dict[int, int] = {}
        for name in inner_first:
            each = reached[name]
            sizes[name] = each.size + sum(times * sizes[target] for target, times in each.here.items())
            sizes[name] += sum(times * outer[target] for target, times in each.below.items())
        if sizes[root] > MAX_WRITTEN_OUT:
            return max(0, depth - 1)
        outer = sizes
    return MAX_DETAILED_DEPTH


def _too_large() -> Permanent:
    return bad_schema("#", f"is too large with its references written out; {MAX_WRITTEN_OUT} subschemas are allowed")
