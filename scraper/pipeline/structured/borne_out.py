"""Whether a page bears out what its data says.

Names, texts and numbers must stand on the page as readers see it, a price as what is to be paid now. An identifier, a
date and a currency must stand there too, or be said by two sources that were written apart; an identifier may also be a
number that the page's address has. Enumerations and addresses are shown as buttons and links, in no words that could be
looked up: for them it is enough that no source contradicts, and for an availability that the words by the price do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Final

from scraper.models import Document, Json
from scraper.pipeline.grounding import Field, PageIndex
from scraper.pipeline.grounding import field as grounding_field
from scraper.pipeline.grounding.numbers import needs_support
from scraper.pipeline.grounding.readings import canonical
from scraper.pipeline.structured.in_stock import contradicted
from scraper.pipeline.structured.names import PageNames
from scraper.pipeline.structured.read import names_of
from scraper.pipeline.structured.sayings import Saying
from scraper.pipeline.structured.shown import amount_in, currency_in, day_in, paragraph_in, words_in
from scraper.pipeline.structured.vocabulary import Kind, Property
from scraper.pipeline.structured.wanted import Wanted

MAX_LOOK_UPS: Final = 50  # of one page; a text that is not there takes up to 4 ms
LONG_NUMBER: Final = 5  # digits; a shorter one may be a page or a year
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


class Page:
    """What of a page can bear its data out. What its head says cannot: that is data itself."""

    def __init__(self, text: str, names: PageNames, url: str) -> None:
        self.text = text
        self.names = names
        self.url = url
        self._look_ups = 0

    @classmethod
    def of(cls, document: Document, about: Mapping[str, Json]) -> Page:
        head, gap, body = document.text.partition("\n\n")
        text = body if gap and ": " in head else document.text
        return cls(text, names_of(dict(about)), about["url"])

    def part(self, begin: int, end: int) -> Page:
        """One of several things that the page shows: what is said of it must stand there."""
        return Page(self.text[begin:end], self.names, self.url)

    @cached_property
    def _index(self) -> PageIndex:
        return PageIndex(self.text)

    def look_up(self, value: Json, field: Field) -> str | None:
        """Costs more than all else here: asked only for what is not on the page letter by letter, but may be."""
        self._look_ups += 1
        return self._index.find(value, field) if self._look_ups <= MAX_LOOK_UPS else None

    @cached_property
    def lower(self) -> str:
        return self.text.lower()

    def may_show(self, text: str, kind: Kind) -> bool:
        """False where not even the first word of a name, or the year of a date, stands on the page."""
        if kind == "date":
            return text[:4] in self.text
        first = _WORD.search(text)
        return kind not in {"text", "prose"} or first is None or first[0].lower() in self.lower


def borne_out(saying: Saying, said: Property, field: Wanted, page: Page) -> str | None:
    """The evidence, which is empty where none is needed or two sources agree; None where it is wanting."""
    kind = said.kind
    if kind in {"state", "address"}:
        return None if said.name == "availability" and contradicted(page.text, saying.worth.key) else ""
    shown_as = saying.worth.shown_as
    if kind in {"amount", "count", "duration"}:
        ways = [each for each in (shown_as, saying.worth.or_as) if each]
        return next((found for each in ways if (found := _number_borne_out(each, said, field, page))), None)
    if (found := _at_hand(shown_as, kind, page)) is not None or kind == "paragraph":
        return found
    if len(saying.sources) > 1 and kind not in {"text", "prose"}:
        return ""
    if (
        kind != "words"
        and page.may_show(shown_as, kind)
        and (found := page.look_up(shown_as, grounding_field(said.name)))
    ):
        return found
    return page.url if kind == "code" and _is_in_address(shown_as, page.url) else None


def _at_hand(text: str, kind: Kind, page: Page) -> str | None:
    """The evidence where it is found without an index."""
    if kind == "paragraph":
        return paragraph_in(page.text, text)
    if kind == "date":
        return day_in(page.text, date.fromisoformat(text))
    if kind == "currency" and currency_in(page.lower, text):
        return text
    if kind == "words":  # tags are written small and large
        return words_in(page.lower, text.lower())
    return words_in(page.text, text)


def _number_borne_out(number: str, said: Property, field: Wanted, page: Page) -> str | None:
    """A number that is short must stand beside something that speaks for it: see the grounding of numbers."""
    amount = Decimal(number)
    current = said.name == "price"
    found = amount_in(page.text, amount, current=current)
    wanted = grounding_field(said.name, {"title": field.name})
    if found is None or not needs_support(canonical(number) or number, wanted.demand):
        return found
    if wanted.demand.money and (priced := amount_in(page.text, amount, current=current, priced=True)):
        return priced
    return page.look_up(float(number) if "." in number else int(number), wanted)


def _is_in_address(code: str, url: str) -> bool:
    if len(code) < LONG_NUMBER or not (code.isascii() and code.isdecimal()):
        return False
    return re.search(rf"(?<!\d){code}(?!\d)", url) is not None
