"""What of a page nobody sees: elements that their attributes or simple rules of its style sheets hide, and characters
that show nothing.

A browser would know more: which style sheets are loaded, which rule wins, what a script opens. Here only a rule that
hides by one tag, id or classes counts, and only where no other rule of the page shows what has that name; see
`hiding_rules`. What a page hides in any other way is still read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from scraper.pipeline.style_sheets import hiding_rules

MAX_CSS_CHARS: Final = 32 * 1024  # of a page's own style sheets; those that inline whole frameworks have more


def remove_hidden(tree: LexborHTMLParser, styles: Iterable[LexborNode]) -> Mapping[str, int]:
    """Cut out what is hidden, and say how many elements in which way. lexbor finds the candidates, 30 ns an element."""
    count: Counter[str] = Counter()
    for node in tree.css("[style], [hidden], dialog:not([open])"):
        attrs = node.attrs
        style = attrs.get("style")
        kind = "hidden" if style is None or "hidden" in attrs else (_known if len(style) <= 500 else hidden_by)(style)
        if kind and node.tag not in _WHOLE_PAGE and node.parent is not None:  # else it went with what it was in
            node.decompose()
            count[kind] += 1
    for kind, selectors in hiding_rules(_style_sheets(styles), hidden_by=_known).items():
        for node in tree.css(", ".join(selectors)):
            if _remove(node, kind):
                count[kind] += 1
    return count


def _style_sheets(styles: Iterable[LexborNode]) -> str:
    parts = []
    room = MAX_CSS_CHARS
    for node in styles:
        if room <= 0 or node.attrs.get("media", "all") not in {"", "all", "screen"}:
            continue
        parts.append(node.text()[:room])
        room -= len(parts[-1])
    return "\n".join(parts)


def _remove(node: LexborNode, kind: str) -> bool:
    """Cut out an element that a rule hides, or of it what the rule surely hides."""
    if node.tag in _NEVER_BY_RULE or node.parent is None:
        return False
    if kind == "zero_size" and any(child.css_first("[class], [id], [style]") for child in node.iter()):
        return False  # lists get no font size to close the gaps between their items, which then have their own
    node.decompose()
    return True


def hidden_by(style: str) -> str | None:
    """In which way an element with the declarations `style` shows nothing; None where it shows."""
    style = " ".join(style.lower().split())
    if "/*" in style or "\\" in style:
        style = " ".join(_ESCAPE.sub(_escaped, _STYLE_COMMENT.sub("", style)).split())
    found = [(at.start(), way) for hint, way, rule in _HIDING if hint in style and (at := rule.search(style))]
    if _FAR_AWAY.search(style) and (at := _OFF_SCREEN.search(style)):
        found.append((at.start(), "off_screen"))
    if found:
        return min(found)[1]  # the first of them
    if "overflow" in style and _OVERFLOW.search(style) and _is_tiny(style):
        return "zero_size"
    return "same_colour" if "color" in style and _is_invisible_colour(style) else None


_known: Final = lru_cache(2048)(hidden_by)  # pages repeat their styles


def _is_tiny(style: str) -> bool:
    return _NO_ROOM.search(style) is not None or len(set(_ONE_PIXEL.findall(style))) == 2


def _is_invisible_colour(style: str) -> bool:
    """Text in the colour of its own background, or in none; a gradient that is cut to the text shows it."""
    colour = _last(_COLOUR.findall(style))
    if not colour or "background-clip" in style or "text-shadow" in style:
        return False
    return _NO_COLOUR.fullmatch(colour) is not None or colour == _last(_BACKGROUND.findall(style))


def _last(colours: Iterable[str]) -> str:
    """The one that wins, written in one way."""
    *_, last = "", *colours
    colour = "".join(last.replace("!important", "").split())
    if len(colour) == 4 and colour[0] == "#":
        colour = "#" + "".join(each * 2 for each in colour[1:])
    return _NAMED_COLOURS.get(colour, colour)


def without_invisible(text: str) -> tuple[str, Mapping[str, int]]:
    """`text` without characters that show nothing, and how many those were of each kind.

    `isprintable` knows most of them and costs next to nothing.
    """
    if text.isprintable() and (text.isascii() or not _SMUGGLED.search(text)):
        return text, {}
    shown, count = _INVISIBLE.subn("", text)
    if not count:
        return text, {}
    return shown, Counter(map(_kind_of, _INVISIBLE.findall(text)))


def _kind_of(character: str) -> str:
    code = ord(character)
    if code >= 0xE0000 or 0xFE00 <= code <= 0xFE0F:
        return "smuggled"  # tags and variation selectors carry text that only machines read
    if character in _BIDI:
        return "bidi"
    return "control" if code < 0xA0 else "zero_width"


def _escaped(match: re.Match[str]) -> str:
    r"""What a CSS escape stands for: \6e is n."""
    code = int(match[1], 16) if match[1] else 0
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else (match[2] or "")


_WHOLE_PAGE: Final = frozenset({"html", "body"})  # hidden only until a script has loaded
_NEVER_BY_RULE: Final = _WHOLE_PAGE | {"head", "main", "article", "img"}  # faded in once a script or they have loaded
_HIDING: Final = tuple(
    (hint, way, re.compile(rule, re.VERBOSE))
    for hint, way, rule in (
        ("display", "hidden", r"display\s*:\s*none"),
        ("visibility", "hidden", r"(?:(?<!-)|(?<=content-))visibility\s*:\s*hidden | (?<!-)visibility\s*:\s*collapse"),
        ("opacity", "transparent", r"opacity(?<![\w-]opacity)\s*:\s*(?=[.0])0*+\.?0*+\s*(?:%|;|!|$)"),
        ("opacity(", "transparent", r"opacity\(\s*0(?:\.0+|%)?\s*\)"),
        ("font-size", "zero_size", r"font-size\s*:\s*(?=[.0])0*+\.?0*+\s*(?:px|pt|r?em|ex|ch|%|vw|vh)?\s*(?:;|!|$)"),
        ("scale(", "zero_size", r"scale\(\s*0(?:\.0+)?\s*\)"),
        ("clip", "zero_size", r"clip\s*:\s*rect\(\s*(?:0|1)(?:px)?[\s,]+(?:0|1)(?:px)?"),
        (
            "clip-path",
            "zero_size",
            r"clip-path\s*:\s*(?:inset\(\s*(?:50|100)%|circle\(\s*0|polygon\(\s*0(?:px|%)?\s+0(?:px|%)?\s*\))",
        ),
    )
)
"""What hides, and how. A hint is plain text, found in a tenth of a pattern's time; most styles have none."""
_FAR_AWAY: Final = re.compile(r"-\d\d\d")
_OFF_SCREEN: Final = re.compile(
    r"(?:^|[;\s])(?:left|right|top|bottom|text-indent|margin-left|margin-top)\s*:\s*-\d{3,}"
    r"|translate[xy]?\(\s*-\d{4,}"
)
_OVERFLOW: Final = re.compile(r"overflow(?:-[xy])?\s*:\s*(?:hidden|clip)")
_NO_ROOM: Final = re.compile(r"(?:^|[; ])(?:max-)?(?:height|width)\s*:\s*0(?:\.0+)?(?:px|r?em|%)?\s*(?:;|!|$)")
_ONE_PIXEL: Final = re.compile(r"(?:^|[; ])(height|width)\s*:\s*1px")
_COLOUR: Final = re.compile(r"color(?<![^;\s{]color)\s*:\s*([^;]{1,60})")
_BACKGROUND: Final = re.compile(r"background(?:-color)?\s*:\s*([^;]{1,60})")
_NO_COLOUR: Final = re.compile(r"transparent|(?:rgba|hsla)\([^)]*,0(?:\.0+)?\)|#[0-9a-f]{6}00|#[0-9a-f]{3}0")
_NAMED_COLOURS: Final = {
    **dict.fromkeys(("white", "rgb(255,255,255)", "rgba(255,255,255,1)"), "#ffffff"),
    **dict.fromkeys(("black", "rgb(0,0,0)", "rgba(0,0,0,1)"), "#000000"),
    **dict.fromkeys(("red", "rgb(255,0,0)"), "#ff0000"),
    **dict.fromkeys(("gray", "grey", "rgb(128,128,128)"), "#808080"),
}
_STYLE_COMMENT: Final = re.compile(r"/\*.*?(\*/|$)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.IGNORECASE | re.DOTALL)
_SMUGGLED: Final = re.compile("[\ufe00-\ufe0e\U000e0100-\U000e01ef]")
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb\ue000-\uf8ff\U000e0000-\U000e0fff]"
    # joiners carry meaning between the letters of Arabic and Indic scripts and in emoji
    "|(?<![\u0600-\u08ff\u0900-\u0dff\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])[\u200c\u200d]"
)
