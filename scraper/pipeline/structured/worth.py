"""From what a page wrote to a value of the type that a schema wants, where nothing is lost or guessed on the way."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from scraper.models import Json
from scraper.pipeline.one_line import one_line
from scraper.pipeline.structured import states
from scraper.pipeline.structured.names import as_words
from scraper.pipeline.structured.vocabulary import Property
from scraper.pipeline.structured.wanted import Wanted

NOTHING_CHARS: Final = 50  # whoever has more to say says something


@dataclass(frozen=True, slots=True)
class Worth:
    """A value as the schema wants it; `key` is equal for values that say the same."""

    value: Json
    key: str
    shown_as: str  # what a page that shows it would show
    or_as: str = ""  # or this: 90 minutes are 1 h 30 min


def worth(raw: Json, said: Property, field: Wanted) -> Worth | None:
    """The value that `raw` is for `field`, or None where its type does not fit or its meaning is not certain."""
    if raw is None or isinstance(raw, dict | list):
        return None
    if "const" in field.schema or "x-open" in field.schema:
        return None
    if isinstance(raw, str) and _says_nothing(raw):
        return None
    if isinstance(raw, str) and said.name in {"author", "authors"}:
        raw = _BY.sub("", raw.strip())
    found = _READERS[said.kind](raw, field)  # a thing has no worth of its own, only its properties have
    if found is None or not _allowed(found.value, field):
        return None
    return found


def _says_nothing(raw: str) -> bool:
    if len(raw) <= NOTHING_CHARS and as_words(raw) in _NOTHING:
        return True
    return not raw.strip() or _UNFILLED.match(raw) is not None


def _allowed(value: Json, field: Wanted) -> bool:
    if "enum" in field.schema and value not in field.schema["enum"]:
        return False
    return (
        not field.types or _type_of(value) in field.types or ("number" in field.types and _type_of(value) == "integer")
    )


def _type_of(value: Json) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return kinds.get(type(value), "")


def _text(raw: Json, field: Wanted) -> Worth | None:
    if not isinstance(raw, str):
        return _number_as_text(raw) if isinstance(raw, int) and not isinstance(raw, bool) else None
    text = _without_markup(raw)
    if (
        (len(text) <= 2 and text.isascii())
        or text.startswith(("http://", "https://", "//"))
        or _CONSTANT.fullmatch(text)
    ):
        return None  # `IN` stands on any page, and no page shows FULL_TIME
    if "enum" in field.schema:
        text = next(
            (each for each in field.schema["enum"] if isinstance(each, str) and as_words(each) == as_words(text)), ""
        )
    if field.types and "string" not in field.types:
        number = _decimal(text)
        whole = number is not None and number == number.to_integral_value() and "integer" in field.types
        return Worth(int(number), text, text) if whole and number is not None else None
    return Worth(text, as_words(text), text) if text else None


def _number_as_text(raw: int) -> Worth:
    return Worth(str(raw), str(raw), str(raw))


def _prose(raw: Json, field: Wanted) -> Worth | None:
    return _text(raw, field) if isinstance(raw, str) and not raw.endswith(("…", "...")) else None


def _amount(raw: Json, field: Wanted) -> Worth | None:
    number = _decimal(raw)
    if number is None or number <= 0:
        return None  # nothing costs nothing: a zero stands for what is not known
    value = _as_number(number)
    shown = f"{number:f}"
    if "string" in field.types and not field.types & {"number", "integer"}:
        if not isinstance(raw, str) or not _PLAIN_NUMBER.fullmatch(raw):
            return None
        return Worth(raw, f"{number.normalize():f}", shown)
    if field.types == {"integer"} and isinstance(value, float):
        return None
    return Worth(value, f"{number.normalize():f}", shown)


def _count(raw: Json, field: Wanted) -> Worth | None:
    number = _decimal(raw)
    if number is None or number < 0 or number != number.to_integral_value():
        return None
    return _amount(raw, field) if number else None


def _as_number(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() and abs(number) < 1 << 53 else float(number)


def _decimal(raw: Json) -> Decimal | None:
    """The number that `raw` writes; None where a separator may mean thousands or decimals."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        text = repr(raw)
    elif isinstance(raw, str) and (match := _AMOUNT.fullmatch(raw.strip())):
        text = match[1].strip()
    else:
        return None
    text = _SPACES.sub("", text)
    if "," in text and "." in text:
        decimal = max(text.rfind(","), text.rfind("."))
        text = f"{_SEPARATORS.sub('', text[:decimal])}.{text[decimal + 1 :]}"
        if _SEPARATORS.sub("", text[:decimal]) and not re.fullmatch(r"-?\d+\.\d+", text):
            return None
    elif len(separators := _SEPARATORS.findall(text)) > 1:
        text = _SEPARATORS.sub("", text) if _GROUPED.fullmatch(text) else "x"
    elif separators:
        decimals = len(text) - text.rfind(separators[0]) - 1
        if decimals == 3 and isinstance(raw, str):
            return None  # 1.299 and 1,299: which is it?
        text = text.replace(",", ".")
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < Decimal(10) ** 15 else None


def _currency(raw: Json, _: Wanted) -> Worth | None:
    if not isinstance(raw, str):
        return None
    code = raw.strip().upper()
    return Worth(code, code, code) if _CURRENCY.fullmatch(code) else None


def _code(raw: Json, field: Wanted) -> Worth | None:
    """An identifier, as written; a number is its digits."""
    if isinstance(raw, bool | float):
        return None
    text = str(raw).strip()
    text = _CODE_PREFIX.sub("", text)
    parts = text.split()
    if (
        not text
        or len(text) > 100
        or text.startswith(("http://", "https://"))
        or not all(_DIGIT.search(part) for part in parts if len(parts) > 1)
    ):
        return None  # an identifier may stand in groups, but not among words
    if field.types == {"integer"}:
        return Worth(int(text), text, text) if text.isdigit() and text.isascii() and not text.startswith("0") else None
    return Worth(text, text.casefold(), text)


def _state(raw: Json, field: Wanted) -> Worth | None:
    """One of an enumeration's values, as the schema names it, or as true and false."""
    state = states.meant(raw)
    if state is None:
        return None
    if "boolean" in field.types:
        return Worth(states.YES[state], state, "") if state in states.YES else None
    choices = field.schema.get("enum")
    if not choices:
        return Worth(state, state, "") if state in states.KNOWN else None
    found = states.among(choices, state)
    return Worth(found, state, "") if found is not None else None


def _date(raw: Json, field: Wanted) -> Worth | None:
    """A day or a moment in ISO 8601; the day alone where that is all the schema wants."""
    moment = _moment(raw.strip()) if isinstance(raw, str) else None
    if moment is None or not 1900 <= moment.year <= 2100 or field.types == {"integer"}:
        return None
    day = moment.date().isoformat()
    wanted = field.schema.get("format")
    if wanted == "date" or _DAY_ONLY.search(field.says):
        return Worth(day, day, day)
    if wanted == "date-time":
        return Worth(moment.isoformat(), day, day) if moment.tzinfo else None
    return Worth(raw.strip(), day, day)


def _moment(text: str) -> datetime | None:
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time())
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _address(raw: Json, _: Wanted) -> Worth | None:
    if not isinstance(raw, str) or " " in raw.strip():
        return None
    address = raw.strip()
    return Worth(address, address, "") if address.startswith(("http://", "https://")) else None


def _duration(raw: Json, field: Wanted) -> Worth | None:
    match = _DURATION.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        return None
    days, hours, minutes = (int(each or 0) for each in match.groups())
    total = 60 * (24 * days + hours) + minutes
    if not total:
        return None
    shown = str(minutes or hours or days)
    if field.types & {"integer", "number"}:
        return (
            Worth(total, str(total), str(total), shown) if "minute" in f"{field.words} {field.says}".lower() else None
        )
    iso = field.schema.get("format") == "duration" or "8601" in field.says
    return Worth(raw.strip(), str(total), str(total), shown) if iso else None


def _without_markup(text: str) -> str:
    return one_line(html.unescape(_MARKUP.sub(" ", text)) if "<" in text else text)


_READERS: Final = {
    "text": _text,
    "prose": _prose,
    "paragraph": _text,
    "amount": _amount,
    "count": _count,
    "currency": _currency,
    "code": _code,
    "state": _state,
    "date": _date,
    "address": _address,
    "duration": _duration,
    "words": _text,
}
_NOTHING: Final = frozenset(
    {"n a", "na", "none", "null", "undefined", "unknown", "nan", "tbd", "default", "does not apply", "not available"}
)
_UNFILLED: Final = re.compile(
    r"\s*(?:\$\{?[A-Za-z]|\{\{|\{%|<%|%[A-Z_]+%|\[\[)"
)  # a template's place that nobody filled
_MARKUP: Final = re.compile(r"<[^<>]{0,2000}>")
_SPACES: Final = re.compile(r"[\s'’]")
_SEPARATORS: Final = re.compile(r"[.,]")
_GROUPED: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})+")
_AMOUNT: Final = re.compile(
    r"(?:[A-Za-z]{0,4}\.?|[^\d\s.,-]{1,3})?\s*(-?\d[\d.,\s'’]{0,25})\s*(?:[A-Za-z]{0,4}\.?|[^\d\s]{1,4})?(?:\s?,?-)?"
)
_PLAIN_NUMBER: Final = re.compile(r"\d+(?:\.\d{1,2})?")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_CODE_PREFIX: Final = re.compile(
    r"^(?:sku|mpn|ean|gtin\d*|upc|isbn|id|art(?:ikel)?[.\s-]*n[ro]\.?|item|model|ref)\s*[:#]\s*", re.IGNORECASE
)
_CONSTANT: Final = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
_BY: Final = re.compile(r"^(?:by|written by)\s+(?=\w)", re.IGNORECASE)
_DAY_ONLY: Final = re.compile(r"\b(?:only the date|without (?:the )?time|YYYY-MM-DD)\b")
_DIGIT: Final = re.compile(r"\d")
_DURATION: Final = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,3})H)?(?:(\d{1,4})M)?(?:0+(?:\.0+)?S)?)?")
