"""JSON-LD as one reads it without a processor: scripts, graphs, references by `@id` within the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scraper.models import Json
from scraper.pipeline.structured.bounds import MAX_DEPTH, MAX_KEY_CHARS, Room, bounded
from scraper.pipeline.structured.loose_json import values_in
from scraper.pipeline.structured.terms import short, types_of

MAX_SCRIPTS: Final = 50
MAX_REFERENCES: Final = 3  # followed one after the other; each may name many
MAX_GRAPH: Final = 500  # things at the top of one page


def read_json_ld(scripts: list[str], room: Room) -> Iterator[tuple[str, Json]]:
    """(path, thing) of each thing at the top of the page's `scripts`, references written out, keys short."""
    tops = [
        (f"/{number}{path}", thing)
        for number, script in enumerate(scripts[:MAX_SCRIPTS])
        for path, thing in _tops(values_in(script))
    ][:MAX_GRAPH]
    named = {
        name: thing
        for _, thing in reversed(tops)  # the first of a name wins
        if isinstance(name := thing.get("@id"), str) and len(thing) > 2
    }
    for path, thing in tops:
        if not room.full:
            yield path, _plain(thing, room, named, MAX_DEPTH, MAX_REFERENCES)


def _tops(roots: list[Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    """Every object that stands by itself: alone, in an array, in a `@graph`, one in the other but not for ever."""
    level = [("", root) for root in roots]
    for _ in range(4):
        below = []
        for path, value in level:
            if isinstance(value, list):
                below += [(f"{path}/{index}", each) for index, each in enumerate(value[:MAX_GRAPH])]
            elif isinstance(value, dict):
                if len(value) > 2 or "@graph" not in value:
                    yield path, value
                if "@graph" in value:
                    below.append((f"{path}/@graph", value["@graph"]))
        level = below[:MAX_GRAPH]


def _plain(value: Json, room: Room, named: dict[str, dict[str, Json]], depth: int, references: int) -> Json:
    """As `bounded`, with short names, the values of value objects, and references replaced by what they name."""
    if isinstance(value, list) and depth and not room.full:
        room.values -= 1
        return [_plain(each, room, named, depth - 1, references) for each in value if not room.full]
    if not isinstance(value, dict):
        return bounded(value, room, depth=depth)
    if "@value" in value:
        return bounded(value["@value"], room, depth=min(depth, 1))
    name = value.get("@id")
    if len(value) <= 2 and references and isinstance(name, str) and name in named:
        value = named[name]
        references -= 1
    if not depth or room.full:
        return None
    room.values -= 1
    found = {}
    for key, each in value.items():
        if room.full:
            break
        if key == "@type":
            found[key] = types_of(each)
        elif key not in {"@context", "@graph"} and len(key) <= MAX_KEY_CHARS:
            found[room.key(short(key))] = _plain(each, room, named, depth - 1, references)
    return found
