"""The numbers of a page, each with all that it can mean: `1.299` is 1299 to one reader and 1.299 to another.

A number is a whole token: 5 stands neither in 15 nor in 2025, B07F5 or 05:30. Numbers that are short are everywhere by
accident (pages of a list, sizes, dates), so they must also stand beside something that speaks for them: see `Demand`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

from scraper.pipeline.grounding import currencies
from scraper.pipeline.grounding.nearness import Nearness
from scraper.pipeline.grounding.readings import NO_MOMENT, SPELLED, canonical, in_several_pieces, read, usual_forms

MAX_PLACES: Final = 64  # of one number that are remembered; a page that repeats it more often says nothing new
MAX_TOKENS: Final = 50_000  # 0.1 s; real pages have a thousand
LABEL_REACH: Final = 80  # characters from a number to the word that says what it is, in a long line
SHORT_LINE: Final = 200


@dataclass(frozen=True, slots=True)
class Demand:
    """What must stand beside a number that is too short to speak for itself."""

    labels: tuple[str, ...] = ()  # beginnings of words that name the field, in any language known here
    money: bool = False  # then a currency beside the number is best


NO_DEMAND: Final = Demand()


class Numbers:
    """Where on a page each number stands."""

    def __init__(self, normal_text: str) -> None:
        self._text = normal_text
        self._said: dict[tuple[str, ...], bool] = {}

    def find(
        self, value: str, *, demand: Demand = NO_DEMAND, unit: str = "", among: Nearness | None = None
    ) -> int | None:
        """The position of a number that can be read as `value`, which is canonical (see `canonical`).

        With `unit`, one that has it beside it; with `among`, one that stands there, and is no limit.
        """
        negative = value.startswith("-")
        wanted = value.removeprefix("-")
        for begin, end in self._everywhere(wanted):
            if (negative and not _is_negative(self._text, begin)) or (unit and not self._has(unit, begin, end)):
                continue
            if among is not None and (begin not in among or self._is_limit(begin) or self._goes_on(begin, end)):
                continue
            if not needs_support(wanted, demand) or self._supported(begin, end, demand):
                return begin
        return None if unit else self._as_percentage(wanted)

    def first_price(self, begin: int) -> int | None:
        """Where behind `begin` the first number with a currency beside it stands."""
        text = self._text
        for match in islice(_TOKEN.finditer(text, begin), MAX_TOKENS):
            if currencies.before(text, match.start()) or currencies.after(text, match.end()):
                return match.start()
        return None

    def _everywhere(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Where the number stands: first in the forms that most pages use, so that most need no index."""
        for written in usual_forms(wanted):
            at = self._text.find(written)
            for _ in range(MAX_PLACES):
                if at < 0:
                    break
                end = at + len(written)
                if _is_whole(self._text, at, end) and _stands_alone(self._text, at, end):
                    yield at, end
                at = self._text.find(written, end)
        yield from self._places.get(wanted, ())

    def _has(self, unit: str, begin: int, end: int) -> bool:
        near = currencies.aliases(unit) or {unit}
        before, after = self._text[max(0, begin - 12) : begin].rstrip(), self._text[end : end + 12 + len(unit)].lstrip()
        return before.endswith(tuple(near)) or after.startswith(tuple(near))

    def _is_limit(self, begin: int) -> bool:
        return _LIMIT.search(self._text, max(0, begin - 20), begin) is not None

    def _goes_on(self, begin: int, end: int) -> bool:
        """131 is no price where 131 990 stands."""
        return end - begin <= 3 and _THOUSANDS.match(self._text, end) is not None

    def _as_percentage(self, wanted: str) -> int | None:
        """0.15 stands on the page as 15 %."""
        if not wanted.startswith("0."):
            return None
        hundredfold = canonical(str(Decimal(wanted) * 100))
        for begin, end in self._places.get(hundredfold or "", ()):
            if _PERCENT.match(self._text, end):
                return begin
        return None

    def _supported(self, begin: int, end: int, demand: Demand) -> bool:
        text = self._text
        if demand.money:
            if currencies.before(text, begin) or currencies.after(text, end):
                return True
            if _AS_PRICES_ARE.fullmatch(text, begin, end) and NO_MOMENT.isdisjoint(text[begin:end]):
                return True  # 20.00, or 1 299
        if demand.money:
            before = text[max(0, begin - 30) : begin].rpartition("\n")[2]
            return _says(before, demand.labels) or (end - begin > 2 and not self._priced)
        context = _context(text, begin, end)
        if _says(context, demand.labels):
            return True
        return not self._labelled(demand.labels) and _LETTERS.search(context) is not None

    def _labelled(self, labels: tuple[str, ...]) -> bool:
        """Whether the page calls the field by any name known here; if it does, the number must stand beside it."""
        if labels not in self._said:
            self._said[labels] = _says(self._text, labels)
        return self._said[labels]

    @cached_property
    def _priced(self) -> bool:
        """Whether any number of this page has a currency beside it."""
        return any(
            currencies.before(self._text, begin) or currencies.after(self._text, end)
            for places in self._places.values()
            for begin, end in places
        )

    @cached_property
    def _places(self) -> dict[str, list[tuple[int, int]]]:
        text = self._text
        found: dict[str, list[tuple[int, int]]] = {}
        known: dict[str, tuple[str, ...]] = {}
        for match in islice(_TOKEN.finditer(text), MAX_TOKENS):
            begin, end = match.span()
            if _stands_alone(text, begin, end):
                raw = match[0]
                meanings = known.get(raw)
                if meanings is None:
                    meanings = known[raw] = read(raw)
                for meaning in meanings:
                    _add(found, meaning, begin, end)
        for number, begin, end in islice(in_several_pieces(text), MAX_TOKENS):
            _add(found, number, begin, end)
        return found


def _is_whole(text: str, begin: int, end: int) -> bool:
    """Whether the digits do not go on to either side, behind a separator either."""
    before, after = text[max(0, begin - 2) : begin], text[end : end + 2]
    if before[-1:].isdigit() or after[:1].isdigit():
        return False
    return not (before[-1:] in _JOINING and before[:1].isdigit()) and not (
        after[:1] in _JOINING and after[1:].isdigit()
    )


def needs_support(wanted: str, demand: Demand) -> bool:
    if "." in wanted:
        return False
    return len(wanted) <= 4 if demand.money else len(wanted) <= 2


def _says(text: str, labels: tuple[str, ...]) -> bool:
    return bool(labels) and _any_of(labels).search(text) is not None


@lru_cache(512)
def _any_of(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the labels at the beginning of a word, short ones as the whole of it: fee, not feed.

    Scripts that put no spaces between words have no such beginning.
    """
    spaced = "|".join(
        re.escape(label) + (r"s?(?![^\W\d_])" if len(label) <= 3 else "") for label in labels if label[0] < "\u0e00"
    )
    loose = "|".join(re.escape(label) for label in labels if label[0] >= "\u0e00")
    begin = rf"(?<![^\W\d_])(?:{spaced})" if spaced else ""
    return re.compile("|".join(each for each in (begin, loose) if each))


def _context(text: str, begin: int, end: int) -> str:
    """The line around a number and the one above it unless that has its own number; of a long line what is near."""
    line_begin = text.rfind("\n", 0, begin) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    if line_end - line_begin > SHORT_LINE:
        return text[max(line_begin, begin - LABEL_REACH) : min(line_end, end + LABEL_REACH)]
    above = text[max(0, line_begin - LABEL_REACH) : line_begin].rstrip().rpartition("\n")[2]
    line = text[line_begin:line_end]
    return line if _TOKEN.search(above) else f"{above}\n{line}"


def _stands_alone(text: str, begin: int, end: int) -> bool:
    """Whether a number is a word of its own, a unit or a currency beside it allowed: 5kg, Rs99, but not B07F5."""
    if begin and text[begin - 1].isalpha():
        before = _LETTERS_BEFORE.search(text, max(0, begin - 8), begin)
        letters = before[0] if before else ""
        if letters not in {"x", ""} and not currencies.is_word(letters):
            return False
    if end < len(text) and text[end].isalpha():
        following = _LETTERS_AND_DIGIT.match(text, end)
        return following is None or following[1] == "x"
    return True


def _is_negative(text: str, begin: int) -> bool:
    return begin > 0 and text[begin - 1] in "-−–(" and not (begin > 1 and text[begin - 2].isalnum())


def _add(found: dict[str, list[tuple[int, int]]], number: str, begin: int, end: int) -> None:
    places = found.setdefault(number, [])
    if len(places) < MAX_PLACES:
        places.append((begin, end))


# each begins with a set of characters, which `re` looks for fast, and looks back from there
_TOKEN: Final = re.compile(r"\d\d*(?:[.,·٫٬'’^:/-]\d+)*")
_JOINING: Final = frozenset(" .,·٫٬'’^:/-")
_THOUSANDS: Final = re.compile(r" \d{3}(?!\d)")
_AS_PRICES_ARE: Final = re.compile(r".*[.,^٫·]\d\d|\d{1,3}(?:[ .,'’]\d{3})+")
_LIMIT: Final = re.compile(  # free delivery over 50, gifts under 100: of what an order costs
    r"(?<![^\W\d_])(?:over|under|above|below|than|exceeding|at least|minimum|über|unter|mindestens|mehr als|dès|"
    r"plus de|moins de|más de|menos de|mais de|almeno|oltre|fino a|ponad|powyżej|poniżej|nad|pod|свыше|"
    r"больше|до|boven|över)[\s:]{1,2}(?:[^\W\d_]{2,3}|[^\w\s])?\s?$"
)
_PERCENT: Final = re.compile(r"\s?[%٪]|\s?percent|\s?prozent")
_LETTERS: Final = re.compile(r"[^\W\d_]")
_LETTERS_BEFORE: Final = re.compile(rf"[{SPELLED}]+$")
_LETTERS_AND_DIGIT: Final = re.compile(rf"([{SPELLED}]+)\d")
