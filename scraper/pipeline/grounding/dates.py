"""The dates of a page, in the forms and the languages that pages write them in.

Where day and month could be either, both readings count. Dates that are told relative to today are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple

MAX_TOKENS: Final = 50_000  # groups of digits that are looked at: 0.2 s; real pages have a thousand
_MONTHS: Final = """
january jan januar januari janvier janv enero ene gennaio gen janeiro styczeń stycznia январь января янв січень січня
  leden ledna tammikuu tammikuuta ocak január januára ianuarie ιανουάριος ιανουαρίου ιαν يناير जनवरी jänner siječ
february feb februar februari février fevrier févr fevr febrero febbraio fevereiro fev luty lutego февраль февраля фев
  лютий лютого únor února helmikuu helmikuuta şubat február februára februarie φεβρουάριος φεβρουαρίου φεβ فبراير फ़रवरी
march mar märz maerz mars maart mrt marzo março marco marzec marca март марта березень березня březen března maaliskuu
  maaliskuuta mart március marec martie μάρτιος μαρτίου μαρ مارس मार्च mär mrz
april apr avril avr abril abr aprile kwiecień kwietnia апрель апреля апр квітень квітня duben dubna huhtikuu huhtikuuta
  nisan április apríl apríla aprilie απρίλιος απριλίου απρ أبريل अप्रैल
may mai mayo maggio mag maio maj maja май мая травень травня květen května toukokuu toukokuuta mayıs május máj mája
  μάιος μαΐου μαΐ مايو मई mei
june jun juni juin junio giugno giu junho czerwiec czerwca июнь июня июн червень червня červen června kesäkuu kesäkuuta
  haziran június jún júna iunie ιούνιος ιουνίου ιουν يونيو जून
july jul juli juillet juil julio luglio lug julho lipiec lipca июль июля июл липень липня červenec července heinäkuu
  heinäkuuta temmuz július júl júla iulie ιούλιος ιουλίου ιουλ يوليو जुलाई
august aug août aout agosto ago sierpień sierpnia август августа авг серпень серпня srpen srpna elokuu elokuuta
  ağustos augusztus augusta αύγουστος αυγούστου αυγ أغسطس अगस्त augustus augusti
september sep sept septembre septiembre settembre set setembro wrzesień września сентябрь сентября сен сент вересень
  вересня září syyskuu syyskuuta eylül szeptember septembra septembrie σεπτέμβριος σεπτεμβρίου σεπ سبتمبر सितंबर
october oct oktober okt octobre octubre ottobre ott outubro out październik października октябрь октября окт жовтень
  жовтня říjen října lokakuu lokakuuta ekim október októbra octombrie οκτώβριος οκτωβρίου οκτ أكتوبر अक्टूबर
november nov novembre noviembre novembro listopad listopada ноябрь ноября ноя нояб листопад листопада listopadu
  marraskuu marraskuuta kasım novembra noiembrie νοέμβριος νοεμβρίου νοε نوفمبر नवंबर
december dec dezember dez décembre decembre déc diciembre dic dicembre dezembro grudzień grudnia декабрь декабря дек
  грудень грудня prosinec prosince joulukuu joulukuuta aralık decembra decembrie δεκέμβριος δεκεμβρίου δεκ ديسمبر
  दिसंबर desember des
"""


class Moment(NamedTuple):
    """A date, and a time of day where one was given. 0 for what is not said: a year, a day."""

    year: int
    month: int
    day: int
    hour: int | None = None
    minute: int = 0


class Dates:
    """Where on a page each date stands."""

    def __init__(self, normal_text: str) -> None:
        self._text = normal_text

    def find(self, wanted: Moment) -> int | None:
        """The position of the date. A time of day other than midnight must stand on the page as well."""
        time = (wanted.hour, wanted.minute)
        if wanted.hour is not None and time != (0, 0) and time not in self._times:
            return None
        position = self._places.get((wanted.year, wanted.month, wanted.day))
        if position is None and wanted.day and str(wanted.year) in self._years:
            return self._places.get((0, wanted.month, wanted.day))  # «5 March», and the year stands elsewhere
        return position

    @cached_property
    def _years(self) -> frozenset[str]:
        """All that could be one: an answer may have a thousand dates, and each would look through the page again."""
        return frozenset(re.findall(r"(?<!\d)\d{1,4}(?!\d)", self._text))

    @cached_property
    def _times(self) -> set[tuple[int, int]]:
        """Every time of day that the page names; 7:30 pm is 19:30."""
        found = set()
        for match in islice(_TIME.finditer(self._text), MAX_TOKENS):
            hour, minute, half = int(match[1]), int(match[2] or match[3] or 0), match[4]
            if half:
                hour = hour % 12 + (12 if half == "p" else 0)
            elif not (match[2] or match[3] or match[5]):
                continue
            found.add((hour, minute))
        return found

    @cached_property
    def _places(self) -> dict[tuple[int, int, int], int]:
        found: dict[tuple[int, int, int], int] = {}
        for (year, month, day), position in _dates(self._text):
            found.setdefault((year, month, day), position)
            if year:
                found.setdefault((year, month, 0), position)
        return found


def moment(value: str) -> Moment | None:
    """What a value in ISO form says: a month, a day, or a day with its time."""
    match = _ISO.fullmatch(value.strip())
    if match is None:
        return None
    year, month, day, hour, minute = (int(part) if part else None for part in match.groups())
    if year is None or month is None or not _is_date(year, month, day or 1):
        return None
    return Moment(year, month, day or 0, hour, minute or 0)


def spoken(normal_value: str) -> Moment | None:
    """The one date that a value in words is, such as «5 march 2024»."""
    if len(normal_value) > 40:
        return None
    found = [each for each, _ in _dates(normal_value) if each[0] and each[2]]
    return Moment(*found[0]) if found else None


def _dates(text: str) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Every reading of all that may be a date. One pass over the digits; words are looked at only beside them."""
    for match in islice(_DIGITS.finditer(text), MAX_TOKENS):
        begin, end = match.span()
        if end - begin == 4:
            yield from _from_year(text, begin, end)
        elif end - begin <= 2:
            yield from _from_day(text, begin, end)


def _from_year(text: str, begin: int, end: int) -> Iterator[tuple[tuple[int, int, int], int]]:
    if (match := _YEAR_FIRST.match(text, begin)) is not None:
        yield from _checked(match[1], match[2], match[3], begin)
    elif (match := _YEAR_WORD_DAY.match(text, begin)) is not None:
        for month in _NUMBERS.get(match[2], ()):
            yield from _checked(match[1], month, match[3], begin)
    for month in _month_before(text, begin):
        yield (int(text[begin:end]), month, 0), begin


def _from_day(text: str, begin: int, end: int) -> Iterator[tuple[tuple[int, int, int], int]]:
    if (match := _YEAR_LAST.match(text, begin)) is not None:
        yield from _checked(match[3], match[2], match[1], begin)
        yield from _checked(match[3], match[1], match[2], begin)
    if (match := _DAY_WORD.match(text, begin)) is not None:
        for month in _NUMBERS.get(match[2], ()):
            yield from _checked(match[3], month, match[1], begin)
    for month in _month_before(text, begin):
        year = _YEAR_AFTER.match(text, end)
        yield from _checked(year[1] if year else None, month, text[begin:end], begin)


def _month_before(text: str, begin: int) -> tuple[int, ...]:
    if not begin or text[begin - 1] not in " ./-":
        return ()
    word = _WORD_BEFORE.search(text, max(0, begin - 18), begin)
    return _NUMBERS.get(word[1], ()) if word else ()


def _checked(
    year: str | None, month: str | int, day: str | int, position: int
) -> Iterator[tuple[tuple[int, int, int], int]]:
    full = 0 if year is None else int(year)
    if year is not None and len(year) == 2:
        full += 2000
    if _is_date(full or 2000, int(month), int(day)):
        yield (full, int(month), int(day)), position


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _month_numbers() -> dict[str, tuple[int, ...]]:
    numbers: dict[str, tuple[int, ...]] = {}
    entries = re.split(r"\n(?!  )", _MONTHS.strip())
    for number, names in enumerate(entries, 1):
        for name in names.split():
            numbers[name.casefold()] = (*numbers.get(name.casefold(), ()), number)
    numbers["listopad"] = (10, 11)  # of Croatians, and of Poles and Czechs
    return numbers


_NUMBERS: Final = _month_numbers()
_WORD: Final = r"([^\s\d.,/()|:;-]{3,12})"
_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})(?:-(\d{2}))?(?:[Tt ](\d{2}):(\d{2})(?::\d{2}(?:\.\d+)?)?(?:[Zz]|[+-]\d{2}:?\d{2})?)?"
)
_TIME: Final = re.compile(
    r"(\d(?<![\d:.,].)\d?)(?:[:h.](\d\d)(?::\d\d)?(?![\d.,])|時(\d\d)?)?\s?"
    r"(?:([ap])\.?m\b|(uhr|h\b|kl\b|час|時|点|시))?"
)
_DIGITS: Final = re.compile(r"\d\d*")
_YEAR_FIRST: Final = re.compile(r"(\d{4})(?:[-/.]|年|년 ?|\. )(\d{1,2})(?:[-/.]|月|월 ?|\. )(\d{1,2})(?!\d)")
_YEAR_LAST: Final = re.compile(r"(\d{1,2})(?:[-/.]|\. )(\d{1,2})(?:[-/.]|\. )(\d{4}|\d{2})(?!\d)")
_YEAR_WORD_DAY: Final = re.compile(rf"(\d{{4}})[.,]?[ /-]{_WORD}[. /-]{{1,2}}(\d{{1,2}})(?!\d)")
_DAY_WORD: Final = re.compile(
    rf"(\d{{1,2}})(?:st|nd|rd|th|er|[.ºª°])?[ /-]{{0,2}}(?:de |of |d['’]|di |a )?{_WORD}"
    r"(?:[.,]{0,2}[ /-]{0,2}(?:de |del |of )?['’]?(\d{4}|\d{2})(?![\d:.]))?"
)
_YEAR_AFTER: Final = re.compile(r"(?:st|nd|rd|th)?,? ?[ /-](\d{4})(?!\d)")
_WORD_BEFORE: Final = re.compile(rf"(?<![^\s\d.,/()|:;-]){_WORD}[.,]?[ /-](?:de |del |of )?$")
