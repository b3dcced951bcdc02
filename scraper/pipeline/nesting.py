"""Pages nested so deep that parsing them would take long, and how to make them harmless."""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 512  # as in Chromium; lexbor's time grows with the square of it: 17 s at 100,000
MANY_TAGS: Final = 8000  # fewer are not worth a second look
MANY_UNCLOSED: Final = 4000  # tags left open; fewer cannot cost more than about 0.1 s


def too_deep(html: str) -> bool:
    """Whether so many tags stay open that parsing would take long; counted, not parsed."""
    opened = html.count("<")
    return opened > MANY_TAGS and opened - 2 * html.count("</") > MANY_UNCLOSED


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


_TAG: Final = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*)[^<>]*>")
_UNNESTED_TAGS: Final = (
    "area base br col embed hr img input link meta source track wbr p li td th tr dt dd option optgroup tbody thead "
    "tfoot colgroup rt rp"
)
_NOT_NESTING: Final = frozenset(_UNNESTED_TAGS.split())
