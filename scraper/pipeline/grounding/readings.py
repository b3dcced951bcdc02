"""What digits and separators may mean: `1.299` is 1299 to one reader and 1.299 to another. Pure.

A number is written one way here, see `canonical`; an amount of hours is a number of minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Final

from scraper.pipeline.grounding import currencies

MAX_DIGITS: Final = 40


def canonical(number: float | str | Decimal) -> str | None:
    """One way to write each number: no exponent, no zeros that say nothing. None for what is no number."""
    try:
        value = number if isinstance(number, Decimal) else Decimal(str(number))
    except (InvalidOperation, ValueError):  # an integer may have too many digits to be written
        return None
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        return None
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def readings(raw: str) -> tuple[str, ...]:
    """Every number that the digits and separators `raw` may mean, canonical."""
    if not 0 < len(raw) <= MAX_DIGITS:
        return ()
    if not raw.isascii():
        raw = "".join(str(int(each)) if each.isdecimal() else each for each in raw)
    if raw.isdigit():
        return (raw,) if raw[0] != "0" or raw == "0" else ()  # 007 is a code, 05 part of a date
    groups = _SEPARATOR.split(raw)
    separators = _SEPARATOR.findall(raw)
    return tuple(dict.fromkeys(number for number in map(canonical, _meanings(groups, separators)) if number))


def _meanings(groups: list[str], separators: list[str]) -> Iterator[str]:
    whole, last = groups[:-1], groups[-1]
    if separators[-1] == "^":
        if len(last) <= 2 and _groups_thousands(whole, separators[:-1]):
            yield f"{''.join(whole)}.{last}"
        return
    if _groups_thousands(groups, separators):
        yield "".join(groups)
    if separators[-1] in _DECIMAL and separators[-1] not in separators[:-1]:
        if _groups_thousands(whole, separators[:-1]):
            yield f"{''.join(whole)}.{last}"
    elif separators[-1] == "," and not _groups_thousands(groups, separators):
        yield from groups  # a list without spaces: 36,37,38


def _groups_thousands(groups: list[str], separators: list[str]) -> bool:
    """Whether the separators only make digits readable: 1.299.000, 1'299, or 12,34,567 as in India."""
    if not separators:
        return True
    first, *middle, last = groups
    if len(set(separators)) > 1 or separators[0] == "^" or not 1 <= len(first) <= 3 or first[0] == "0":
        return False
    if len(last) != 3:
        return False
    return all(len(each) == 3 for each in middle) or (
        separators[0] == "," and len(first) <= 2 and all(len(each) == 2 for each in middle)
    )


def usual_forms(number: str) -> tuple[str, ...]:
    """How a canonical number is most often written. Those with separators first, which need no further support."""
    whole, point, fraction = number.partition(".")
    if point:
        cents = fraction.ljust(2, "0")
        forms = tuple(dict.fromkeys(f"{whole}{mark}{each}" for mark in ".," for each in (cents, fraction)))
    else:
        forms = (f"{whole}.00", f"{whole},00", whole)
    if len(whole) < 4 or len(whole) > 6:
        return forms
    grouped = f"{whole[:-3]}{{}}{whole[-3:]}"
    return tuple(grouped.format(mark) + form[len(whole) :] for form in forms for mark in ",. ") + forms


def read(token: str) -> tuple[str, ...]:
    """What the digits and separators of a page mean. Of a date only its year is a number, of a time of day nothing."""
    if NO_MOMENT.isdisjoint(token) and token.count(".") != 2:
        return readings(token)
    if _MOMENT.fullmatch(token):
        return tuple(_YEAR.findall(token))
    return tuple(number for part in _RANGE.split(token) for number in readings(part))


def in_several_pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """1 299 with a space, prices whose cents stand apart, 1½, and 1.2 million."""
    for match in _SPACED.finditer(text):
        for meaning in readings(match[0].replace(" ", "'")):
            yield meaning, *match.span()
    for match in _SPLIT_PRICE.finditer(text):
        if currencies.before(text, match.start()) or currencies.after(text, match.end()):
            for whole in readings(match[1]):
                yield canonical(f"{whole}.{match[2]}") or "", *match.span()
    for match in _SCALED.finditer(text):
        for meaning in readings(match[1]):
            yield canonical(Decimal(meaning) * _SCALES[match[2]]) or "", *match.span()
    yield from _with_units(text)


def _with_units(text: str) -> Iterator[tuple[str, int, int]]:
    """Hours as minutes, which is what schemas ask for, and fractions."""
    for match in _HOURS.finditer(text):
        yield str(60 * int(match[1]) + int(match[2] or 0)), *match.span()
    if "⁄" in text or "/" in text:
        for match in _FRACTION.finditer(text):
            before = _WHOLE.search(text, max(0, match.start() - 4), match.start())
            amount = int(before[1] if before else 0) + Decimal(match[1]) / Decimal(match[2])
            yield canonical(amount) or "", *match.span()


SPELLED: Final = r"a-z\u00c0-\u058f"  # letters of scripts with words: 約30 and 30円 are numbers, B07 is none
_WORDY: Final = rf"{SPELLED}\d_"
_DECIMAL: Final = ".,·٫"
_SEPARATOR: Final = re.compile(r"[.,·٫٬'’^]")
NO_MOMENT: Final = frozenset(":/-")
_MOMENT: Final = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|\d{1,2}:\d{2}(?::\d{2})?"
)
_RANGE: Final = re.compile(r"[:/-]")
_YEAR: Final = re.compile(r"\d{4}")
_SPACED: Final = re.compile(rf"[1-9](?<![{_WORDY}.,].)\d{{0,2}}(?: \d{{3}}){{1,4}}(?:[.,^]\d{{1,2}})?(?![\d^])")
_SPLIT_PRICE: Final = re.compile(
    rf"(\d(?<![{_WORDY}.,^].)(?:\d{{0,5}}|\d{{0,2}}(?:[.,]\d{{3}})+))(?: | [.,] ?|[.,] )(\d\d)(?![\d.,])"
)
_FRACTION: Final = re.compile(r"([1-9])(?<![\d/.,].)[⁄/]([2-9])(?![\d/])")
_WHOLE: Final = re.compile(r"(?<![\d.,])(\d{1,3}) $")
_HOUR: Final = "h|hrs?|hours?|std|stunden?|heures?|horas?|or[ae]|uur|godz|hod|ч|час[а-я]*|時間|시간|小时"
_AND: Final = "and |und |et |y |e |en |i |и "
_HOURS: Final = re.compile(
    rf"(\d(?<![{_WORDY}.,:].)\d?) ?(?:{_HOUR})(?![{SPELLED}])\.?"
    rf"(?:,? ?(?:{_AND})?(\d{{1,2}}) ?(?:m|min[a-zé]*|мин[а-я]*|分|분)(?![{SPELLED}]))?"
)
_SCALES: Final = {
    **dict.fromkeys(("k", "tsd", "thousand", "тыс", "千", "천", "mil"), 1_000),
    **dict.fromkeys(("万", "萬", "만"), 10_000),
    **dict.fromkeys(("lakh", "lakhs", "lac"), 100_000),
    **dict.fromkeys(("m", "mio", "mn", "mln", "million", "millions", "millionen", "millones", "milhões", "млн"), 10**6),
    **dict.fromkeys(("crore", "crores", "cr"), 10**7),
    **dict.fromkeys(("亿", "億", "억"), 10**8),
    **dict.fromkeys(("bn", "billion", "billions", "mrd", "milliarden", "milliards", "млрд"), 10**9),
}
_SCALED: Final = re.compile(
    rf"(\d(?<![{_WORDY}.,].)[\d.,]{{0,12}}) ?({'|'.join(sorted(_SCALES, key=len, reverse=True))})(?![{SPELLED}])"
)
