"""Which part of its page each line of a document belongs to: noted while cleaning, read only where a page is too long.

A `Document.outline` has one character for each line of its text, the sum of what holds of it plus `0`.
"""

from __future__ import annotations

from typing import Final

from scraper.models import Document

FRAME: Final = 1  # navigation, header, footer, sidebar: what all pages of a site have
LINKS: Final = 2  # little but links
MAIN: Final = 4  # inside what the page itself calls its main part or an article
HEAD: Final = 8  # a fact of the page's head

PLAIN: Final = "0"


def marks(lines: bytes | bytearray) -> str:
    """The outline of `lines`, each of which is the sum of what holds of it."""
    return lines.translate(_MARKS).decode("ascii")


def with_part(lines: bytes | bytearray, part: int) -> bytes | bytearray:
    """`lines`, all of them with `part` in their sums."""
    return lines.translate(_WITH[part])


def parts_of(document: Document) -> list[int]:
    """For each line of its text; of a text without an outline no line belongs to anything."""
    lines = document.text.count("\n") + 1
    zero = ord(PLAIN)
    return [ord(each) - zero for each in document.outline[:lines]] + [0] * (lines - len(document.outline))


_MARKS: Final = bytes((ord(PLAIN) + parts) % 256 for parts in range(256))
_WITH: Final = {part: bytes(parts | part for parts in range(256)) for part in (FRAME, LINKS, MAIN, HEAD)}
