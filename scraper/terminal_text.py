"""Text of strangers, made fit for a terminal: what would steer it is shown instead of obeyed."""

from __future__ import annotations

import json
import re
from typing import Final

_STEERING: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # line separators, and what turns the direction of writing
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"  # invisible marks, halves of characters, tags
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BREAKING: Final = re.compile(r"[\t\n]+")


def defused(text: str) -> str:
    r"""`text` with control characters spelt out, as in `\x1b[2J`; tabs and line feeds stay."""
    return _STEERING.sub(_spelt, text)


def without_controls(text: str) -> str:
    """The same for text that is no line of a terminal: line ends and the direction of writing stay."""
    return text if text.isprintable() else _CONTROL.sub(_spelt, text)


def harmless_json(text: str) -> str:
    """JSON `text` in which such characters are escapes, which mean the same to whoever reads it."""
    return text if text.isprintable() else _STEERING.sub(lambda match: json.dumps(match[0])[1:-1], text)


def in_one_line(text: str, *, most: int = 0) -> str:
    """`defused` and without line feeds, at most so many characters."""
    line = _BREAKING.sub(" ", defused(text)).strip()
    return line if not most or len(line) <= most else f"{line[: most - 1]}…"


def _spelt(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
