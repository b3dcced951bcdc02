"""Pages that parsing would take long or much memory for, told by counting; and how to make deep ones harmless."""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 512  # as in Chromium; lexbor's time grows with the square of it: 17 s at 100,000
MANY_TAGS: Final = 8000  # fewer are not worth a second look
MANY_UNCLOSED: Final = 4000  # tags left open; fewer cannot cost more than about 0.1 s

MANY_ELEMENTS: Final = 250_000  # a quarter of a second and 100 MB; of 160 real pages the worst comes to 200,000


def too_deep(html: str, *, tags: int) -> bool:
    """Whether so many of its `tags` stay open that parsing would take long; counted, not parsed."""
    return tags > MANY_TAGS and tags - 2 * html.count("</") > MANY_UNCLOSED


def multiplies(html: str, *, tags: int) -> bool:
    """Whether formatting tags left open could make the parser build far more elements than the page has tags.

    HTML wants what is still bold at the end of a paragraph to be bold in the next, by an element of its own: 3000 such
    tags and 3000 paragraphs in 56 kB become 9 million elements, 11 s and 3 GB.
    """
    if tags * tags <= 4 * MANY_ELEMENTS or len(_FORMATTING.findall(html)) * tags <= MANY_ELEMENTS:
        return False
    still_open = most = 0
    for closing in _FORMATTING_OR_ITS_END.findall(html):
        still_open = max(0, still_open - 1) if closing else still_open + 1
        most = max(most, still_open)
    return most * tags > MANY_ELEMENTS


def tags_of(html: str) -> int:
    """How many tags it has, opening and closing ones."""
    return html.count("<")


def flatten(html: str) -> str:
    """The page with tags that are nested too deep replaced by spaces."""
    depth = 0

    def keep(match: re.Match[str]) -> str:
        nonlocal depth
        closing, name = match.groups()
        if name.lower() in _NOT_NESTING:
            return match[0]
        if closing:
            depth = max(0, depth - 1)
            return match[0] if depth < MAX_DEPTH else " "
        depth += 1
        return match[0] if depth <= MAX_DEPTH else " "

    return _TAG.sub(keep, html)


_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*+)[^<>]*+>")
_UNNESTED_TAGS: Final = (
    "area base br col embed hr img input link meta source track wbr p li td th tr dt dd option optgroup tbody thead "
    "tfoot colgroup rt rp"
)
_NOT_NESTING: Final = frozenset(_UNNESTED_TAGS.split())

_NAME: Final = r"(?:[bBiIsSuU]|[bB][iI][gG]|[cC][oO][dD][eE]|[eE][mM]|[fF][oO][nN][tT]|[sS][mM][aA][lL][lL]|[sS][tT][rR][iI][kK][eE]|[sS][tT][rR][oO][nN][gG]|[tT][tT])[\s/>]"  # noqa: E501 spelt out, because ignoring case is three times as slow
_FORMATTING: Final = re.compile(f"<{_NAME}")
_FORMATTING_OR_ITS_END: Final = re.compile(f"<(/?){_NAME}")
"""What HTML opens again by itself, without `a` and `nobr`: one of those closes the one before."""
