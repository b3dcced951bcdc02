"""Reads log lines back into the events they tell: what a monitor beside the workers knows of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scraper import events
from scraper.events import Event

LARGEST = 10**15
"""No number of ours comes near it; sums of larger ones leave what JSON can say."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of a worker's log."""

    event: Event | None  # None: a line of ours whose event is not known, from another version say
    name: str
    level: str
    at: float | None  # unix time
    pid: int
    task_id: str


def heard(line: bytes | str) -> Heard | None:
    """What `line` says; None where it is no JSON log line of a worker."""
    if line.lstrip()[:1] not in {b"{", "{"}:
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    name = fields.get("event")
    if not isinstance(name, str):
        return None
    pid = fields.get("pid")
    return Heard(
        event=_event(name, fields),
        name=name,
        level=str(fields.get("level", "info")),
        at=_unix_time(fields.get("timestamp")),
        pid=pid if isinstance(pid, int) else 0,
        task_id=str(fields.get("task_id", "")),
    )


def _event(name: str, fields: Mapping[str, Any]) -> Event | None:
    kind, types = _KINDS.get(name, (None, {}))
    if kind is None:
        return None
    try:
        values = {field: _as(fields[field], accepted) for field, accepted in types.items()}
    except (KeyError, TypeError):
        return None
    event: Event = kind(**values)
    return event


def _as(value: Any, accepted: tuple[type, ...]) -> Any:
    """`value` where a field of such a type may hold it: a line can come from anywhere."""
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        raise TypeError("another type")
    if isinstance(value, dict) and not all(type(each) in {int, float} for each in value.values()):
        raise TypeError("no numbers")
    numbers = value.values() if isinstance(value, dict) else [value] if isinstance(value, int | float) else []
    if not all(abs(number) <= LARGEST for number in numbers):  # NaN is not, either
        raise TypeError("a number beyond all bounds")
    return value


def _accepted(annotation: str) -> tuple[type, ...]:
    simple: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "None": (type(None),)}
    if annotation.startswith("Mapping"):
        return (dict,)
    return tuple(kind for part in annotation.split(" | ") for kind in simple.get(part, (str,)))


_KINDS: dict[str, tuple[Any, dict[str, tuple[type, ...]]]] = {
    kind.name: (kind, {field.name: _accepted(str(field.type)) for field in dataclasses.fields(kind)})
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}


def _unix_time(stamp: object) -> float | None:
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except (ValueError, OverflowError):
        return None
