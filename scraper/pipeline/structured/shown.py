"""What stands on a page just as its data has it, found without an index; and which amounts are to be paid no longer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Final

from scraper.pipeline.grounding import currencies
from scraper.pipeline.grounding.readings import readings
from scraper.pipeline.grounding.text import MAX_EVIDENCE_CHARS

REACH: Final = 60  # characters from a former price to the present one
LEAST_REDUCED: Final = Decimal("0.3")  # less is a price for shipping, or a month, or a piece
MOST_REDUCED: Final = Decimal("0.97")
NEAR: Final = 12  # characters that a currency and the space before it take
DATE_REACH: Final = 20  # characters from a year to its day and month
MAX_PLACES: Final = 40  # looked at for one way to write a number
LEAST_PARAGRAPH: Final = 60  # characters; fewer are a name or a heading
_SENTENCE_ENDS: Final = ".!?。！？"
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_PART: Final = re.compile(r"[^\W\d_]+|\d+")
_ORDINALS: Final = frozenset({"st", "nd", "rd", "th", "of"})
_SPACES: Final = " \u00a0\u202f"
_DIGIT_BEFORE: Final = re.compile(r"\d[\s.,~|*-]{0,3}$")
_DIGIT_AFTER: Final = re.compile(r"[\s:~|*]{0,3}\d")
_REDUCED: Final = re.compile(r"\D{0,12}[-\u2013\u2212]\s?(\d{1,2})\s?%")  # «219.99 -50%»
_NUMBER: Final = re.compile(r"\d[\d.,]*\d|\d")


def amount_in(text: str, amount: Decimal, *, current: bool = False, priced: bool = False) -> str | None:
    """Evidence that `amount` stands in `text`; with `current`, neither struck out nor before a reduction; with
    `priced`, beside a currency.
    """
    for begin, end in _places(text, amount):
        if current and _is_former(text, amount, begin, end):
            continue
        if not priced or _has_currency(text, begin, end):
            return _around(text, begin, end)
    return None


def _has_currency(text: str, begin: int, end: int) -> bool:
    near = max(0, begin - NEAR)
    return currencies.before(text[near:begin].lower(), begin - near) or currencies.after(
        text[end : end + NEAR].lower(), 0
    )


def currency_in(lower_text: str, code: str) -> bool:
    """Whether the currency with this code stands beside a number."""
    for name in currencies.aliases(code):
        end = 0
        for _ in range(MAX_PLACES):
            begin = lower_text.find(name, end)
            if begin < 0:
                break
            end = begin + len(name)
            if _DIGIT_BEFORE.search(lower_text[max(0, begin - 4) : begin]) or _DIGIT_AFTER.match(
                lower_text, end, end + 4
            ):
                return True
    return False


def words_in(text: str, words: str) -> str | None:
    """Evidence that `words` stand in `text` letter by letter."""
    begin = text.find(words)
    end = begin + len(words)
    if begin < 0 or text[max(0, begin - 1) : begin].isalnum() or text[end : end + 1].isalnum():
        return None
    return _around(text, begin, end)


def paragraph_in(text: str, prose: str) -> str | None:
    """The line of `text` that `prose` begins with: whole sentences, and no mere heading."""
    begin = text.find(f"\n{prose[:LEAST_PARAGRAPH]}") + 1
    if not begin or len(prose) < LEAST_PARAGRAPH:
        return None
    line_end = text.find("\n", begin)
    line = text[begin : line_end if line_end >= 0 else len(text)].rstrip()
    is_whole = line[-1] in _SENTENCE_ENDS and not line.endswith("...") and "\\n" not in line
    return line if is_whole and prose.startswith(line) else None


def day_in(text: str, day: date) -> str | None:
    """Evidence that `day` stands in `text` with its year, in figures or with an English month: others take an index."""
    number = str(day.day)
    end = 0
    for _ in range(MAX_PLACES):
        begin = text.find(str(day.year), end)
        if begin < 0:
            return None
        end = begin + 4
        left, right = text[max(0, begin - DATE_REACH) : begin], text[end : end + DATE_REACH]
        if number not in left and number not in right:
            continue
        before = [each for each in _PART.findall(left) if each.lower() not in _ORDINALS]
        after = _PART.findall(right)
        if _is_day(before[-2:], day) or _is_day(after[:2], day):
            return _around(text, begin, end)
    return None


def _is_day(parts: list[str], day: date) -> bool:
    """Whether two neighbours of a year are the day and the month, in either order."""
    if len(parts) < 2:
        return False
    numbers = [int(each) if each.isdecimal() else 0 for each in parts]
    months = [number == day.month or _is_month(part, day.month) for number, part in zip(numbers, parts, strict=True)]
    return (numbers[0] == day.day and months[1]) or (numbers[1] == day.day and months[0])


def _is_month(part: str, month: int) -> bool:
    return len(part) >= 3 and _MONTHS[month - 1].startswith(part.lower())


def _around(text: str, begin: int, end: int) -> str:
    first = max(text.rfind("\n", 0, begin) + 1, begin - MAX_EVIDENCE_CHARS // 4)
    line_end = text.find("\n", end)
    last = min(line_end if line_end >= 0 else len(text), first + MAX_EVIDENCE_CHARS)
    return text[first:last].strip()


def _places(text: str, number: Decimal) -> Iterator[tuple[int, int]]:
    for written in _ways_to_write(number):
        end = 0
        for _ in range(MAX_PLACES):
            begin = text.find(written, end)
            if begin < 0:
                break
            end = begin + len(written)
            if _is_whole(text, begin, end):
                yield begin, end


def _is_whole(text: str, begin: int, end: int) -> bool:
    """Whether it is not part of a longer number: `12` of `12.50` or of `112`."""
    before, after = text[max(0, begin - 2) : begin], text[end : end + 2]
    if before[-1:].isdigit() or after[:1].isdigit():
        return False
    return not (before[-1:] in {".", ","} and before[:1].isdigit()) and not (
        after[:1] in {".", ",", "^"} and after[1:].isdigit()
    )


def _is_former(text: str, number: Decimal, begin: int, end: int) -> bool:
    """Whether it is struck out, or what is to be paid stands right behind it: 219.99 -50% 110.00, or 12,50 € 9,90 €."""
    line_begin = text.rfind("\n", 0, begin) + 1
    if text.count("~~", line_begin, begin) % 2:
        return True
    if (reduced := _REDUCED.match(text, end, end + 20)) is not None:
        expected = number * (100 - int(reduced[1])) / 100
        near = _NUMBER.findall(text, end, end + 2 * REACH)
        if any(abs(Decimal(each) - expected) <= expected / 50 for written in near for each in readings(written)):
            return True
    return any(
        LEAST_REDUCED * number <= Decimal(each) <= MOST_REDUCED * number
        for behind in _NUMBER.finditer(text, end, end + REACH)
        for each in readings(behind[0])
        if _has_currency(text, *behind.span())
    )


def _ways_to_write(number: Decimal) -> Iterator[str]:
    whole = int(number)
    digits = f"{whole}"
    begins = [digits]
    if len(digits) > 3:
        grouped = f"{whole:,}"
        begins += [grouped, *(grouped.replace(",", each) for each in (".", *_SPACES, "'", "\u2019"))]
    fraction = f"{number:f}".partition(".")[2].rstrip("0")
    if not fraction:
        ends = ["", ".00", ",00", "^00"]
    elif len(fraction) == 1:
        ends = [f"{mark}{fraction}{zero}" for zero in ("0", "") for mark in ".,^"]
    else:
        ends = [f"{mark}{fraction}" for mark in ".,^"]
    yield from (begin + end for begin in begins for end in ends)
