"""Answers that fit a JSON Schema and are filled from the page's text.

The same prompt gives the same answer. A field is filled with what the text says under its name, or of its kind (price,
date, link …). What the text does not say is left out where the schema allows that, null where it allows null, and
otherwise something of the right shape, from the page's sentences where a string is wanted: a model forced by a grammar
invents too.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from scraper.testing.vllm_grammar import GrammarError, compile_pattern, resolve
from scraper.testing.vllm_page import PageText, dates_in, number
from scraper.testing.vllm_patterns import text_matching

MAX_DEPTH = 12  # of a recursive schema
MAX_ITEMS = 50
MOST_CHARS = 1 << 17  # of a string that is filled up

_ABSENT: Any = object()
_SYNONYMS = {
    "name": ("name", "product", "product name", "titel", "bezeichnung", "nom", "nombre", "nazwa", "商品名"),
    "title": ("title", "titel", "titre", "título", "tytuł", "headline"),
    "price": ("price", "our price", "preis", "prix", "precio", "cena", "価格"),
    "sku": ("sku", "item no", "article number", "art nr", "artikelnummer", "réf", "référence", "ref", "indeks", "品番"),
    "brand": ("brand", "manufacturer", "marke", "hersteller", "marque", "marca", "marka", "ブランド"),
    "availability": ("availability", "stock", "verfügbarkeit", "disponibilité", "disponibilidad", "dostępność", "在庫"),
    "author": ("author", "by", "autor", "auteur", "autora"),
    "location": ("location", "place", "ort", "lieu", "lugar", "miejsce", "venue"),
}
_TITLES = {"name", "title", "headline"}
_FORMER = {"regular", "old", "was", "former", "original", "list"}
_PROSE = {"description", "summary", "abstract", "body", "text", "content", "snippet"}
_IMAGE = re.compile(r"\.(?:jpe?g|png|webp|gif)$")
_IN_STOCK = re.compile(
    r"in stock|available now|auf lager|lieferbar|en stock|disponible|dostępny|在庫あり", re.IGNORECASE
)
_OUT_OF_STOCK = re.compile(
    r"out of stock|sold out|unavailable|nicht (?:auf lager|lieferbar)|ausverkauft|rupture|agotado|niedostępny|在庫なし",
    re.IGNORECASE,
)


def answer(schema: dict[str, Any], page: PageText) -> str:
    """The JSON text of an answer. Raises GrammarError where the schema contradicts itself."""
    value = _Filler(schema, page).value(schema, name="", required=True, page=page, depth=0)
    return json.dumps(value, ensure_ascii=False)


def plain_answer(page: PageText) -> str:
    """What the model says where no shape is asked for."""
    return " ".join(page.sentences[:3]) or page.title or "The page has no text."


def broken_answer(text: str, kind: str, *, max_tokens: int) -> str:
    """An answer gone wrong in one of the ways models go wrong."""
    if kind == "bad_json":
        return f"Here is the data you asked for:\n{text[: max(1, len(text) * 2 // 3)]}"
    if kind == "wrong_schema":
        return json.dumps({"unexpected": ["this object", "fits", None], "answer": 42})
    if kind == "empty_answer":
        return ""
    head = text[: max(1, len(text) // 2)]
    filler = "\n    " if kind == "whitespace" else " and so on and so on,"
    return head + filler * (max_tokens * 4 // len(filler) + 8)


class _Filler:
    def __init__(self, root: dict[str, Any], page: PageText) -> None:
        self._root = root
        self._page = page

    def value(  # noqa: PLR0911 - one way out for each keyword that decides
        self, schema: Any, *, name: str, required: bool, page: PageText, depth: int
    ) -> Any:
        """A value for one place of the schema, or `_ABSENT` where none is known and none is needed."""
        if not isinstance(schema, dict):
            return page.next_sentence() if required else _ABSENT
        schema = self._merged(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._choice(schema, name, required=required, page=page)
        branches = schema.get("anyOf") or schema.get("oneOf")
        if branches:
            return self._branch(schema, branches, name=name, required=required, page=page, depth=depth)
        kinds = _kinds(schema)
        nullable = "null" in kinds
        kind = next((kind for kind in kinds if kind != "null"), "null")
        found = self._find(kind, schema, name=name, page=page, depth=depth)
        if found is not _ABSENT:
            return found
        if nullable and (required or kind == "null"):
            return None
        return self._invent(kind, schema, name=name, page=page) if required else _ABSENT

    # shapes

    def _merged(self, schema: dict[str, Any]) -> dict[str, Any]:
        schema = resolve(self._root, schema)
        for part in schema.get("allOf", ()):
            if isinstance(part, dict):
                schema = _intersection(schema, self._merged(part))
        return schema

    def _branch(
        self, schema: dict[str, Any], branches: Sequence[Any], *, name: str, required: bool, page: PageText, depth: int
    ) -> Any:
        beside = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
        options = [_intersection(beside, self._merged(option)) for option in branches if isinstance(option, dict)]
        solid = [option for option in options if _kinds(option) != ["null"]]
        for option in solid:
            found = self.value(option, name=name, required=False, page=page, depth=depth)
            if found is not _ABSENT:
                return found
        if not required:
            return _ABSENT
        if len(solid) < len(options) or not solid:
            return None
        return self.value(solid[0], name=name, required=True, page=page, depth=depth)

    def _find(self, kind: str, schema: dict[str, Any], *, name: str, page: PageText, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, page=page, depth=depth, forced=False)
        if kind == "array":
            return self._array(schema, name=name, page=page, depth=depth)
        if kind == "string":
            return self._string(schema, name=name, page=page)
        if kind in {"number", "integer"}:
            return self._number(schema, kind, name=name, page=page)
        if kind == "boolean":
            return _boolean(name, page)
        return _ABSENT

    def _invent(self, kind: str, schema: dict[str, Any], *, name: str, page: PageText) -> Any:
        if kind == "object":
            return self._object(schema, page=page, depth=MAX_DEPTH - 1, forced=True)
        if kind == "array":
            item = schema.get("items", {})
            count = int(schema.get("minItems", 0))
            if count > MAX_ITEMS * 20:
                raise GrammarError(f"minItems {count} is more than this server generates")
            return [self.value(item, name=name, required=True, page=page, depth=MAX_DEPTH - 1) for _ in range(count)]
        if kind == "string":
            return _fit_string(_invented_string(schema, name, page), schema, page)
        if kind in {"number", "integer"}:
            return _fit_number(page.numbers[0] if page.numbers else 0.0, schema, kind)
        return False if kind == "boolean" else None

    def _object(self, schema: dict[str, Any], *, page: PageText, depth: int, forced: bool) -> Any:
        properties = schema.get("properties", {})
        required = set(schema.get("required", ()))
        result: dict[str, Any] = {}
        for key, child in properties.items():
            needed = key in required
            if depth >= MAX_DEPTH and not needed:
                continue
            if depth > 2 * MAX_DEPTH:
                raise GrammarError("the schema requires itself without end")
            value = self.value(child, name=key, required=needed, page=page, depth=depth + 1)
            if value is not _ABSENT:
                result[key] = value
        for key in required - set(properties):
            result[key] = page.next_sentence()
        found = any(key not in required or _known(value) for key, value in result.items())
        return result if found or forced or depth == 0 else _ABSENT

    def _array(self, schema: dict[str, Any], *, name: str, page: PageText, depth: int) -> Any:
        least, most = int(schema.get("minItems", 0)), min(int(schema.get("maxItems", MAX_ITEMS)), MAX_ITEMS)
        item = self._merged(schema["items"]) if isinstance(schema.get("items"), dict) else {}
        if depth >= MAX_DEPTH:
            return _ABSENT
        values: list[Any] = []
        prefix = schema.get("prefixItems", ())
        values += [self.value(one, name=name, required=True, page=page, depth=depth + 1) for one in prefix]
        for piece in _pieces(item, name, page)[:most]:
            value = self.value(item, name="", required=False, page=piece, depth=depth + 1)
            if value is not _ABSENT and value not in values:
                values.append(value)
        if not values and not least:
            return _ABSENT
        while len(values) < least:
            values.append(self.value(item, name=name, required=True, page=page, depth=depth + 1))
        return values[: max(most, least)]

    # scalars

    def _choice(self, schema: dict[str, Any], name: str, *, required: bool, page: PageText) -> Any:
        options = [option for option in schema["enum"] if _allowed(option, schema)] or schema["enum"]
        labelled = _labelled(name, page).lower()
        stock = _stock(page)
        for option in options:
            words = " ".join(_words(str(option)))
            if words and (words in labelled or (stock and words == stock)):
                return option
        lower = page.text.lower()
        for option in options:
            words = " ".join(_words(str(option)))
            if words and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", lower):
                return option
        if None in options:
            return None
        return _pick(options, name, page) if required else _ABSENT

    def _string(self, schema: dict[str, Any], *, name: str, page: PageText) -> Any:
        found = _formatted(schema.get("format"), name, page)
        if found is None:
            found = _labelled(name, page) or _by_name(name, page)
        if not found:
            return _ABSENT
        if "pattern" in schema and not _matches(schema["pattern"], found):
            return _ABSENT
        return _fit_string(found, schema, page)

    def _number(self, schema: dict[str, Any], kind: str, *, name: str, page: PageText) -> Any:
        words = set(_words(name))
        if words & {"price", "amount"} and words & _FORMER:
            return _fit_number(page.old_prices[0].amount, schema, kind) if page.old_prices else _ABSENT
        value = number(_labelled(name, page) if name else page.text[:100])
        if words & {"price", "amount", "cost", "salary"} and page.prices:
            labelled = PageText(_labelled(name, page)).prices
            if labelled or value is None:
                return _fit_number((labelled or page.prices)[0].amount, schema, kind)
        return _ABSENT if value is None else _fit_number(value, schema, kind)


# what the page says


def _labelled(name: str, page: PageText) -> str:
    words = " ".join(_words(name))
    if not words:
        return ""
    for label in (words, *_SYNONYMS.get(words, ()), words.replace(" ", "")):
        if label in page.labels:
            return page.labels[label]
    last = words.rsplit(" ", 1)[-1]
    return page.labels.get(last, "") if len(last) > 3 else ""


def _by_name(name: str, page: PageText) -> str:
    if not name:  # an item of a list: the piece of text itself
        return page.title or page.text.strip()[:300]
    words = set(_words(name))
    for names, read in _READERS:
        if words & names:
            return read(page)
    return ""


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


_READERS: tuple[tuple[set[str], Callable[[PageText], str]], ...] = (
    (_TITLES, lambda page: page.title),
    ({"currency"}, lambda page: page.prices[0].currency if page.prices else ""),
    ({"price", "amount"}, lambda page: f"{page.prices[0].amount:.2f}" if page.prices else ""),
    ({"author", "writer", "byline"}, lambda page: page.author),
    ({"url", "link", "href"}, lambda page: _first(page.urls)),
    ({"image", "photo", "picture"}, lambda page: _first([url for url in page.urls if _IMAGE.search(url)])),
    ({"date", "published", "updated", "start", "end"}, lambda page: _first([day for day, _ in page.dates])),
    ({"email", "mail"}, lambda page: _first(page.emails)),
    (_PROSE, lambda page: " ".join(page.sentences[:2])),
)


def _formatted(kind: Any, name: str, page: PageText) -> str | None:
    """A value of a schema's `format`; empty where the page has none; None where the format says nothing."""
    if kind in {"date", "date-time"}:
        dates = dates_in(_labelled(name, page)) or page.dates
        if not dates:
            return ""
        day, time = dates[0]
        clock = (time + ":00")[:8] if time else "00:00:00"
        return day if kind == "date" else f"{day}T{clock}Z"
    if kind in {"uri", "url", "uri-reference", "iri"}:
        return next(iter(PageText(_labelled(name, page)).urls or page.urls), "")
    if kind in {"email", "idn-email"}:
        return next(iter(page.emails), "")
    return "" if kind in _INVENTED_FORMATS else None


def _boolean(name: str, page: PageText) -> Any:
    words = set(_words(name))
    if words & {"stock", "available", "availability"}:
        stock = _stock(page)
        return _ABSENT if not stock else stock == "in stock"
    labelled = _labelled(name, page).lower()
    if labelled:
        return labelled.split()[0].strip(".,;") in {"yes", "true", "ja", "oui", "sí", "si", "tak", "✓"}
    return _ABSENT


def _stock(page: PageText) -> str:
    if _OUT_OF_STOCK.search(page.text):
        return "out of stock"
    return "in stock" if _IN_STOCK.search(page.text) else ""


def _pieces(item: dict[str, Any], name: str, page: PageText) -> list[PageText]:
    """The parts of the page that may each be one item of a list."""
    if "properties" in item:
        names = {word for key in item["properties"] for word in _words(key)}
        if names & {"price", "amount"} and len(page.offers) > 1:
            return page.offers
        return [PageText(text) for text in page.items]
    labelled = _labelled(name, page)
    if labelled:
        return [PageText(part.strip()) for part in re.split(r"[,;/]", labelled) if part.strip()]
    if set(_words(name)) & {"url", "urls", "links", "images"}:
        return [PageText(url) for url in page.urls]
    return [PageText(text) for text in page.items]


# making it fit


_INVENTED_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/",
    "iri": "https://example.com/",
    "email": "nobody@example.com",
    "idn-email": "nobody@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "",
}


def _invented_string(schema: dict[str, Any], name: str, page: PageText) -> str:
    if schema.get("format") == "uuid":
        digest = hashlib.sha256(f"{name}\0{page.text}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    if schema.get("format") in _INVENTED_FORMATS:
        return _INVENTED_FORMATS[schema["format"]]
    if "pattern" in schema:
        return text_matching(schema["pattern"])
    return page.next_sentence()


def _fit_string(text: str, schema: dict[str, Any], page: PageText) -> str:
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    if least > MOST_CHARS:
        raise GrammarError(f"minLength {least} is more than this server generates")
    if "pattern" not in schema and "format" not in schema and len(text) < least:
        filler = " ".join(page.sentences[:20]) or "text"
        text = (text + " " + filler * (least // len(filler) + 1))[:least]
    return text if most is None else text[: int(most)]


def _fit_number(value: float, schema: dict[str, Any], kind: str) -> float | int:
    step = schema.get("multipleOf") or (1 if kind == "integer" else None)
    low = max(schema.get("minimum", -math.inf), _beyond(schema.get("exclusiveMinimum"), step))
    high = min(schema.get("maximum", math.inf), -_beyond(_negative(schema.get("exclusiveMaximum")), step))
    value = min(max(value, low), high)
    if step:
        value = round(value / step) * step
        if value < low:
            value = math.ceil(low / step) * step
        if value > high:
            value = math.floor(high / step) * step
    if kind == "integer" or float(value).is_integer():
        return int(value)
    return round(value, 10)


def _beyond(bound: Any, step: float | None) -> float:
    """The least value above an exclusive bound that this server uses."""
    if bound is None or isinstance(bound, bool):
        return -math.inf
    return float(bound) + (step or max(abs(bound) * 1e-6, 1e-6))


def _negative(bound: Any) -> Any:
    return None if bound is None or isinstance(bound, bool) else -bound


def _matches(pattern: str, text: str) -> bool:
    """Whether a short text fits; a pattern with nested repeats is not tried, since it might never end."""
    compiled = compile_pattern(pattern)
    return len(text) <= 200 and not re.search(r"[+*}]\)?[+*{]", pattern) and compiled.search(text) is not None


# schemas


def _kinds(schema: dict[str, Any]) -> list[str]:
    kinds = schema.get("type")
    if isinstance(kinds, list) and kinds:
        return [*kinds, "null"] if schema.get("nullable") is True and "null" not in kinds else list(kinds)
    if not isinstance(kinds, str):
        kinds = _implied_kind(schema)
    return [kinds, "null"] if schema.get("nullable") is True else [kinds]


def _implied_kind(schema: dict[str, Any]) -> str:
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema or "minItems" in schema:
        return "array"
    if {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"} & set(schema):
        return "number"
    return "string"


def _intersection(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both schemas at once, for the keywords that are generated from."""
    both = {**one, **other}
    both["properties"] = {**one.get("properties", {}), **other.get("properties", {})}
    for key in one.get("properties", {}).keys() & other.get("properties", {}).keys():
        both["properties"][key] = {"allOf": [one["properties"][key], other["properties"][key]]}
    both["required"] = [*one.get("required", ()), *other.get("required", ())]
    for key, strictest in _STRICTEST.items():
        if key in one and key in other:
            both[key] = strictest(one[key], other[key])
    if "enum" in one and "enum" in other:
        both["enum"] = [value for value in one["enum"] if value in other["enum"]]
        if not both["enum"]:
            raise GrammarError("allOf leaves no value of enum")
    if "type" in one and "type" in other:
        kinds = [
            kind for kind in _kinds(one) if kind in _kinds(other) or (kind, *_kinds(other)) == ("number", "integer")
        ]
        both["type"] = ["integer"] if kinds == ["number"] and "number" not in _kinds(other) else kinds or ["null"]
    for key in ("properties", "required"):
        if not both[key]:
            del both[key]
    return both


_STRICTEST = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
}


def _allowed(option: Any, schema: dict[str, Any]) -> bool:
    if "type" not in schema:
        return True
    kind = {str: "string", bool: "boolean", type(None): "null", dict: "object", list: "array", int: "integer"}
    return kind.get(type(option), "number") in _kinds(schema) or (
        isinstance(option, int) and "number" in _kinds(schema)
    )


def _pick(options: Sequence[Any], name: str, page: PageText) -> Any:
    digest = hashlib.sha256(f"{name}\0{page.text}".encode("utf-8", "surrogatepass")).digest()
    return options[digest[0] % len(options)]


def _known(value: Any) -> bool:
    return value not in (None, "", False, [], {})


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.rsplit("/", 1)[-1])
    return [word.lower() for word in re.findall(r"[^\W_]+", spaced)]
