"""Text on one line."""

from __future__ import annotations


def one_line(text: str) -> str:
    """`text` with one space wherever it has white space, none at its ends.

    Most texts are so already: a look costs a third of taking them apart. Nothing that is printable is white space, but
    for the space itself.
    """
    text = text.strip()
    return text if text.isprintable() and "  " not in text else " ".join(text.split())
