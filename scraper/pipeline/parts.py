"""A long list is read in parts: where its page is cut, what each part is asked for, and one answer out of many.

Pure. Parts overlap by a few lines, so that what stands at a border is whole in one of them; what was read twice is
merged. A scalar is taken from the first part that has it: pages say what they are about at their top.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Final

from scraper.models import Json, Schema
from scraper.pipeline.schema import CompiledSchema, compile_schema, together

SMALLEST_CHARS: Final = 600  # of a part; what is shorter is not cut
OVERLAP_LINES: Final = 3
OVERLAP_CHARS: Final = 400
NEAR: Final = 0.15  # of a part's length: how far from its place a border may be for a better one
MARGIN: Final = 1.2  # more parts than the first answer's reach says: items are not spread evenly
_TELLING_CHARS: Final = 6  # of a string, to find it on the page
_EDGE_ITEMS: Final = 12  # at a border, among which halves of one item may stand


def lists_things(schema: Schema) -> bool:
    """Whether the answer is a list, or has a list of things at its top."""
    if schema.get("type") == "array":
        return True
    properties = schema.get("properties")
    parts = properties.values() if isinstance(properties, dict) else ()
    return any(_is_array(part) and _are_things(part.get("items")) for part in parts)


def split(text: str, parts: int) -> list[str]:
    """About `parts` parts of much the same length, cut before headings and between paragraphs and items."""
    parts = min(parts, len(text) // SMALLEST_CHARS)
    if parts < 2:
        return [text]
    lines = list(_short_lines(text, longest=max(SMALLEST_CHARS, len(text) // (2 * parts))))
    borders = [*_borders(lines, parts), len(lines)]
    return ["\n".join([*_overlap(lines, begin), *lines[begin:end]]) for begin, end in pairwise(borders)]


def parts_needed(text: str, answer: str) -> int:
    """How many parts `text` should have, when `answer` to all of it was cut off: by how far it came."""
    strings = [each for each in answer.split('"')[:-1] if len(each) >= _TELLING_CHARS]
    reached = max((text.find(each) for each in strings[-8:]), default=-1)
    return max(2, math.ceil(MARGIN * len(text) / reached)) if reached > 0 else 2


def of_a_part(shape: CompiledSchema) -> CompiledSchema:
    """What a part is asked for: what it does not say is left out, and a few items are enough."""
    schema = shape.schema
    if schema.get("type") == "array":
        return compile_schema({key: value for key, value in schema.items() if key != "minItems"})
    properties = schema.get("properties")
    if not isinstance(properties, dict) or together(schema):
        return shape
    loose = {name: _without(part, "minItems") if _is_array(part) else part for name, part in properties.items()}
    return compile_schema({**schema, "type": "object", "properties": loose, "required": []})


def merged(answers: Sequence[Json], schema: Schema) -> Json:
    """One answer out of those of all parts, in their order."""
    if not all(isinstance(answer, dict) for answer in answers):
        return _bounded(_together([answer for answer in answers if isinstance(answer, list)]), schema)
    objects = [answer for answer in answers if isinstance(answer, dict)]
    properties = schema.get("properties") or {}
    whole: dict[str, Json] = {}
    for name in dict.fromkeys([*properties, *(name for answer in objects for name in answer)]):
        values = [answer[name] for answer in objects if answer.get(name) is not None]
        if values and all(isinstance(value, list) for value in values):
            whole[name] = _bounded(_together(values), properties.get(name))
        elif values:
            whole[name] = values[0]
        elif name in schema.get("required", ()) and _nullable(properties.get(name)):
            whole[name] = None
    return whole


def _short_lines(text: str, *, longest: int) -> Iterable[str]:
    """The lines of `text`, those that are too long for a part cut at spaces."""
    for line in text.split("\n"):
        rest = line
        while len(rest) > longest:
            end = rest.rfind(" ", 1, longest)
            end = end if end > 0 else longest
            yield rest[:end]
            rest = rest[end:].lstrip()
        yield rest


def _borders(lines: Sequence[str], parts: int) -> list[int]:
    """Before which lines to cut: near equal lengths, and where a reader would."""
    starts = list(accumulate((len(line) + 1 for line in lines), initial=0))
    size = starts[-1] / parts
    borders = [0]
    for number in range(1, parts):
        due = number * size
        first = max(bisect_left(starts, due - NEAR * size), borders[-1] + 1)
        behind = min(bisect_right(starts, due + NEAR * size), len(lines))
        near = range(first, behind)
        if not near:
            near = range(max(bisect_left(starts, due), borders[-1] + 1), len(lines))[:1]
        if near:
            borders.append(min(near, key=lambda at: _reluctance(lines, at) + abs(starts[at] - due) / size))
    return borders


def _reluctance(lines: Sequence[str], at: int) -> float:
    """How much worse than before a heading it is to cut before line `at`."""
    if lines[at].startswith("#"):
        return 0.0
    if not lines[at - 1]:
        return 0.3
    return 0.6 if lines[at].startswith("- ") or " | " in lines[at] else 1.0


def _overlap(lines: Sequence[str], begin: int) -> list[str]:
    """The last lines before `begin`, or the end of one that is long."""
    taken: list[str] = []
    room = OVERLAP_CHARS
    for line in reversed(lines[max(0, begin - OVERLAP_LINES) : begin]):
        if len(line) > room:
            return taken or [line[-room:].partition(" ")[2]]
        taken.insert(0, line)
        room -= len(line)
    return taken


def _together(lists: Iterable[list[Json]]) -> list[Json]:
    whole: list[Json] = []
    for more in lists:
        known = {_key(item) for item in whole if isinstance(item, dict | list | str)}
        fresh = [item for item in more[_repeated(whole, more) :] if _key(item) not in known]
        _join_halves(whole, fresh)
        whole += fresh
    return whole


def _join_halves(whole: list[Json], fresh: list[Json]) -> None:
    """Of an item that a border cut in two, keep what says more: take the other out of `whole` or `fresh`."""
    for item in fresh[:_EDGE_ITEMS]:
        for other in whole[-_EDGE_ITEMS:]:
            if _is_half_of(item, other):
                fresh.remove(item)
                break
            if _is_half_of(other, item):
                whole.remove(other)
                break


def _repeated(whole: Sequence[Json], more: Sequence[Json]) -> int:
    """How many items at the beginning of `more` are the last ones of `whole` again."""
    for count in range(min(len(whole), len(more), _EDGE_ITEMS), 0, -1):
        if whole[-count:] == more[:count]:
            return count
    return 0


def _is_half_of(item: Json, other: Json) -> bool:
    """Whether `item` says nothing that `other` does not say as well, and less: it was cut off at a border."""
    if not (isinstance(item, dict) and isinstance(other, dict)):
        return False
    said = {name: value for name, value in item.items() if value not in (None, [], "")}
    return bool(said) and len(said) < len(other) and all(other.get(name) == value for name, value in said.items())


def _bounded(items: list[Json], schema: Json) -> list[Json]:
    most = schema.get("maxItems") if isinstance(schema, dict) else None
    return items[:most] if isinstance(most, int) else items


def _key(item: Json) -> str:
    return json.dumps(item, sort_keys=True, ensure_ascii=False)


def _is_array(part: Json) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind == "array" or (isinstance(kind, list) and "array" in kind)


def _are_things(items: Json) -> bool:
    return isinstance(items, dict) and ("$ref" in items or "properties" in items)


def _nullable(part: Json) -> bool:
    if not isinstance(part, dict):
        return False
    kinds = part.get("type")
    choices = [*part.get("anyOf", ()), *part.get("oneOf", ())]
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds) or any(map(_nullable, choices))


def _without(part: dict[str, Json], key: str) -> dict[str, Json]:
    return {name: value for name, value in part.items() if name != key}
