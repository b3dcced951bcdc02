"""Ready-made JSON Schemas, and the owner's own, by name."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from scraper.errors import Permanent
from scraper.models import ParkReason, Schema

_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_PACKAGE: Final = Path(__file__).parent


def named_schema(name: str, *, folder: Path | None = None) -> Schema:
    """The schema in `NAME.json`, from `folder` or else from those that come with the package.

    A file is read again when it changes. Raises Permanent(BAD_SCHEMA) for a name that has no readable file.
    """
    if not _NAME.fullmatch(name):
        raise _bad("a schema's name has only a-z, 0-9, - and _, at most 64 of them")
    for place in (folder, _PACKAGE):
        path = place / f"{name}.json" if place is not None else None
        if path is not None and path.is_file():
            return _read(path, path.stat().st_mtime_ns)
    where = "SCHEMAS_DIR or the package" if folder is not None else "the package, and SCHEMAS_DIR is not set"
    there = ", ".join(schema_names(folder=folder))
    raise _bad(f"there is no schema named {name!r} in {where}; there are: {there}")


def schema_names(*, folder: Path | None = None) -> dict[str, Path]:
    """Every name that a task may use, and the file behind it; the owner's own hide those of the package."""
    places = [place for place in (_PACKAGE, folder) if place is not None and place.is_dir()]
    found = {path.stem: path for place in places for path in sorted(place.glob("*.json")) if _NAME.fullmatch(path.stem)}
    return dict(sorted(found.items()))


@lru_cache(64)
def _read(path: Path, _changed_ns: int) -> Schema:
    try:
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(f"{path.name} cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(schema, dict):
        raise _bad(f"{path.name} is not a JSON object")
    return schema


def _bad(what: str) -> Permanent:
    return Permanent(ParkReason.BAD_SCHEMA, f"schema: {what}")
