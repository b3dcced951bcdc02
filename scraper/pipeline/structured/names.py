"""What a page is called and where it is: by this, the one thing that it is about is told from all others on it."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote, urlsplit

_WORD: Final = re.compile(r"[^\W_]+")
MAX_NAMES: Final = 8
MAX_NAME_CHARS: Final = 500
BEGIN_CHARS: Final = 16


@dataclass(frozen=True)
class PageNames:
    """Titles and headings of a page, as written and as words, and its addresses."""

    titles: tuple[str, ...]
    names: tuple[str, ...]
    addresses: frozenset[str]

    def is_name(self, name: str, *, share: float = 0.0) -> bool:
        """Whether the page is called so, exactly or within a longer title that adds a shop's name, or the other way.

        One word is a name only where it is the whole title: `Kettle` is within the title of every kettle. `share` is
        how much of the longer one the shorter must be.
        """
        first, folded = _WORD.search(name), name.casefold()
        if first is None or not any(
            word in folded or first[0].casefold() in page
            for word, page in zip(self._first_words, self.names, strict=True)
        ):
            return False  # as almost all names of a page's state
        words = as_words(name)
        if len(words) < 3:
            return False
        if words in self.names:
            return True
        return any(
            (_within(words, page) and len(words) >= share * len(page))
            or (page.count(" ") >= 2 and len(page) >= max(0.5, share) * len(words) and _within(page, words))
            for page in self.names
            if page.count(" ") and words.count(" ")
        )

    def may_be_in(self, script: str) -> bool:
        """Whether `script` speaks of this page at all; it costs a search for a few words."""
        return any(each in script for each in self._written)

    def is_address(self, address: str) -> bool:
        return any(each in address for each in self.addresses) and comparable_address(address) in self.addresses

    @cached_property
    def _first_words(self) -> list[str]:
        return [name[: name.find(" ")] for name in self.names]

    @cached_property
    def _written(self) -> list[str]:
        """The beginnings of titles and the addresses, as a script may write them."""
        begins = [
            begin[: begin.rfind(" ") if " " in begin[4:] else None]
            for title in self.titles
            if len(begin := title[:BEGIN_CHARS]) > 2
        ]
        return list(
            dict.fromkeys(each for begin in (*begins, *self.addresses) for each in (begin, json.dumps(begin)[1:-1]))
        )


def page_names(names: list[str], addresses: list[str]) -> PageNames:
    words = dict.fromkeys(as_words(name) for name in names[:MAX_NAMES])
    places = frozenset(comparable_address(address) for address in addresses if address)
    places -= {"", "/"}
    return PageNames(tuple(names), tuple(each for each in words if len(each) >= 3), places)


def as_words(text: str, *, chars: int = MAX_NAME_CHARS) -> str:
    """Letters and digits only, without case, compatibility forms folded: `Nº 5 – Neu!` → `no 5 neu`."""
    text = text[:chars]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_WORD.findall(text.casefold()))


def comparable_address(address: str) -> str:
    """The address without what often differs for the same page: scheme, `www.`, query, fragment, last slash.

    An address that is a path only is compared with paths.
    """
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return ""
    path = unquote(parts.path).rstrip("/")
    return path if len(path) > 1 else ""


def _within(words: str, longer: str) -> bool:
    return f" {words} " in f" {longer} "
