"""Ready-made JSON Schemas, and the owner's own, by name."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Final

from scraper.errors import Permanent
from scraper.models import ParkReason, Schema

LONGEST_FILE: Final = 1 << 20
"""Of a schema, which may have 65,536 characters without its blanks: what is longer was named by mistake."""
_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
_PACKAGE: Final = Path(__file__).parent


def named_schema(name: str, *, folder: Path | None = None) -> Schema:
    """The schema in `NAME.json`, from `folder` or else from those that come with the package.

    A file is read again when it changes. Raises Permanent(BAD_SCHEMA) for a name that has no readable file.
    """
    if not _NAME.fullmatch(name):
        raise _bad(
            "a schema's name has only a-z, 0-9, - and _, at most 64 of them; NAME.json in SCHEMAS_DIR is named "
            "NAME, and a path is for --schema alone"
        )
    for place in (folder, _PACKAGE):
        if place is None:
            continue
        path = place / f"{name}.json"
        try:
            found = path.stat()
            if found.st_size > LONGEST_FILE:
                raise _bad(f"{path.name} has {found.st_size} bytes; no schema has more than {LONGEST_FILE}")
            if S_ISREG(found.st_mode):
                return _read(path, found.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            continue  # not there, or no more
        except OSError as error:
            raise _bad(f"{path.name} cannot be read ({error.strerror})") from error
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
    except (ValueError, RecursionError) as error:
        raise _bad(f"{path.name} cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(schema, dict):
        raise _bad(f"{path.name} is not a JSON object")
    return schema


def _bad(what: str) -> Permanent:
    return Permanent(ParkReason.BAD_SCHEMA, f"schema: {what}")
