"""Every scalar of an answer: where it stands, what its field is called, and whether it must stand on the page.

What a schema marks as derived (`"x-derived": true`, for all that is below it as well), members of an enumeration,
booleans, null and empty texts are no quotes from a page and cannot be looked up on one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final, NamedTuple

from scraper.models import Json, Schema
from scraper.pipeline.grounding.fields import Field, field
from scraper.pipeline.schema_parts import resolve

MAX_PARTS: Final = 64  # subschemas that speak of one place; more only in schemas made to be expensive
MAX_SHAPES: Final = 1000  # remembered of one schema
KEPT: Final = 64  # schemas
Path = tuple[str | int, ...]


class Place(NamedTuple):
    """One scalar of an answer."""

    path: Path
    value: Json
    field: Field
    exempt: bool

    @property
    def pointer(self) -> str:
        return pointer(self.path)


def pointer(path: Path) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def places(data: Json, schema: Schema) -> Iterator[Place]:
    """In the order of the answer. Without recursion: answers may be nested as deeply as JSON can be."""
    shapes = _shapes_of(schema)
    waiting: list[tuple[Path, Json, _Shape]] = [((), data, shapes.root)]
    while waiting:
        path, value, shape = waiting.pop()
        if isinstance(value, dict):
            waiting += [((*path, key), child, shapes.child(shape, key)) for key, child in reversed(value.items())]
        elif isinstance(value, list):
            below = [((*path, index), child, shapes.child(shape, index)) for index, child in enumerate(value)]
            waiting += reversed(below)
        else:
            yield Place(path, value, shape.field, shape.derived or _cannot_be_looked_up(value, shape))


def _shapes_of(schema: Schema) -> _Shapes:
    """Worked out once for a schema that is asked for again: compiled schemas are kept, so they are the same object."""
    with _one_at_a_time:
        known = _known_shapes.get(id(schema))
        if known is None:
            while len(_known_shapes) >= KEPT:
                del _known_shapes[next(iter(_known_shapes))]
            known = _known_shapes[id(schema)] = _Shapes(schema)  # keeps the schema, so its id stays its own
        return known


def _cannot_be_looked_up(value: Json, shape: _Shape) -> bool:
    if isinstance(value, bool) or value is None or (isinstance(value, str) and not value.strip()):
        return True
    return value in shape.choices


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """All that a schema says of one place in an answer."""

    parts: tuple[Mapping[str, Json], ...]
    field: Field
    derived: bool
    listed: bool  # one of several of its kind
    choices: tuple[Json, ...]  # members of an enumeration
    tuples: bool  # its items are told apart by their places


class _Shapes:
    """Worked out once for all items of an array, and for all values under one name."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._known: dict[tuple[int, str | int], _Shape] = {}
        self.root = self._shape([schema], name="", derived=False, listed=False)
        self._kept = [self.root]  # a shape that is known must stay, or its id would be another's

    def child(self, parent: _Shape, step: str | int) -> _Shape:
        key = (id(parent), step if isinstance(step, str) or parent.tuples else 0)
        shape = self._known.get(key)
        if shape is None:
            found = [below for part in parent.parts for below in _below(part, step)]
            name = step if isinstance(step, str) else parent.field.name
            listed = parent.listed or isinstance(step, int)
            shape = self._shape(found, name=name, derived=parent.derived, listed=listed)
            if len(self._known) < MAX_SHAPES:  # answers may have properties without end
                self._known[key] = shape
                self._kept.append(shape)
        return shape

    def _shape(self, schemas: list[Json], *, name: str, derived: bool, listed: bool) -> _Shape:
        parts = tuple(self._speaking(schemas))
        about = {key: part[key] for part in reversed(parts) for key in ("format", "title") if key in part}
        derived = derived or any(part.get("x-derived") is True for part in parts)
        choices = (
            *(each for part in parts for each in part.get("enum", ())),
            *(part["const"] for part in parts if "const" in part),
        )
        tuples = any("prefixItems" in part or isinstance(part.get("items"), list) for part in parts)
        return _Shape(parts, field(name, about, listed=listed), derived, listed, choices, tuples)

    def _speaking(self, schemas: list[Json]) -> Iterator[Mapping[str, Json]]:
        """`schemas` and those that they refer to or are put together from."""
        waiting = list(reversed(schemas))
        seen: set[int] = set()
        while waiting and len(seen) < MAX_PARTS:
            part = waiting.pop()
            if not isinstance(part, Mapping) or id(part) in seen:
                continue
            seen.add(id(part))
            yield part
            for key in ("allOf", "anyOf", "oneOf"):
                waiting += [each for each in part.get(key, ()) if isinstance(part[key], list)]
            waiting += [part[key] for key in ("then", "else") if key in part]
            if isinstance(reference := part.get("$ref"), str):
                waiting.append(resolve(self._schema, reference))


def _below(part: Mapping[str, Json], step: str | int) -> Iterator[Json]:
    if isinstance(step, str):
        named = part.get("properties")
        if isinstance(named, dict) and step in named:
            yield named[step]
        elif "additionalProperties" in part:
            yield part["additionalProperties"]
        return
    first = part.get("prefixItems", part.get("items"))
    if isinstance(first, list) and step < len(first):
        yield first[step]
    elif isinstance(first, dict):
        yield first
    elif "items" in part and "prefixItems" in part:
        yield part["items"]
    elif "additionalItems" in part:
        yield part["additionalItems"]


_known_shapes: dict[int, _Shapes] = {}
_one_at_a_time: Final = Lock()  # answers about large pages are looked up in threads
