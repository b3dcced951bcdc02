"""Which lines of a page a schema asks for: the words of its names and descriptions, and what its types look like.

Pure and cheap: one pass over the lines with one compiled pattern. Pages speak many languages and schemas mostly one,
so words are only half of it; the other half is how prices, dates and addresses are written anywhere.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from scraper.models import Schema
from scraper.pipeline.schema_parts import subschemas

MAX_WORDS: Final = 120  # of a schema and its instructions; more say nothing in particular
LOOKED_AT_CHARS: Final = 2000  # of a line
USUAL_CHARS: Final = 80  # a value stands in a short line; in one four times as long, a word says half as much
NAMED: Final = 3.0  # times as much as a word that only describes
LOOKS_RIGHT: Final = 4.0

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STEM_CHARS: Final = 5
_DESCRIBING_CHARS: Final = 6  # shorter words of a description are mostly those of any sentence
_PROSE: Final = {"body", "text", "content", "article", "description", "summary", "abstract", "story"}

_MONEY: Final = r"[$€£¥₹₽₩₺₪฿₫]|\b(?:usd|eur|gbp|chf|jpy|cny|sek|nok|dkk|pln|czk|aud|cad|inr|brl|rub)\b|zł|\bkr\b|円|元"
_DAY: Final = (
    r"\b\d{4}-\d\d?-\d\d?\b|\b\d\d?[./]\d\d?[./]\d{2,4}\b|\d年|"
    r"\b\d\d?\.? ?(?:[^\W\d_]{3,10})\.?,? \d{4}\b|\b[^\W\d_]{3,10}\.? \d\d?,? \d{4}\b"
)
_LOOKS: Final = (
    (
        {"price", "cost", "amount", "salary", "fee", "wage", "rent", "offer", "budget"},
        re.compile(_MONEY),
    ),
    ({"date", "day", "published", "updated", "modified", "start", "end", "deadline", "time", "born"}, re.compile(_DAY)),
    ({"phone", "telephone", "fax", "mobile"}, re.compile(r"\+?\d[\d ()/-]{6,}\d")),
    ({"mail", "email", "contact"}, re.compile(r"[\w.+-]@[\w-]+\.\w")),
    ({"url", "link", "links", "website", "image", "images"}, re.compile(r"https?://")),
)
"""What properties are called, and how their values look."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a schema asks for, as far as lines of text can show it."""

    names: frozenset[str]  # beginnings of the words in names of properties
    words: re.Pattern[str] | None  # those, and beginnings of the words that describe
    looks: tuple[re.Pattern[str], ...]
    prose: bool  # long text is asked for


def wanted(schema: Schema, instructions: str = "") -> Wanted:
    named = list(dict.fromkeys(_named(schema)))
    described = (word for word in _described(schema, instructions) if len(word) >= _DESCRIBING_CHARS)
    words = list(dict.fromkeys([*named, *described]))[:MAX_WORDS]
    stems = sorted({_stem(word) for word in words}, key=len, reverse=True)
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, stems)) + ")") if stems else None
    looks = tuple(look for names, look in _LOOKS if not names.isdisjoint(named))
    return Wanted(frozenset(map(_stem, named)), pattern, looks, prose=not _PROSE.isdisjoint(named))


def scores(lines: Sequence[str], sought: Wanted) -> list[float]:
    """For each line how much of what is wanted it may hold. A word that many lines hold says little."""
    seen = [line[:LOOKED_AT_CHARS].lower() for line in lines]
    text = "\n".join(seen)  # one search through all of it costs less than one through each line
    starts = list(accumulate((len(line) + 1 for line in seen), initial=0))

    def found(pattern: re.Pattern[str]) -> set[tuple[int, str]]:
        return {(bisect_right(starts, match.start()) - 1, match[0]) for match in pattern.finditer(text)}

    words = found(sought.words) if sought.words else set()
    held_by = Counter(word for _, word in words)
    rarity = {word: math.log(1 + len(lines) / count) / math.log(1 + len(lines)) for word, count in held_by.items()}
    worth = [0.0] * len(lines)
    for at, word in words:
        worth[at] += rarity[word] * (NAMED if word in sought.names else 1.0)
    for look in sought.looks:
        for at in {at for at, _ in found(look)}:
            worth[at] += LOOKS_RIGHT
    return [each / math.sqrt(max(1.0, len(line) / USUAL_CHARS)) for each, line in zip(worth, seen, strict=True)]


def _named(schema: Schema) -> Iterator[str]:
    for _, part in subschemas(schema):
        properties = part.get("properties")
        if isinstance(properties, dict):
            for name in properties:
                yield from _plain(name)


def _described(schema: Schema, instructions: str) -> Iterator[str]:
    for _, part in subschemas(schema):
        for text in (part.get("title"), part.get("description"), *part.get("enum", ())):
            if isinstance(text, str):
                yield from _plain(text)
    yield from _plain(instructions)


def _plain(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text))]


def _stem(word: str) -> str:
    """So much of a word that its other forms have too: availab(le, ility)."""
    return word[: max(_STEM_CHARS, len(word) - 3)]
