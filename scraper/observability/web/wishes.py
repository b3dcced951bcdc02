"""What a page may ask of the throttle: checked here, so that a mistake is told in words and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BOUNDS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "pause": {"seconds": (1, 86_400)},
    "resume": {},
    "set": {"max_concurrent": (1, 1024), "requests_per_minute": (1, 60_000)},
    "reset": {},
}
"""Verb → what it may be given, and between which bounds."""


class BadWish(ValueError):
    """Not to be understood, or out of bounds."""


def wish(body: Any) -> tuple[str, dict[str, float]]:
    """Verb and arguments of `{"do": "set", "max_concurrent": 1}`. Raises BadWish."""
    verb = body.get("do") if isinstance(body, dict) else None
    if not isinstance(verb, str) or verb not in BOUNDS:
        raise BadWish(f"do what? One of {', '.join(BOUNDS)}")
    arguments = {name: _number(name, value, BOUNDS[verb]) for name, value in body.items() if name != "do"}
    if verb == "set" and not arguments:
        raise BadWish("set what? max_concurrent, requests_per_minute, or both")
    return verb, arguments


def _number(name: str, value: Any, bounds: Mapping[str, tuple[float, float]]) -> float:
    if name not in bounds:
        raise BadWish(f"{name[:40]!r} does not belong to it")
    least, most = bounds[name]
    whole = name == "max_concurrent"
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # which no NaN is, and no infinity
        raise BadWish(f"{name} must be a {'whole ' if whole else ''}number from {least:g} to {most:g}")
    return float(value) if not whole else int(value)
