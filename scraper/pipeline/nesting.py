"""Pages that parsing would take long or much memory for, told by counting; and how to make deep ones harmless.

It is the text that is counted in, and a page that wants to can hide its depth from that, by closing tags in a comment.
A large one then costs a child as much time as it may take for one; a small one its worker at most half a second. The
attributes of a tag cannot hide: see `_end_of_any_tag`.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 512  # as in Chromium; lexbor's time grows with the square of it: 17 s at 100,000
MAX_STEPS: Final = 64_000_000  # tags × depth: for each tag lexbor may walk through all that are open, 1-5 ns each

MANY_ELEMENTS: Final = 250_000  # a quarter of a second and 100 MB; of 160 real pages the worst comes to 200,000
MANY_ATTRIBUTES: Final = 10_000  # of one tag: each is compared with all before it, 0.15 s; no real page has so many

_LOOK: Final = 2 * 1024  # characters of the page between two counts
_LOOKS_FOR_END: Final = 8  # at the `>` of a place; of real pages mostly the first one ends its tag
_SPACES: Final = 40  # between `=` and a value; behind more of them may be anything


def too_deep(html: str, *, tags: int) -> bool:
    """Whether so many of its `tags` may be open at once that parsing would take long; counted, not parsed."""
    return tags * tags > MAX_STEPS and tags * _open_at_once(html) > MAX_STEPS


def _open_at_once(html: str) -> int:
    """How many tags are open at the deepest place of the page, or more: those that need no end count as well."""
    most = still_open = 0
    for begin in range(0, len(html), _LOOK):
        closing = html.count("</", begin, begin + _LOOK + 1)
        opening = html.count("<", begin, begin + _LOOK) - closing
        most = max(most, still_open + opening)
        still_open = max(0, still_open + opening - closing)
    return most


def crowded(html: str) -> bool:
    """Whether a tag may have so many attributes that parsing it would take long: 17 s for 100,000.

    So many need room, and within that room no tag ends: a page is mostly only looked at where one should.
    """
    begin = 0
    for place in range(0, len(html), MANY_ATTRIBUTES):
        if (end := _end_of_any_tag(html, begin, place)) >= 0:
            if _may_crowd(html, begin, end):
                return True
            begin = end + 1
    return _may_crowd(html, begin, len(html))


def _end_of_any_tag(html: str, begin: int, place: int) -> int:
    """Where behind `place` a `>` ends whatever tag is open, one that begins behind `begin`; -1 where none surely does.

    Only within the value of an attribute does it not: then the last quotation mark of its kind is the one that the
    value begins with, behind `=`.
    """
    end = place + MANY_ATTRIBUTES
    for _ in range(_LOOKS_FOR_END):
        if (end := html.rfind(">", place, end)) < 0:
            break
        if not (_opens(html, html.rfind('"', begin, end)) or _opens(html, html.rfind("'", begin, end))):
            return end
    return -1


def _opens(html: str, mark: int) -> bool:
    """Whether the quotation mark there may be one that a value begins with."""
    return mark > 0 and (html[max(0, mark - _SPACES) : mark].rstrip() or "=").endswith("=")


def _may_crowd(html: str, begin: int, end: int) -> bool:
    """Whether between two ends of tags there is room for one with too many attributes."""
    if end - begin <= 2 * MANY_ATTRIBUTES:
        return False
    tag = _TAG_BEGINS.search(html, begin, end)
    return tag is not None and _names_between(html, tag.end(), end) > MANY_ATTRIBUTES


def _names_between(html: str, begin: int, end: int) -> int:
    """How many attributes can stand there at most: each stands behind one of these characters."""
    return sum(html.count(each, begin, end) for each in " \n\t\r\f/\"'")


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


_TAG_BEGINS: Final = re.compile("<[a-zA-Z]")
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*+)[^<>]*+>")
_UNNESTED_TAGS: Final = (
    "area base br col embed hr img input link meta source track wbr p li td th tr dt dd option optgroup tbody thead "
    "tfoot colgroup rt rp"
)
_NOT_NESTING: Final = frozenset(_UNNESTED_TAGS.split())

_NAME: Final = r"(?:[bBiIsSuU]|[bB][iI][gG]|[cC][oO][dD][eE]|[eE][mM]|[fF][oO][nN][tT]|[sS][mM][aA][lL][lL]|[sS][tT][rR][iI][kK][eE]|[sS][tT][rR][oO][nN][gG]|[tT][tT])[\s/>]"  # noqa: E501 spelt out, because ignoring case is three times as slow
_FORMATTING: Final = re.compile(f"<(?=[bBiIsSuUcCeEfFtT]){_NAME}")  # most tags begin with another letter
_FORMATTING_OR_ITS_END: Final = re.compile(f"<(/?){_NAME}")
"""What HTML opens again by itself, without `a` and `nobr`: one of those closes the one before."""
