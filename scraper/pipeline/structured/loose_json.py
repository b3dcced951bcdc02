"""JSON as pages really carry it: strict where it is, mended where its meaning is beyond doubt, refused otherwise."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Final

from scraper.models import Json

MAX_MENDED_CHARS: Final = 256 * 1024  # mending takes about 0.1 ms per kB
MAX_LITERAL_CHARS: Final = 16 * 1024  # of an object written as a program; larger ones come from JSON encoders
MAX_ROOTS: Final = 50  # values one after the other in one script

_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=lambda _: None)  # control characters in strings pass


def values_in(text: str) -> list[Json]:
    """The JSON values that `text` holds, one after the other; those before the first that cannot be read."""
    text = text.strip().lstrip("\ufeff")
    if not text:
        return []
    value, end = read_at(text, 0)
    if end == len(text):
        return [value]
    if len(text) > MAX_MENDED_CHARS:
        return [value] if end else []
    text = _unwrapped(text)
    found = list(_roots(text))
    return found or list(_roots(mended(text)))


def read_at(text: str, begin: int) -> tuple[Json, int]:
    """The JSON value that begins at `begin`, and where it ends; 0 where there is none."""
    try:
        return _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, 0


def literal_at(text: str, begin: int) -> Json:
    """The object or array that a script writes at `begin` with names, single quotes and comments, as programs may."""
    literal = mended(text[begin : begin + MAX_LITERAL_CHARS], balanced=True)
    return read_at(literal, 0)[0]


def _roots(text: str) -> Iterator[Json]:
    """Values with nothing but white space, commas and semicolons between them; none where anything else follows."""
    position = 0
    found: list[Json] = []
    while position < len(text) and len(found) < MAX_ROOTS:
        value, end = read_at(text, position)
        if not end:
            return
        found.append(value)
        position = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]  # matches nothing as well
    yield from found


def _unwrapped(text: str) -> str:
    """Without the comment or CDATA section around it, and unescaped where a template escaped all of it."""
    begin = _OPENING.match(text)
    text = text[begin.end() if begin else 0 :].rstrip()
    end = _CLOSING.search(text, max(0, len(text) - 40))
    text = text[: end.start() if end else None].strip()
    return html.unescape(text) if "&quot;" in text and '"' not in text else text


def mended(text: str, *, balanced: bool = False) -> str:
    """Token by token: comments and trailing commas go, names and strings get their double quotes.

    With `balanced`, it stops where the first bracket closes. A name that is no value, as in `{price: current}`, stays
    as it is, so that the whole is refused: what it stands for is not known.
    """
    parts: list[str] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        first = token[0]
        if first in "\"'`":
            if len(token) < 2 or token[-1] != first:
                break  # it has no end, or a name in it that stands for something
            parts.append(_string(token))
        elif token.startswith(("//", "/*")) or token.isspace():
            continue
        elif first in "{[":
            depth += 1
            parts.append(token)
        elif first in "}]":
            if parts and parts[-1] == ",":
                parts.pop()
            depth -= 1
            parts.append(token)
            if balanced and depth <= 0:
                break
        elif first == ":" and parts and _NAME.fullmatch(parts[-1]):
            parts[-1] = f'"{parts[-1]}"'
            parts.append(token)
        else:
            parts.append(_LITERALS.get(token, token))
    return " ".join(parts)  # 1 and 2 side by side are not 12


def _string(token: str) -> str:
    inside = token[1:-1]
    if token[0] != '"':
        inside = inside.replace('"', '\\"').replace('\\\\"', '\\"')
    inside = _BAD_ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), inside)
    return f'"{inside}"'


_BETWEEN: Final = re.compile(r"[\s,;]*")
_OPENING: Final = re.compile(r"(?:/\*|//)?\s*(?:<!--|<!\[CDATA\[)\s*(?:\*/|//)?")
_CLOSING: Final = re.compile(r"(?:/\*|//)?\s*(?:-->|\]\]>)\s*(?:\*/)?;?$")
_NAME: Final = re.compile(r"[A-Za-z_$][\w$]*|\d+")
_TOKEN: Final = re.compile(  # what never ends, ends with the text: nothing is looked at twice
    r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
    r"|'(?:[^'\\]|\\.)*+(?:'|\\?\Z)"
    r"|`(?:[^`\\$]|\\.)*+(?:`|\\?\Z|(?=\$))"
    r"|//[^\n]*|/\*(?:.*?\*/|.*)"
    r"|\s+|[{}\[\]:,]|!0|!1|void 0|[A-Za-z_$][\w$.]*|[-+]?[\d.][\d.eE+-]*|.",
    re.DOTALL,
)
_BAD_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u(?![0-9a-fA-F]{4})|[^\"\\/bfnrtu])", re.DOTALL)
_ESCAPES: Final = {"x22": '\\"', "x27": "'", "x26": "&", "x3C": "<", "x3c": "<", "x3E": ">", "x3e": ">", "x2F": "/"}
_LITERALS: Final = {"undefined": "null", "NaN": "null", "void 0": "null", "!0": "true", "!1": "false"}
