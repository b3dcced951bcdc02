"""JSON as it is stored and exported: compact, readable, and never refused: a result nobody can write is lost work."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Any

read_json = json.loads


def write_json(value: Json) -> str:
    """Compact JSON text that encodes as UTF-8; NaN and infinities, which JSON does not have, become null."""
    try:
        text = _ENCODER.encode(value)
    except ValueError:
        text = _ENCODER.encode(_finite(value))
    return storable(text)


def storable(text: str) -> str:
    r"""`text`, with lone surrogates, which UTF-8 cannot carry, written as `\udXXX`: inside JSON that means the same."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _plain(value: object) -> Json:
    return dict(value) if isinstance(value, Mapping) else str(value)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_plain
)


def _finite(value: Json) -> Json:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value
