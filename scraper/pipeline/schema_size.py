"""How large a schema is with its references written out: what it can cost to check an answer, or to say what is wrong.

A validator goes through a schema once for each way that leads through it, and a kilobyte of references has room for
more ways than there is time. So they are counted here before anything is checked by it, each part looked at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Final

from scraper.errors import Permanent
from scraper.models import Json, Schema
from scraper.pipeline.schema_parts import REFERENCES, bad_schema, check_references, check_shapes, children, resolve

MAX_WRITTEN_OUT: Final = 10_000  # subschemas with all references followed; a validator's errors grow with it
MAX_DETAILED_DEPTH: Final = 8  # levels of an answer that is listed in detail, where a schema refers to itself

_UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_OF_THE_SAME_VALUE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"}
)


@dataclass(frozen=True, slots=True)
class WrittenOut:
    """A schema with every reference followed once per use. `recursive`: one leads into itself.

    `detailed_depth`: levels of an answer down to which everything wrong with it can be listed at a bounded cost.
    """

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
    if size > MAX_WRITTEN_OUT:
        raise _too_large()
    depth = _detailed_depth(reached, inner_first, id(schema)) if recursive else MAX_DETAILED_DEPTH
    return WrittenOut(recursive, depth)


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
        for key, where, child in children(schema, path):
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
