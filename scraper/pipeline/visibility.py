"""What of a page nobody sees: elements that their own attributes hide, and characters that show nothing.

Rules of style sheets are not applied: that takes a browser. A page that hides text with a class still shows it here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from selectolax.lexbor import LexborHTMLParser


def remove_hidden(tree: LexborHTMLParser) -> int:
    """Cut out the elements that their own attributes hide. lexbor finds the candidates, 30 ns per element."""
    count = 0
    for node in tree.css("[style], [hidden], dialog:not([open])"):
        attrs = node.attrs
        style = attrs.get("style")
        if style is None or "hidden" in attrs or (_known if len(style) <= 500 else hides)(style):
            if node.tag in {"html", "body"}:
                continue  # hidden only until a script has loaded
            node.decompose()
            count += 1
    return count


def hides(style: str) -> bool:
    """Whether an element with this `style` attribute shows nothing."""
    if "/*" in style:
        style = _STYLE_COMMENT.sub("", style)
    return _HIDING_STYLE.search(style) is not None


_known: Final = lru_cache(2048)(hides)  # pages repeat their styles


def without_invisible(text: str) -> tuple[str, int]:
    """`text` without characters that show nothing, and how many those were.

    `isprintable` knows most of them and costs next to nothing.
    """
    if text.isprintable() and (text.isascii() or not _SMUGGLED.search(text)):
        return text, 0
    return _INVISIBLE.subn("", text)


_HIDING_STYLE: Final = re.compile(
    r"""
      display\s*:\s*none
    | visibility\s*:\s*(hidden|collapse)
    | (?<![\w-])opacity\s*:\s*(?=[.0])0*+\.?0*+\s*(%|;|!|$)
    | font-size\s*:\s*(?=[.0])0*+\.?0*+\s*(px|pt|r?em|ex|ch|%|vw|vh)?\s*(;|!|$)
    | (^|[;\s])(left|right|top|bottom|text-indent|margin-left|margin-top)\s*:\s*-\d{3,}
    | translate[xy]?\(\s*-\d{4,}
    | clip\s*:\s*rect\(\s*(0|1)(px)?[\s,]+(0|1)(px)?
    | clip-path\s*:\s*inset\(\s*(50|100)%
    | scale\(\s*0(\.0+)?\s*\)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_STYLE_COMMENT: Final = re.compile(r"/\*.*?(\*/|$)", re.DOTALL)
_SMUGGLED: Final = re.compile("[\ufe00-\ufe0e\U000e0100-\U000e01ef]")
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ue000-\uf8ff\U000e0000-\U000e0fff]"
    # joiners carry meaning between the letters of Arabic and Indic scripts and in emoji
    "|(?<![\u0600-\u08ff\u0900-\u0dff\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]"
)
