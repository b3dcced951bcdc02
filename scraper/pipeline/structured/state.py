"""Data that a page carries for its own scripts: framework state, analytics.

There is much of it, nobody wrote it to be read by others, and a shop's state holds many products. Kept is only what is
an object with a name, or an address, of this very page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from scraper.models import Json
from scraper.pipeline.structured.bounds import Room, bounded
from scraper.pipeline.structured.loose_json import literal_at, read_at, values_in
from scraper.pipeline.structured.names import PageNames

MAX_STATES: Final = 40  # assignments read in one page
MAX_LITERALS: Final = 8  # of them, that are no JSON: up to 5 ms each
MAX_STATE_CHARS: Final = 2 << 20  # of all scripts that are read
MAX_LOOKED_AT: Final = 60_000  # objects and arrays of all states
MAX_KEPT: Final = 12
KEPT_DEPTH: Final = 5
MOST_OF_THE_TITLE: Final = 0.4  # shops add their name and a category; a brand in the title is less of it
_NAMES: Final = frozenset(
    {"name", "title", "headline", "productName", "product_name", "displayName", "item_name", "productTitle"}
)
_ADDRESSES: Final = frozenset({"url", "canonicalUrl", "canonical", "link", "href", "productUrl", "pdpUrl", "seoUrl"})
_TELLING: Final = _NAMES | _ADDRESSES

_ASSIGNED: Final = re.compile(r"(?:=|\.push\()\s*(?=[{\[\"]|JSON\.parse\()")
_HOLDS_DATA: Final = re.compile(
    r"(?:state|data|props|product|item|page|context|layer|cache|store|initial)\w{0,20}[\"'\]]{0,2}\s*$", re.IGNORECASE
)
_BEFORE: Final = 60  # characters before an assignment, to see what is assigned


def read_state(
    documents: Iterable[str], scripts: Iterable[str], names: PageNames, room: Room
) -> Iterator[tuple[str, Json]]:
    """(path, object) of what belongs to this page in `documents` (all JSON) and `scripts` (which assign it)."""
    looked_at = kept = 0
    documents, scripts = (filter(names.may_be_in, texts) for texts in (documents, scripts))
    for path, root in _states(documents, scripts):
        stack: list[tuple[Json, _Way]] = [(root, (None, path))]
        while stack and looked_at < MAX_LOOKED_AT and kept < MAX_KEPT:
            value, way = stack.pop()
            looked_at += 1
            below: Iterable[tuple[str | int, Json]]
            if isinstance(value, dict):
                if len(value) > 2 and _is_of_page(value, names):
                    kept += 1
                    yield _written(way), bounded(value, room, depth=KEPT_DEPTH)
                below = value.items()
            else:
                below = enumerate(value)
            nested = [(each, (way, key)) for key, each in below if isinstance(each, dict | list) and each]
            nested.reverse()
            stack += nested


_Way: TypeAlias = "tuple[_Way | None, str | int]"  # to a value: written out only for the few that are kept


def _written(way: _Way) -> str:
    steps: list[str] = []
    at: _Way | None = way
    while at is not None:
        at, step = at
        steps.append(str(step))
    return "/".join(reversed(steps))


def _is_of_page(value: dict[str, Json], names: PageNames) -> bool:
    return any(
        isinstance(told := value[key], str)
        and (names.is_name(told, share=MOST_OF_THE_TITLE) if key in _NAMES else names.is_address(told))
        for key in _TELLING & value.keys()
    )


def _states(documents: Iterable[str], scripts: Iterable[str]) -> Iterator[tuple[str, Json]]:
    left = MAX_STATE_CHARS
    count = literals = 0
    for number, document in enumerate(documents):
        left -= len(document)
        if left < 0 or count >= MAX_STATES:
            return
        count += 1
        yield from ((f"/json/{number}", value) for value in values_in(document) if isinstance(value, dict | list))
    for number, script in enumerate(scripts):
        left -= len(script)
        if left < 0:
            return
        for match in _ASSIGNED.finditer(script):
            if not _HOLDS_DATA.search(script, max(0, match.start() - _BEFORE), match.start()):
                continue
            if count >= MAX_STATES:
                return
            count += 1
            value, is_json = _assigned(script, match.end())
            if not is_json and literals < MAX_LITERALS:
                literals += 1
                value = literal_at(script, match.end())
            if isinstance(value, dict | list):
                yield f"/script/{number}", value


def _assigned(script: str, begin: int) -> tuple[Json, bool]:
    """The value that is assigned at `begin`, and whether it is written as JSON."""
    if script.startswith("JSON.parse(", begin):
        begin = script.find("(", begin) + 1
    value, end = read_at(script, begin)
    if end and isinstance(value, str):
        return (read_at(value, 0)[0] if value[:1] in {"{", "["} else None), True
    return value, end > 0
