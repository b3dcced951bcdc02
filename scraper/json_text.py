"""JSON text: strict where it comes in; where it goes out compact, readable and never refused.

A result that nobody can write is lost work; a value that was read otherwise than it was meant is worse.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from jiter import from_json

Json: TypeAlias = Any

MAX_DEPTH = 500  # half of what Python's own limit lets through; the rest is for whoever calls

read_json = json.loads


class NotStrict(ValueError):
    """Python reads it and JSON does not allow it: a number that is none, or two values for one `key`."""

    def __init__(self, what: str, *, key: str | None = None) -> None:
        super().__init__(what)
        self.key = key


def read_strict(text: str | bytes) -> Json:
    """The value that `text` is. Raises NotStrict, or as `json.loads` does: ValueError, RecursionError.

    What is nested deeper than `MAX_DEPTH` is refused here, where it costs one task: Python may well read it and then
    not be able to write it, in the middle of an export for example. A page of 50 kB is read in two thirds of the time
    that `json` takes, which reads again what jiter refuses: it can say why, and goes deeper than 200 levels.
    """
    try:
        data = text if isinstance(text, bytes) else text.encode()
        value = from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        value = _STRICT.decode(text.decode() if isinstance(text, bytes) else text)
    _refuse_excess(value)
    return value


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


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise NotStrict("one key twice in an object", key=twice)
    return value


def _refuse_excess(value: Json) -> None:
    """Numbers and nesting beyond all bounds; level by level: recursion is what this must not need."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if math.inf in level or -math.inf in level:
            raise NotStrict("a number beyond all bounds")
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return
        level = [child for each in nested for child in (each.values() if isinstance(each, dict) else each)]
    raise RecursionError(f"nested deeper than {MAX_DEPTH} levels")


def _no_constant(_: str) -> NoReturn:
    raise NotStrict("NaN or Infinity, which JSON does not know")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


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
