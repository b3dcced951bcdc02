"""The rules of a page's own style sheets that hide what has a certain tag, id or class. Pure.

Only rules that hold always are read (none in `@media` or another block), with one simple selector: `p`, `.a`, `#b`,
`p.a.b`. Where another rule shows what has one of those names, as for menus, tabs and whatever a script opens by adding
a class, nothing is hidden: text that readers can open is part of the page. So a page that hides its text and also has
a rule that would show it still gets it read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

MAX_SELECTORS: Final = 64  # 30 µs each on a page of ordinary size

MAX_DECLARATIONS_CHARS: Final = 1000  # of one rule; longer ones carry pictures


def hiding_rules(css: str, *, hidden_by: Callable[[str], str | None]) -> dict[str, list[str]]:
    """The selectors of what is hidden, by the way it is hidden in; `hidden_by` says it of a rule's declarations."""
    css = " ".join((_COMMENT.sub("", css) if "/*" in css else css).split())
    hidden: dict[str, str] = {}
    for selectors, declarations in _telling_rules(css):
        if len(hidden) >= 4 * MAX_SELECTORS or not (kind := hidden_by(declarations)):
            continue
        for each in selectors.split(","):
            if _SIMPLE.fullmatch(selector := each.strip()):
                hidden.setdefault(selector, kind)
    by_kind: dict[str, list[str]] = {}
    left = MAX_SELECTORS
    for selector, kind in hidden.items():
        if left and not any(_is_shown(css, name, _SHOWING[kind], hidden_by) for name in _NAME.findall(selector)):
            by_kind.setdefault(kind, []).append(selector)
            left -= 1
    return by_kind


def _telling_rules(css: str) -> Iterator[tuple[str, str]]:
    """Selectors and declarations of the rules that might hide something, in their order, without those in a block such
    as `@media print`. Broken style sheets never raise.

    What tells is looked for as plain text, which takes a tenth of the time of reading every rule.
    """
    ends = _ends(css, _HINTS) | {css.find("}", at.end()) for at in _FAR.finditer(css)}
    ends |= {end for end in _ends(css, _COLOUR) if _hides_by_colour(css[css.rfind("{", 0, end) : end])}
    open_blocks, counted = 0, 0
    for end in sorted(ends - {-1}):
        declarations_begin = css.rfind("{", 0, end)
        before = max(declarations_begin, 0)
        begin = max(css.rfind("{", 0, before), css.rfind("}", 0, before), css.rfind(";", 0, before)) + 1
        if declarations_begin < begin:
            continue
        open_blocks += css.count("{", counted, begin) - css.count("}", counted, begin)
        counted = begin
        selectors = css[begin:declarations_begin]
        if open_blocks <= 0 and "@" not in selectors:
            yield selectors, css[declarations_begin + 1 : end][:MAX_DECLARATIONS_CHARS]


def _hides_by_colour(declarations: str) -> bool:
    """Whether a colour may be that of what is behind it, or none."""
    return "background" in declarations or "transparent" in declarations or "0)" in declarations


def _ends(css: str, hints: Iterable[str]) -> set[int]:
    """Where the rules end that hold one of `hints`."""
    ends = set()
    for hint in hints:
        at = css.find(hint)
        while at >= 0 and (end := css.find("}", at)) >= 0:
            ends.add(end)
            at = css.find(hint, end)
    return ends


def _is_shown(css: str, name: str, showing: re.Pattern[str], hidden_by: Callable[[str], str | None]) -> bool:
    """Whether `name` stands in the selector of another rule, which shows what it names."""
    end = 0
    while (at := css.find(name, end)) >= 0:
        end = at + len(name)
        begin = css.find("{", end)
        if begin < 0:
            return False
        if not (css[end].isalnum() or css[end] in "-_" or css.find("}", end, begin) >= 0):
            declarations = css[begin + 1 : css.find("}", begin)][:MAX_DECLARATIONS_CHARS]
            if showing.search(declarations) and hidden_by(declarations) is None:
                return True
    return False


_HINTS: Final = (
    "none",
    "hidden",
    "opacity",
    "font-size:0",
    "font-size: 0",
    "clip",
    "scale(0",
    "(-",
    "NONE",
    "HIDDEN",
    "\\",
)
_COLOUR: Final = ("{color", ";color", " color")
_FAR: Final = re.compile(r":\s?-\d{3}")
_SHOWING: Final = {
    "hidden": re.compile(r"display\s*:\s*(?!none)[a-z]|visibility\s*:\s*visible", re.IGNORECASE),
    "transparent": re.compile(r"(?<![\w-])opacity\s*:\s*(?:1|0?\.[1-9])", re.IGNORECASE),
    "zero_size": re.compile(
        r"(?:font-size|height|width)\s*:\s*(?:auto|\d*\.?[1-9]|\d{2})|clip(?:-path)?\s*:\s*(?:auto|none)|scale\(1|transform\s*:\s*none",
        re.IGNORECASE,
    ),
    "off_screen": re.compile(
        r"(?:left|right|top|bottom|indent)\s*:\s*(?:0|auto|[1-9])|position\s*:\s*static|translate[xy]?\(0|transform\s*:\s*none",
        re.IGNORECASE,
    ),
    "same_colour": re.compile(r"(?:^|[;{\s])color\s*:|background", re.IGNORECASE),
}
_IDENTIFIER: Final = r"(?:--|-?[a-z_])[a-z0-9_-]*"  # lexbor refuses what is none, and all selectors with it
_SIMPLE: Final = re.compile(
    rf"(?:[a-z][a-z0-9-]*)?(?:[.#]{_IDENTIFIER}){{1,3}}|[a-z][a-z0-9-]*", re.IGNORECASE | re.ASCII
)
_NAME: Final = re.compile(r"[.#][\w-]+")
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
