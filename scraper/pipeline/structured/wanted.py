"""What a schema asks for: its fields, with references and alternatives resolved as far as their meaning is plain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from scraper.models import Json, Schema
from scraper.pipeline.schema import KEPT, CompiledSchema
from scraper.pipeline.schema_parts import resolve
from scraper.pipeline.structured.pointers import escaped

MAX_DEPTH: Final = 6
MAX_FIELDS: Final = 500
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_WORDS: Final = re.compile(r"[\W_]+")
_SAYS_NOTHING: Final = re.compile(r"[a-z]{1,2}|[a-z]* ?\d+")
_HEAD: Final = re.compile(
    r"^(?:the |a |an |its |full )*([\w' -]{2,40}?)(?: (?:of|for|as|in|at|on|by) .*|[.,;:(].*)?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One field of a schema."""

    name: str
    path: str  # JSON pointer into the answer
    schema: Mapping[str, Json]
    types: frozenset[str]  # without null; empty where the schema does not say
    fields: tuple[Wanted, ...] = ()  # of an object
    each: Wanted | None = None  # of an array

    @property
    def words(self) -> str:
        return as_name(self.name)

    @property
    def called(self) -> tuple[str, ...]:
        """What the field may be called, the surest first: its name, its title; where its name says nothing, as `x1` or
        `field_2`, also what its description begins with.
        """
        told = [self.name, str(self.schema.get("title", ""))]
        if _SAYS_NOTHING.fullmatch(self.words) and (head := _HEAD.match(str(self.schema.get("description", ""))[:200])):
            told.append(head[1])
        return tuple(dict.fromkeys(name for each in told if (name := as_name(each))))

    @property
    def says(self) -> str:
        """What the schema says about the field in words."""
        return f"{self.schema.get('title', '')} {self.schema.get('description', '')}"

    @property
    def is_thing(self) -> bool:
        return bool(self.fields) or (self.each is not None and bool(self.each.fields))


@lru_cache(KEPT)
def wanted(schema: CompiledSchema) -> Wanted:
    """The root of what `schema` asks for."""
    return _Reader(schema.schema).field("", "", schema.schema, MAX_DEPTH)


class _Reader:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._room = MAX_FIELDS

    def field(self, name: str, path: str, schema: Json, depth: int) -> Wanted:
        self._room -= 1
        plain = _plain(schema, self._root)
        kinds = plain.get("type")
        types = frozenset(kinds if isinstance(kinds, list) else [kinds] if kinds else []) - {"null"}
        if not depth or self._room <= 0:
            return Wanted(name, path, plain, types)
        named, items = plain.get("properties"), plain.get("items")
        fields: list[Wanted] = []
        if isinstance(named, dict) and types <= {"object"}:
            fields = [self.field(key, f"{path}/{escaped(key)}", child, depth - 1) for key, child in named.items()]
        of_array = isinstance(items, dict) and types <= {"array"}
        each = self.field(name, f"{path}/0", items, depth - 1) if of_array else None
        return Wanted(name, path, plain, types, tuple(fields), each)


def _plain(schema: Json, root: Schema) -> Mapping[str, Json]:
    """`schema` with its reference followed and «this or null» reduced to this; other alternatives stay unknown."""
    found: dict[str, Json] = {}
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, dict):
            return found
        found = {key: value for key, value in schema.items() if key not in _CHOICES} | found
        following = _only(schema, root)
        if following is None:
            return found if not (_CHOICES & schema.keys()) else found | {"x-open": True}
        schema = following
        found.pop("type", None)
    return found


def _only(schema: dict[str, Json], root: Schema) -> Json:
    """The one schema that `schema` stands for, if it stands for one."""
    if isinstance(target := schema.get("$ref"), str):
        return resolve(root, target)
    for key in ("anyOf", "oneOf", "allOf"):
        several = schema.get(key)
        if isinstance(several, list):
            real = [each for each in several if not (isinstance(each, dict) and each.get("type") == "null")]
            return real[0] if len(real) == 1 else None
    return None


_CHOICES: Final = frozenset({"$ref", "anyOf", "oneOf", "allOf", "not", "if"})


def as_name(name: str) -> str:
    """`productName`, `product_name` and `Product name` are all `product name`."""
    return " ".join(_NOT_WORDS.sub(" ", _CAMEL.sub(" ", name[:100])).lower().split())
