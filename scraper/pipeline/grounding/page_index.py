"""Whether a value stands on the page: looked up there, and shown as it stands there.

The page is what a model was given to read or could have been: all of the cleaned text (with what did not fit into a
prompt), the facts of its head, its links and its address. Text that readers cannot see was taken out before, so a value
that stands only there is not grounded. Nothing here judges whether the value is the *right* one of those on the page.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Final

from scraper.models import Json
from scraper.pipeline.grounding import currencies
from scraper.pipeline.grounding.dates import Dates, moment, spoken
from scraper.pipeline.grounding.fields import Field, field
from scraper.pipeline.grounding.links import Links, is_address
from scraper.pipeline.grounding.nearness import Nearness
from scraper.pipeline.grounding.numbers import MAX_PLACES, Demand, Numbers, needs_support
from scraper.pipeline.grounding.readings import canonical, readings
from scraper.pipeline.grounding.text import MAX_EVIDENCE_CHARS, PageText, normal, normal_value, words

LONG_WORDS: Final = 12  # more words than this are looked up in pieces: a model joins, cuts and mends long texts
PIECE_WORDS: Final = 4
MAX_PIECES: Final = 64  # of a long text, spread evenly
MOST: Final = 0.8  # share of the pieces that must stand on the page
MAX_VALUE_CHARS: Final = 200_000
MAX_PAGE_CHARS: Final = 500_000  # the longest of 160 real pages has 344,000, nearly all of it a list of cookies
_NO_FIELD: Final = Field()


class PageIndex:
    """Built once for a page and asked for each value. What a look-up needs is made when the first one needs it."""

    def __init__(self, text: str, *, title: str = "", address: str = "", base_url: str = "") -> None:
        """`text` is the cleaned text, `address` where the page lies; relative addresses are resolved by `base_url`."""
        self._links_in_text: list[str] = []
        text = text[:MAX_PAGE_CHARS]
        if " (http" in text:
            self._links_in_text = _LINK.findall(text)
            text = _LINK.sub("", text)
        about = [title] if title and title not in text[:2000] else []
        if address:
            about.append(f"Address: {address}")
        self._page = PageText("\n".join([text.replace("~~", ""), *about]))
        self._title, self._about = title, "\n".join(about)
        self._address = address
        self._known: dict[tuple[str | float, bool, Field], str | None] = {}  # lists repeat their values
        self._base_url = base_url or address
        self.chars = len(text)

    def find(self, value: Json, wanted: Field = _NO_FIELD) -> str | None:
        """The page's own words where `value`, a string or a number, stands; None where it does not."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        asked = (value, isinstance(value, str), wanted)
        if asked not in self._known:
            self._known[asked] = (
                self._find_text(value[:MAX_VALUE_CHARS], wanted)
                if isinstance(value, str)
                else self._find_number(canonical(value), wanted)
            )
        return self._known[asked]

    def _find_number(self, value: str | None, wanted: Field) -> str | None:
        position = self._numbers.find(value, demand=wanted.demand, among=self._among(wanted)) if value else None
        return None if position is None else self._at(position)

    def _among(self, wanted: Field) -> Nearness | None:
        """The positions where a value for the field may stand; None for all."""
        return self._near if wanted.near else None

    def _find_text(self, value: str, wanted: Field) -> str | None:
        if is_address(value) or wanted.format in {"uri", "url", "uri-reference", "iri"}:
            return self._find_address(value)
        plain = normal_value(value)
        if wanted.demand.money or not _LETTER.search(plain):
            amount = _AMOUNT.fullmatch(plain)
            if amount is not None and _is_short(amount["number"], wanted.demand):
                return self._find_amount(amount["number"], wanted)
        if currencies.is_code(value) or "currenc" in wanted.name.lower():
            return self._find_currency(value, wanted)
        if found := self._find_verbatim(value.strip(), plain, wanted):
            return found
        looked_up = words(plain).replace(" \n", "")
        if not looked_up.strip():
            return self._find_signs(value.strip())
        return (
            self._find_words(looked_up, value, wanted)
            or self._find_date(value, plain)
            or self._find_duration(value, wanted)
            or self._find_amount_in(plain, wanted)
            or self._find_code(plain)
            or self._find_parts(plain, looked_up)
            or self._find_most(looked_up)
        )

    def _find_address(self, value: str) -> str | None:
        if found := self._links.find(value):
            return found[:MAX_EVIDENCE_CHARS]
        if not (key := self._links.key(value).lower()):
            return None
        at = self._page.find_verbatim(key)
        return None if at is None else self._at(at, chars=len(key))

    def _find_words(self, looked_up: str, value: str, wanted: Field) -> str | None:
        bare = looked_up.strip()
        if len(bare) <= 2 and bare.isascii():
            return self._find_short(value.strip())
        if bare.isalpha() and bare.isascii():
            return None  # one word, which does not stand there verbatim
        line = self._page.find(looked_up)
        if line is None or (wanted.near and self._page.position_of(line) not in self._near):
            return None
        return self._page.evidence(line, bare)

    def _find_verbatim(self, value: str, plain: str, wanted: Field) -> str | None:
        """As most values stand on the page; found without making its words first."""
        if len(plain) <= 2 or "\n" in plain:
            return None
        is_name = plain.isalpha() and value[:1].isupper() and len(value) == len(plain)
        find = self._page.find_name if is_name else self._page.find_verbatim
        at = find(plain, among=self._among(wanted))
        return None if at is None else self._at(at, chars=len(plain))

    def _find_short(self, value: str) -> str | None:
        """One or two letters are anywhere: they must stand there in the same case, and not as part of I'm or C++."""
        pattern = rf"(?<![\w'’&]){re.escape(value)}(?![\w'’&+])"
        found = re.search(pattern, self._page.plain)
        return None if found is None else self._page.evidence(self._page.plain.count("\n", 0, found.start()), value)

    def _find_signs(self, value: str) -> str | None:
        """What has neither letters nor digits, such as € or ★★★."""
        at = self._page.plain.find(value) if value else -1
        return None if at < 0 else self._page.evidence(self._page.plain.count("\n", 0, at), value)

    def _find_currency(self, value: str, wanted: Field) -> str | None:
        names = currencies.aliases(value) or frozenset({normal_value(value)})
        there = {each for each in names if each in self._page.normal}
        if not there:
            return None
        near = self._among(wanted)
        places = (match.start() for match in currencies.beside_numbers(there).finditer(self._page.normal))
        at = next((at for at in islice(places, MAX_PLACES) if near is None or at in near), None)
        return None if at is None else self._at(at)

    def _find_date(self, value: str, plain: str) -> str | None:
        wanted = moment(value) or spoken(plain)
        position = self._dates.find(wanted) if wanted else None
        return None if position is None else self._at(position)

    def _find_duration(self, value: str, wanted: Field) -> str | None:
        """PT1H30M stands on the page as 90 minutes or as 1 h 30."""
        length = _DURATION.fullmatch(value.strip())
        if length is None or not any(length.groups()):
            return None
        days, hours, minutes = (int(part or 0) for part in length.groups())
        in_minutes = replace(wanted, demand=replace(wanted.demand, labels=_MINUTES))
        return self._find_number(str((24 * days + hours) * 60 + minutes), in_minutes)

    def _find_amount_in(self, plain: str, wanted: Field) -> str | None:
        """A number with a currency or a unit, written in another way than on the page: 12.99 EUR for 12,99 €."""
        amount = _AMOUNT.fullmatch(plain)
        if amount is None or (amount["before"] and not currencies.is_word(amount["before"])):
            return None
        units = [unit for unit in (amount["before"], amount["after"]) if unit]
        return self._find_amount(amount["number"], wanted, unit=units[0] if units else "")

    def _find_amount(self, number: str, wanted: Field, *, unit: str = "") -> str | None:
        for meaning in readings(re.sub(r"(?<=\d) (?=\d)", "'", number)):
            position = self._numbers.find(meaning, demand=wanted.demand, unit=unit, among=self._among(wanted))
            if position is not None:
                return self._at(position)
        return None

    def _find_code(self, plain: str) -> str | None:
        """An article or phone number whose groups the page separates in another way, or not at all."""
        if not 6 <= len(plain) <= 60 or plain.count(" ") > 6:
            return None
        bare = "".join(filter(str.isalnum, plain))
        digits = "".join(filter(str.isdigit, bare))
        if not digits or not 6 <= len(bare) <= 40 or len(bare) > 2 * len(digits) + 6:
            return None
        if found := self._search_code(bare):
            return found
        return self._find_phone(digits) if bare == digits and _PHONE.fullmatch(plain) else None

    def _find_phone(self, digits: str) -> str | None:
        """The same number with or without the code of its country: +49 (0)30 … and 030 …."""
        if not 9 <= len(digits) <= 15:
            return None
        prefix = r"(?<!\w)(?=[\d\s()./-]{0,30}[\s()./-])[+(]{0,2}\d[\d\s()./-]{0,8}?"
        return self._search_code(digits[-8:], start=prefix)

    def _search_code(self, bare: str, *, start: str = r"(?<!\w)") -> str | None:
        if bare not in self._bare:
            return None
        found = re.search(start + r"[\s._/()-]{0,3}".join(bare) + r"(?!\w)", self._page.normal)
        return None if found is None else self._at(found.start(), chars=len(found[0]))

    def _find_parts(self, plain: str, looked_up: str) -> str | None:
        """A value that was put together from several places, such as an address: every part must stand on the page."""
        if len(plain) > 500 or looked_up.count(" ") > 3 * LONG_WORDS:
            return None
        parts = [part for part in map(words, _JOINT.split(plain)) if part.strip()]
        if not 2 <= len(parts) <= 12:
            return None
        lines = [self._page.find(part) for part in parts]
        if any(line is None for line in lines):
            return None
        longest = max(range(len(parts)), key=lambda index: len(parts[index]))
        return self._page.evidence(lines[longest] or 0, parts[longest].strip())

    def _find_most(self, looked_up: str) -> str | None:
        """A long text: most of its pieces of a few words must stand on the page."""
        each = looked_up.split()
        if len(each) < LONG_WORDS:
            return None
        starts = range(len(each) - PIECE_WORDS + 1)
        starts = starts[:: max(1, -(-len(starts) // MAX_PIECES))]
        pieces = [f" {' '.join(each[start : start + PIECE_WORDS])} " for start in starts]
        there = [piece for piece in pieces if piece in self._page.in_a_row]
        if len(there) < MOST * len(pieces):
            return None
        line = self._page.find(there[0])
        return self._page.evidence(line or 0, there[0].strip())

    def _at(self, position: int, *, chars: int = 20) -> str:
        return self._page.evidence(self._page.line_at(position), at=position, chars=chars)

    @cached_property
    def _near(self) -> Nearness:
        text = self._page.normal
        about = len(text) - len(normal(self._about))
        return Nearness(text, title=normal(self._title), about=about, first_price=self._numbers.first_price)

    @cached_property
    def _numbers(self) -> Numbers:
        return Numbers(self._page.normal)

    @cached_property
    def _bare(self) -> str:
        bare = self._page.normal
        for each in _BETWEEN_GROUPS:
            bare = bare.replace(each, "")
        return bare

    @cached_property
    def _dates(self) -> Dates:
        return Dates(self._page.normal)

    @cached_property
    def _links(self) -> Links:
        return Links([*self._links_in_text, self._address], base_url=self._base_url)


def _is_short(number: str, demand: Demand) -> bool:
    return number.isdecimal() and number[0] != "0" and needs_support(number, demand)


_DURATION: Final = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:0+S)?)?")
_MINUTES: Final = field("minutes").demand.labels + field("hours").demand.labels
_LINK: Final = re.compile(r" \((https?://\S*)\)")
_LETTER: Final = re.compile(r"[^\W\d_]")
_AMOUNT: Final = re.compile(
    r"[^\w\d]{0,3}(?P<before>[^\W\d_]{1,4}\.?)?[^\w\d]{0,3}(?P<number>\d+(?:[.,'’^ ]\d+)*)[^\w\d]{0,3}"
    r"(?P<after>[^\W\d_]{1,12}\.?)?[^\w\d]{0,2}"
)
_BETWEEN_GROUPS: Final = " \n._/()-"
_PHONE: Final = re.compile(r"(?:\+|0)[\d\s()./-]+")
_JOINT: Final = re.compile(r"\s*[,;:|\n()/·•]\s+|\s+[-–—(/|]\s*|\)$|\n|…|\.\.\.")
