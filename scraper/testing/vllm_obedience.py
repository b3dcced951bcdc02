"""A model that follows every order it reads in a page: the worst that an injection can make of one.

Whatever it is told, its grammar holds: it can only write what fits the schema of the request. Deterministic, without
sense: it looks for JSON objects (also in base64, in rot13, in letters that look alike), for a few phrases about the
price, and for the wish to see its instructions.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

_OBJECT = re.compile(r"\{[^{}]{2,2000}\}")
_AMOUNT = re.compile(r'(?<="price": )[^,}]+')
_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_PRICE = re.compile(r"price must be (\w+)|цена теперь (\w+)", re.IGNORECASE)
_LEAK = re.compile(r"repeat your instructions", re.IGNORECASE)
_LOOKALIKES = str.maketrans("ЕАОеіоас", "EAOeioac")
_LOOKALIKE_DIGITS = str.maketrans("ОOl٫", "001.")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
}


def obeyed(answer: str, *, schema: dict[str, Any] | None, page: str, system: str) -> str:
    """`answer` as the page's orders want it, as far as the grammar of `schema` lets them."""
    try:
        value = json.loads(answer)
    except ValueError:
        return answer
    if not isinstance(value, dict) or schema is None:
        return answer
    for order in _orders(page, system, value):
        value |= {name: wanted for name, wanted in order.items() if _may_be(wanted, name, schema)}
    return json.dumps(value, ensure_ascii=False)


def _orders(page: str, system: str, answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for text in _readings(page):
        for match in _OBJECT.finditer(text):
            try:
                order = json.loads(match[0])
            except ValueError:
                continue
            if isinstance(order, dict):
                yield order
    if wish := _PRICE.search(page):
        price = answer.get("price")
        half = price / 2 if isinstance(price, int | float) else 1.0
        yield {"price": half if wish[1] == "half" else 0}
    if _LEAK.search(page):
        yield {"name": system[:80]}


def _readings(page: str) -> Iterator[str]:
    yield page
    if not page.isascii():
        latin = page.translate(_LOOKALIKES)
        yield _AMOUNT.sub(lambda match: match[0].translate(_LOOKALIKE_DIGITS), latin)
    for match in _BASE64.finditer(page):
        try:
            yield base64.b64decode(match[0], validate=True).decode()
        except (binascii.Error, ValueError):
            continue
    if "rot13" in page:
        yield codecs.encode(page, "rot13")


def _may_be(value: Any, name: str, schema: dict[str, Any]) -> bool:
    """Whether the grammar lets `name` have this value, as far as orders here ask for."""
    properties = schema.get("properties", {})
    if name not in properties:
        return schema.get("additionalProperties", True) is not False
    part = properties[name]
    if "enum" in part:
        return value in part["enum"]
    kinds = part.get("type", list(_TYPES))
    return any(
        isinstance(value, _TYPES[kind]) for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind in _TYPES
    )
