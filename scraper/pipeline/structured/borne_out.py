"""Whether a page bears out what its data says.

Names, texts and numbers must stand on the page as readers see it, a price as what is to be paid now. An identifier, a
date and a currency must stand there too, or be said by two sources that were written apart; an identifier may also be a
number that the page's address has. Enumerations and addresses are shown as buttons and links, in no words that could be
looked up: for them it is enough that no source contradicts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Final

from scraper.models import Document, Json
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding import field as grounding_field
from scraper.pipeline.grounding.numbers import canonical, needs_support
from scraper.pipeline.structured.names import PageNames
from scraper.pipeline.structured.read import names_of
from scraper.pipeline.structured.sayings import Saying
from scraper.pipeline.structured.shown import amount_in, day_in, words_in
from scraper.pipeline.structured.vocabulary import Property
from scraper.pipeline.structured.wanted import Wanted

LONG_NUMBER: Final = 5  # digits; a shorter one may be a page or a year


class Page:
    """What of a page can bear its data out. What its head says cannot: that is data itself."""

    def __init__(self, document: Document, about: Mapping[str, Json]) -> None:
        head, gap, body = document.text.partition("\n\n")
        self.text = body if gap and ": " in head else document.text
        self.names: PageNames = names_of(dict(about))
        self.url: str = about["url"]

    @cached_property
    def index(self) -> PageIndex:
        return PageIndex(self.text)


def borne_out(saying: Saying, said: Property, field: Wanted, page: Page) -> str | None:
    """The evidence, which is empty where none is needed or two sources agree; None where it is wanting."""
    kind = said.kind
    if kind in {"state", "address"}:
        return ""
    shown_as = saying.worth.shown_as
    if kind in {"amount", "count", "duration"}:
        ways = [each for each in (shown_as, saying.worth.or_as) if each]
        return next((found for each in ways if (found := _number_borne_out(each, said, field, page))), None)
    at_hand = day_in(page.text, date.fromisoformat(shown_as)) if kind == "date" else words_in(page.text, shown_as)
    found = at_hand or page.index.find(shown_as, grounding_field(said.name))
    if found is not None or kind in {"text", "prose"}:
        return found
    if len(saying.sources) > 1:
        return ""
    return page.url if kind == "code" and _is_in_address(shown_as, page.url) else None


def _number_borne_out(number: str, said: Property, field: Wanted, page: Page) -> str | None:
    """A number that is short must stand beside something that speaks for it: see the grounding of numbers."""
    found = amount_in(page.text, Decimal(number), current=said.name == "price")
    if found is None and said.name == "price":
        return None
    wanted = grounding_field(said.name, {"title": field.name})
    if found is not None and not needs_support(canonical(number) or number, wanted.demand):
        return found
    return page.index.find(float(number) if "." in number else int(number), wanted)


def _is_in_address(code: str, url: str) -> bool:
    if len(code) < LONG_NUMBER or not (code.isascii() and code.isdecimal()):
        return False
    return re.search(rf"(?<!\d){code}(?!\d)", url) is not None
