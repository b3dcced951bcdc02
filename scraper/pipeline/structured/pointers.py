"""JSON pointers into answers that are being put together."""

from __future__ import annotations

from scraper.models import Json


def set_at(data: dict[str, Json], pointer: str, value: Json) -> None:
    """Put `value` at `pointer`, making the objects on the way. A value that is there already gives way."""
    *way, last = steps(pointer)
    for step in way:
        below = data.get(step)
        if not isinstance(below, dict):
            below = data[step] = {}
        data = below
    data[last] = value


def steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def is_within(pointer: str, outer: str) -> bool:
    return pointer == outer or pointer.startswith(f"{outer}/")
