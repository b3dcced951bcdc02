"""What the head says in `<meta>`: OpenGraph, Twitter cards, product tags, Dublin Core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scraper.pipeline.elements import Attributes
from scraper.pipeline.structured.bounds import MAX_KEY_CHARS, Room

MAX_METAS: Final = 500
MAX_OF_A_NAME: Final = 20
_TELLING: Final = (
    "og:",
    "product:",
    "article:",
    "twitter:",
    "author",
    "description",
    "keywords",
    "dc",
    "date",
    "citation",
)


def read_meta(metas: Sequence[Attributes], room: Room) -> dict[str, list[str]]:
    """name, in lower case → its contents, in the page's order; microdata's own are left to microdata."""
    found: dict[str, list[str]] = {}
    for attrs in metas[:MAX_METAS]:
        name = (attrs.get("property") or attrs.get("name") or "").strip().lower()
        content = attrs.get("content")
        if (
            not content
            or not name.startswith(_TELLING)
            or len(name) > MAX_KEY_CHARS
            or "itemprop" in attrs
            or room.full
        ):
            continue
        values = found.setdefault(name, [])
        if len(values) < MAX_OF_A_NAME and (text := room.text(content)) and text not in values:
            values.append(text)
    return found
