"""What of a page's data is kept: pages are hostile, and what is kept travels between processes."""

from __future__ import annotations

import html
import math
from typing import Final

from scraper.models import Json
from scraper.pipeline.one_line import one_line
from scraper.pipeline.visibility import without_invisible

MAX_VALUES: Final = 20_000  # of one page; a product with 100 variants has about 2,000
MAX_CHARS: Final = 512 * 1024  # of all strings and keys of one page
MAX_STRING_CHARS: Final = 20_000  # the body of a long article
MAX_KEY_CHARS: Final = 100
MAX_DEPTH: Final = 16


class Room:
    """How much of a page's data may still be kept."""

    def __init__(self, *, values: int = MAX_VALUES, chars: int = MAX_CHARS) -> None:
        self.values = values
        self.chars = chars

    def text(self, text: str) -> str:
        """`text`, unescaped where a page escaped it twice, in one line of words, cut where it is too long.

        Characters that show nothing go, as from the page's text: no reader sees them, and machines obey them.
        """
        if len(text) > MAX_STRING_CHARS:
            text = text[:MAX_STRING_CHARS]
        if "&" in text:
            text = html.unescape(text)
        if not text.isascii():  # an escape in JSON may be half a character
            text = text.encode("utf-8", "replace").decode()
        shown, hidden = without_invisible(one_line(text))
        kept = (one_line(shown) if hidden else shown)[: max(0, self.chars)]
        self.values -= 1
        self.chars -= len(kept)
        return kept

    def key(self, key: str) -> str:
        self.chars -= len(key)
        return key if key.isascii() else key.encode("utf-8", "replace").decode()

    @property
    def full(self) -> bool:
        return self.values <= 0 or self.chars <= 0


def bounded(value: Json, room: Room, *, depth: int = MAX_DEPTH) -> Json:
    """A copy of `value` that fits into `room`; what does not is left out. Numbers that JSON lacks become null."""
    room.values -= 1
    if isinstance(value, str):
        return room.text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == 0 or room.full:
        return None
    if isinstance(value, dict):
        return {
            room.key(key): bounded(each, room, depth=depth - 1)
            for key, each in value.items()
            if len(key) <= MAX_KEY_CHARS and not room.full
        }
    if isinstance(value, list):
        return [bounded(each, room, depth=depth - 1) for each in value if not room.full]
    return value
