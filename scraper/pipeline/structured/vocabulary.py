"""What fields of schemas mean in schema.org's words: kinds of things, their properties, and how people name them.

A property's `names` are whole names, words in lower case: `price` is no part of `unit price`. `unless` are words in a
field's description that make it mean something else, so that it is left to the model; `only` are words that it must
have to mean this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "text",
    "prose",
    "paragraph",
    "amount",
    "count",
    "currency",
    "code",
    "state",
    "date",
    "address",
    "duration",
    "words",
    "thing",
]
"""text: short, as shown · prose: long, may be cut or marked up · paragraph: the first of prose, as shown · amount and
count: numbers · code: identifiers that need not be shown · state: one of schema.org's enumerations · words: a list, or
one string with commas · thing: an object"""

SOURCES: Final = ("json_ld", "microdata", "rdfa", "meta", "embedded_state")
"""The surest first: this one's wording is taken where several say the same."""

DESCRIBING: Final = SOURCES[:3]
"""Those that describe things, and not just the page."""


@dataclass(frozen=True, slots=True)
class Property:
    """One thing that a page may say about its subject, and where."""

    name: str
    kind: Kind
    names: frozenset[str]
    paths: tuple[str, ...]  # in schema.org's terms, from the subject
    meta: tuple[str, ...] = ()
    state: tuple[str, ...] = ()  # keys of a page's own state
    unless: re.Pattern[str] | None = None
    only: re.Pattern[str] | None = None
    own: bool = True  # says what kind of thing a schema is about; names and descriptions do not
    of: str = ""  # the kind of thing that a thing is
    trail: str = ""  # said by the way to the page, not by its subject: what of it


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing: schema.org's types for it, words for it in titles of schemas, and its properties."""

    name: str
    types: frozenset[str]
    words: frozenset[str]
    properties: Mapping[str, tuple[Property, ...]]  # by each of their names
    social: frozenset[str] = frozenset()  # what OpenGraph calls a page about one

    def property_named(self, words: str, *, is_thing: bool, told: str = "") -> Property | None:
        """The property that people call so, with the kind's own name before it or not: `product name` is a name.

        `told` is what the schema says of it in words: one that is meant only by some of them goes first.
        """
        first, _, rest = words.partition(" ")
        named = self.properties.get(words) or (self.properties.get(rest) if first in self.words else None) or ()
        fitting = [each for each in named if (each.kind == "thing") is is_thing]
        meant = next((each for each in fitting if each.only and each.only.search(told)), None)
        return meant or next((each for each in fitting if not each.only), None)


def says(
    name: str,
    kind: Kind,
    paths: str,
    names: str = "",
    *,
    meta: str = "",
    state: str = "",
    unless: str = "",
    only: str = "",
    own: bool = True,
    of: str = "",
    trail: str = "",
) -> Property:
    return Property(
        name,
        kind,
        frozenset({name, *(each.strip() for each in names.split(",") if each.strip())}),
        tuple(paths.split()),
        tuple(meta.split()),
        tuple(state.split()),
        _words(unless),
        _words(only),
        own,
        of,
        trail,
    )


def _words(pattern: str) -> re.Pattern[str] | None:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE) if pattern else None


def properties_of(thing: Thing) -> Iterator[Property]:
    """Each once, in their order."""
    yield from dict.fromkeys(one for named in thing.properties.values() for one in named)


def thing(name: str, types: str, words: str, properties: Iterable[Property], *, social: str = "") -> Thing:
    by_name: dict[str, tuple[Property, ...]] = {}
    for one in properties:
        for each in one.names:
            by_name[each] = (*by_name.get(each, ()), one)
    return Thing(name, frozenset(types.split()), frozenset(words.split()), by_name, frozenset(social.split()))
