"""How deep an answer may be nested, by its schema: what goes deeper is no answer any more."""

from __future__ import annotations

from typing import Final

from scraper.models import Json
from scraper.pipeline.schema_parts import REFERENCES, resolve

MAX_DEPTH: Final = 64  # where the schema sets no bound

_LONGEST_WAY: Final = 2 * MAX_DEPTH  # a level of an answer is a property and its reference; Python's stack is short
_KINDS: Final = ("object", "array", "string", "number", "integer", "boolean", "null")


def deepest(root: Json) -> int:
    """Levels of objects and arrays that an answer to the schema `root` may have; MAX_DEPTH where any."""
    return _Depths(root).of(root)


class _Depths:
    """The depth below each part of one schema, found once, in whatever circles its references lead."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._way = 0

    def of(self, part: Json) -> int:
        """The least of all that bounds `part`: everything that stands in one schema holds at once."""
        if part is False:
            return 0
        if not isinstance(part, dict) or self._way == _LONGEST_WAY:
            return MAX_DEPTH
        if id(part) not in self._known:
            self._known[id(part)] = MAX_DEPTH  # for whoever comes here again from inside: it leads into itself
            self._way += 1
            self._known[id(part)] = min(self._bounds(part))
            self._way -= 1
        return self._known[id(part)]

    def _bounds(self, part: dict[str, Json]) -> list[int]:
        bounds = [self._of_kinds(part)]
        bounds += [self.of(resolve(self._root, part[key])) for key in REFERENCES if isinstance(part.get(key), str)]
        bounds += [self.of(each) for each in _each(part.get("allOf"))]
        for key in ("anyOf", "oneOf"):
            if isinstance(choices := part.get(key), list):
                bounds.append(max((self.of(each) for each in choices), default=MAX_DEPTH))
        return bounds

    def _of_kinds(self, part: dict[str, Json]) -> int:
        kinds = part.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not kinds or not all(kind in _KINDS for kind in kinds):
            return MAX_DEPTH
        levels = [0]
        if "object" in kinds:
            levels += [1 + self.of(each) for each in _of_object(part)]
        if "array" in kinds:
            levels += [1 + self.of(each) for each in _of_array(part)]
        return min(MAX_DEPTH, max(levels))


def _of_object(part: dict[str, Json]) -> list[Json]:
    named = [*_values(part.get("properties")), *_values(part.get("patternProperties"))]
    return [*named, part.get("additionalProperties", True)]


def _of_array(part: dict[str, Json]) -> list[Json]:
    items = part.get("items", True)
    rest = part.get("additionalItems", True) if isinstance(items, list) else items
    return [*_each(items), *_each(part.get("prefixItems")), rest]


def _each(several: Json) -> list[Json]:
    return several if isinstance(several, list) else []


def _values(named: Json) -> list[Json]:
    return list(named.values()) if isinstance(named, dict) else []
