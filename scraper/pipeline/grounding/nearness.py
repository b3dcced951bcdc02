"""Where on a page its one thing is spoken of: by its name, and as far as what it costs.

A shop's page shows the prices and the brands of a hundred other goods, all of them beside currencies and links like its
own. What tells them apart is where they stand: a page says what its thing is, who makes it and what it costs next to
its name; what stands far behind that is something else's. Where no heading is the page's title, nothing is known of
this and everything counts as near.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Final

BEFORE: Final = 300  # characters before the name: categories, a brand, a price above it
BEHIND: Final = 2000  # behind the first price after the name: versions, conditions, the same in other words
MAX_NAMES: Final = 10  # a page that heads more parts with its title is no page of a thing
SAME_WORDS: Final = 0.5  # of a heading's words in the title: shops put theirs before and behind


class Nearness:
    """Made when the first value asks for it; a value that stands right below the name needs to know no price."""

    def __init__(self, normal_text: str, *, title: str, about: int, first_price: Callable[[int], int | None]) -> None:
        """`title` is normal as well; what is said about the page begins at `about`, behind its text."""
        self._text = normal_text
        self._title = title
        self._about = about
        self._first_price = first_price

    def __contains__(self, position: int) -> bool:
        names = self._names
        if not names or position < self._head or position >= self._about:
            return True
        if any(-BEFORE <= position - name <= BEHIND for name in names):
            return True
        return any(name < position <= end for name, end in self._reaches)

    @cached_property
    def _names(self) -> list[int]:
        title = set(_WORD.findall(self._title))
        if not title:
            return []
        headings = [(match.start(), set(_WORD.findall(match[1]))) for match in _HEADING.finditer(f"\n{self._text}")]
        named = [at for at, words in headings if words and len(words & title) >= SAME_WORDS * len(words)]
        return named[:MAX_NAMES]

    @cached_property
    def _head(self) -> int:
        """How far the facts of the page's head go, which are about the page."""
        head = self._text.find("\n\n", 0, self._names[0])
        return head if ": " in self._text[: max(0, head)] else 0

    @cached_property
    def _reaches(self) -> list[tuple[int, int]]:
        """From each name to what still is near it: in one pass, however many names there are."""
        found: list[tuple[int, int]] = []
        price: int | None = -1
        for name in self._names:
            if price is not None and price < name:
                price = self._first_price(name)
            found.append((name, self._about if price is None else price + BEHIND))
        return found


_WORD: Final = re.compile(r"\w+")
_HEADING: Final = re.compile(r"\n# (.+)")  # begins with plain text, which `re` looks for fast
