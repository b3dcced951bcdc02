"""Ages as people write them: `30d`, `12h`, `45m`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

_AGE: Final = re.compile(r"(\d{1,7})\s*([smhdw])", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Age(click.ParamType):  # type: ignore[type-arg]  # older clicks know no argument here
    """A number and its unit, as a timedelta."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _AGE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no age; write a number and s, m, h, d or w, as in 30d", param, ctx)
        return timedelta(**{_UNITS[match[2].lower()]: int(match[1])})


def spoken(age: timedelta) -> str:
    """The age in its largest whole unit: `3d`."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def ago(age: timedelta) -> datetime:
    """The moment that long before now; 1970 where there is no such year."""
    try:
        return max(datetime.now(UTC) - age, _LONG_AGO)
    except OverflowError:
        return _LONG_AGO


_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
