"""Microdata and RDFa Lite: things and their properties, marked on the elements that show them.

Both are the same walk with other names for the attributes: find what is marked, and climb from each property to the
thing it belongs to, remembering the way for its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from scraper.models import Json
from scraper.pipeline.structured.bounds import MAX_DEPTH, MAX_KEY_CHARS, MAX_STRING_CHARS, Room
from scraper.pipeline.structured.terms import short, types_of

MAX_MARKED: Final = 5000  # elements with a property
MAX_NAMES: Final = 8  # of one element
MAX_REFERRED: Final = 20  # ids in itemref
_ADDRESSES: Final = {
    "a": "href",
    "area": "href",
    "link": "href",
    "img": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "iframe": "src",
    "embed": "src",
    "object": "data",
}


@dataclass(frozen=True, slots=True)
class Syntax:
    """The attributes that mark a thing, its type, its name, and a property of it."""

    scope: str
    type: str
    id: str
    property: str


MICRODATA: Final = Syntax("itemscope", "itemtype", "itemid", "itemprop")
RDFA: Final = Syntax("typeof", "typeof", "resource", "property")


@dataclass(slots=True)
class _Thing:
    path: str
    value: dict[str, Json]
    parent: _Thing | None
    properties: list[str] = field(default_factory=list)  # of its parent, that it is the value of


def read_marked_up(
    tree: LexborHTMLParser, syntax: Syntax, room: Room, *, base_url: str | None
) -> Iterator[tuple[str, Json]]:
    """(path, thing) of each thing that is no property of another."""
    walk = _Climb(syntax)
    tops: list[_Thing] = []
    last = 0
    for node in tree.css(f"[{syntax.property}], [{syntax.scope}]")[:MAX_MARKED]:
        if node.mem_id == last:
            continue  # both selectors match it
        last = node.mem_id
        if room.full:
            break
        attrs = node.attributes
        told = (attrs.get(syntax.property) or "").split()[:MAX_NAMES]
        names = [short(name) for name in told if len(name) <= MAX_KEY_CHARS]
        if syntax.scope in attrs:
            thing = walk.open(node, attrs, room)
            if not names or thing.parent is None:
                tops.append(thing)
                continue
            owner: _Thing = thing.parent
            value: Json = thing.value
        else:
            found = walk.owner_of(node)
            if found is None or not names:
                continue
            owner, value = found, _value(node, attrs, room, base_url)
        for name in names:
            room.chars -= len(value) if isinstance(value, str) else 0
            _add(owner.value, room.key(name), value)
    yield from ((thing.path, thing.value) for thing in tops if len(thing.value) > 1)


class _Climb:
    """Who owns an element: the nearest thing above it, or the one that refers to an element above it."""

    def __init__(self, syntax: Syntax) -> None:
        self._syntax = syntax
        self._owners: dict[int, _Thing | None] = {}  # of an element's inside, by mem_id
        self._referred: dict[str, _Thing] = {}
        self._opened = 0
        self._depths: dict[int, int] = {}

    def open(self, node: LexborNode, attrs: Mapping[str, str | None], room: Room) -> _Thing:
        syntax = self._syntax
        parent = self.owner_of(node)
        depth = 0 if parent is None else self._depths[id(parent)] + 1
        if depth >= MAX_DEPTH:
            parent, depth = None, 0
        thing = _Thing(f"/{self._opened}", {"@type": types_of(attrs.get(syntax.type))}, parent)
        self._depths[id(thing)] = depth
        self._opened += 1
        if identity := attrs.get(syntax.id):
            thing.value["@id"] = room.text(identity)
        for name in (attrs.get("itemref") or "").split()[:MAX_REFERRED]:
            self._referred.setdefault(name, thing)
        self._owners[node.mem_id] = thing
        return thing

    def owner_of(self, node: LexborNode) -> _Thing | None:
        way: list[int] = []
        owner = None
        above = node if self._refers(node) else node.parent
        while above is not None:
            number = above.mem_id
            if number in self._owners:
                owner = self._owners[number]
                break
            if self._referred and (named := self._referred.get(above.attrs.get("id") or "")) is not None:
                owner = named
                break
            way.append(number)
            above = above.parent
        self._owners.update(dict.fromkeys(way, owner))
        return owner

    def _refers(self, node: LexborNode) -> bool:
        return bool(self._referred) and (node.attrs.get("id") or "") in self._referred


def _add(thing: dict[str, Json], name: str, value: Json) -> None:
    if name not in thing:
        thing[name] = value
    elif isinstance(thing[name], list):
        thing[name].append(value)
    else:
        thing[name] = [thing[name], value]


def _value(node: LexborNode, attrs: Mapping[str, str | None], room: Room, base_url: str | None) -> str:
    """What an element says: `content` wherever it stands, an address, a machine's time or number, or its text."""
    content = attrs.get("content")
    if content is not None:
        return room.text(content)
    tag = node.tag or ""
    address = attrs.get(_ADDRESSES[tag]) if tag in _ADDRESSES else None
    if address:
        return room.text(_joined(base_url, address))
    if tag == "time" and attrs.get("datetime"):
        return room.text(attrs["datetime"] or "")
    if tag in {"data", "meter"} and attrs.get("value"):
        return room.text(attrs["value"] or "")
    return room.text(node.text(separator=" ")[:MAX_STRING_CHARS])


def _joined(base_url: str | None, address: str) -> str:
    try:
        return urljoin(base_url or "", address.strip())
    except ValueError:  # such as an unclosed bracket in the host
        return address
