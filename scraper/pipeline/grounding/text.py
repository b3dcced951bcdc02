"""A page's text as values are compared with it: case, quotes, dashes, spaces and hidden characters make no difference.

Lines stay lines, so that what was found can be shown as it stands on the page.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from scraper.pipeline.grounding.nearness import Nearness
from scraper.pipeline.visibility import without_invisible

MAX_EVIDENCE_CHARS: Final = 160
SHORT_LINE_WORDS: Final = 5  # a line of fewer is a label, a logo or a link, and no sentence


def normal(text: str) -> str:
    """Compatibility forms and case folded, entities read. Lines keep their number, raised digits their mark: 12^99."""
    if "&" in text and _ENTITY.search(text):
        text = _ENTITY.sub(_unescaped, text)
    if text.isascii():
        return text.lower()
    if any(each in text for each in _RAISED_DIGITS):
        text = _RAISED.sub("^", text)
    if any(each in text for each in _VULGAR_FRACTIONS):
        text = _MIXED.sub(" ", text)
    return unicodedata.normalize("NFKC", text).casefold()


def _unescaped(match: re.Match[str]) -> str:
    from html import unescape  # noqa: PLC0415 rare, and its table of entities is large

    return unescape(match[0]).replace("\n", " ")


def normal_value(value: str) -> str:
    """The same for a value, which unlike a cleaned page may have characters that show nothing, and marks of prices."""
    return normal(without_invisible(value.strip())[0]).replace("~~", "")


def words(normal_text: str) -> str:
    """The words of a normal text between single spaces, one at each end; an end of line stays as a word of its own."""
    if "^" in normal_text:
        normal_text = normal_text.replace("^", "")
    if "\n" in normal_text:
        normal_text = normal_text.replace("\n", " \n ")
    return f" {_NO_WORD.sub(' ', normal_text).strip(' ')} "


class PageText:
    """What a page says, and where: positions in `normal` lead back to the page's own words."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.normal = normal(text)

    @cached_property
    def by_line(self) -> str:
        return words(self.normal)

    @cached_property
    def in_a_row(self) -> str:
        """The same words with no ends of lines between them, for values that a page breaks into lines."""
        return self.by_line.replace(" \n", "")

    @cached_property
    def _unraised(self) -> str:
        return self.normal.replace("^", "")

    @cached_property
    def plain(self) -> str:
        """The page's own text, case as it is."""
        return self._text

    @cached_property
    def _lines(self) -> list[str]:
        return self._text.split("\n")

    def find_verbatim(self, wanted: str, *, among: Nearness | None = None) -> int | None:
        """The position in `normal` where `wanted`, a normal text itself, stands as words of its own."""
        return next((at for at in self._all_verbatim(wanted) if among is None or at in among), None)

    def find_name(self, wanted: str, *, among: Nearness | None = None) -> int | None:
        """The same for a single word that is a name: in the midst of a sentence it must be written as one.

        «Only» is no brand of a page that says «I only have one».
        """
        for at in self._all_verbatim(wanted):
            if among is not None and at not in among:
                continue
            line = self.line_at(at)
            shown = self._lines[line]
            begin = _original(shown, at - (self.normal.rfind("\n", 0, at) + 1))
            if not shown[begin : begin + len(wanted)].islower() or shown.count(" ") < SHORT_LINE_WORDS:
                return at
        return None

    def _all_verbatim(self, wanted: str) -> Iterator[int]:
        text = self.normal
        at = text.find(wanted)
        for _ in range(_TRIES):
            if at < 0:
                return
            end = at + len(wanted)
            if not (at and _joined(text[at - 1], wanted[0])) and not (
                end < len(text) and _joined(wanted[-1], text[end])
            ):
                yield at
            at = text.find(wanted, end)

    def find(self, wanted: str) -> int | None:
        """Where in `by_line` or `in_a_row` the words `wanted` stand one after the other: the number of their line.

        Those are made only for a value whose words all stand somewhere: that costs as much as parsing the page.
        """
        if not all(word in self._unraised for word in wanted.split()):
            return None
        loose = _unspaced(wanted)
        if loose:
            wanted = wanted.strip(" ")
        at = self.by_line.find(wanted)
        if at >= 0:
            return self.by_line.count("\n", 0, at)
        at = self.in_a_row.find(wanted)
        if at < 0:
            return None
        return self._line_of_word(self.in_a_row.count(" ", 0, at))

    def _line_of_word(self, number: int) -> int:
        """The line that holds the word with this `number`; rarely asked, so it is counted."""
        for line, text in enumerate(self.by_line.split("\n")):
            number -= len(text.split())
            if number < 0:
                return line
        return max(0, len(self._lines) - 1)

    def position_of(self, line: int) -> int:
        """Where in `normal` a line begins."""
        at = 0
        for _ in range(line):
            at = self.normal.find("\n", at) + 1
        return at

    def line_at(self, position: int) -> int:
        """The line of a position in `normal`."""
        return self.normal.count("\n", 0, position)

    def evidence(self, line: int, wanted: str = "", *, at: int | None = None, chars: int = 0) -> str:
        """The page's own words around what was found: its line, or where that is long the part around it.

        What was found are the words `wanted`, or `chars` characters `at` a position in `normal`.
        """
        shown = self._lines[min(line, len(self._lines) - 1)]
        if len(shown) <= MAX_EVIDENCE_CHARS:
            return shown.strip()
        offset = _offset(normal(shown), wanted) if at is None else at - (self.normal.rfind("\n", 0, at) + 1)
        return _part(shown, begin=_original(shown, offset), chars=chars or len(wanted))


def _original(line: str, offset: int) -> int:
    """The position in `line` that an offset in its normal form, which may be longer or shorter, comes from."""
    if len(normal(line)) == len(line):
        return offset
    return bisect_left(range(len(line)), offset, key=lambda end: len(normal(line[:end])))


def _part(line: str, *, begin: int, chars: int) -> str:
    """About MAX_EVIDENCE_CHARS of `line`, with as much before what begins there as its length leaves room for."""
    room = MAX_EVIDENCE_CHARS - 4
    first = max(0, min(begin - min(room // 3, max(0, room - chars)), len(line) - room))
    before = "… " if first else ""
    after = " …" if first + room < len(line) else ""
    return f"{before}{line[first : first + room].strip()}{after}"


def _joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    if not (left.isalnum() and right.isalnum()):
        return False
    return (left.isascii() and right.isascii()) or not (_is_unspaced(left) or _is_unspaced(right))


def _offset(line: str, wanted: str) -> int:
    first = wanted.split(maxsplit=1)
    if not first:
        return 0
    pattern = r"[\W_]+".join(re.escape(each) for each in wanted.split()[:8])
    found = re.search(pattern, line)
    return found.start() if found else max(0, line.find(first[0]))


def _unspaced(wanted: str) -> bool:
    """Whether the words are of a script that puts no spaces between them: then a value may begin and end anywhere."""
    return not wanted.isascii() and any(map(_is_unspaced, wanted))


def _is_unspaced(letter: str) -> bool:
    """Whether it is of a script like Thai, Burmese, Khmer, Japanese, Chinese or Korean."""
    return letter >= "\u0e00" and any(first <= letter <= last for first, last in _UNSPACED)


_TRIES: Final = 50  # a value that stands fifty times inside of other words may also be looked up by words
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,31});", re.IGNORECASE)
_RAISED_DIGITS: Final = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED: Final = re.compile(rf"(?<=[0-9])(?=[{_RAISED_DIGITS}])")
_VULGAR_FRACTIONS: Final = "½¼¾⅓⅔⅛"
_MIXED: Final = re.compile(rf"(?<=[0-9])(?=[{_VULGAR_FRACTIONS}])")
_NO_WORD: Final = re.compile(r"[^\w\n]+")
_UNSPACED: Final = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u3040", "\u30ff"),
    ("\u3400", "\u9fff"),
    ("\uac00", "\ud7af"),
)
