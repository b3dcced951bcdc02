"""Whether an answer under way has stopped making sense, so that hanging up frees the GPU.

A model that a grammar holds to JSON may write white space, one phrase, one number or one more level for ever: all of
it is allowed, and all of it is paid for until `max_tokens`. Watching costs next to nothing: the bytes are looked at
once every 16 KiB, which are some 60 tokens; most answers end before the third look.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Final

LOOK_BYTES: Final = 16 * 1024
LONGEST_EVENT_BYTES: Final = 1 << 20  # what goes on for longer without a line end is no stream of events
TAIL_CHARS: Final = 8 * 1024
WHITESPACE_CHARS: Final = 200  # indentation of the deepest sane answer is half of that
DIGITS: Final = 150  # a grammar bounds no number; the longest sane ones, of cards and accounts, have 40
LEAST_REPEATED_CHARS: Final = (
    800  # and three times the phrase: 800 times a letter, 115 times "n/a", 8 times 160 letters
)
PROBE_CHARS: Final = 32
_PHRASES: Final = 8  # places where the last words stood before that are looked at
_MORE_EVENTS: Final = 64  # than tokens: a server may send empty ones


class Runaway(StrEnum):
    """What an answer does without end."""

    WHITESPACE = "whitespace"
    REPETITION = "repetition"
    NUMBER = "number"
    DEPTH = "depth"
    BUDGET = "budget"  # more tokens than were asked for


class AnswerWatch:
    """Watches one streamed answer. `max_depth`: levels of objects and arrays that its schema allows."""

    def __init__(self, *, max_tokens: int, max_depth: int) -> None:
        self._max_events = max_tokens + _MORE_EVENTS
        self._max_depth = max_depth
        self._fresh: list[bytes] = []
        self._bytes = 0
        self._events = 0
        self._rest = b""  # of an event that has not arrived whole
        self._tail = ""
        self._nesting: _Nesting | None = None

    def sees(self, piece: bytes) -> Runaway | None:
        """What the answer is found to do, told once in a while at most."""
        self._fresh.append(piece)
        self._bytes += len(piece)
        return self._look() if self._bytes >= LOOK_BYTES else None

    def _look(self) -> Runaway | None:
        whole, line_end, self._rest = b"".join((self._rest, *self._fresh)).rpartition(b"\n")
        if len(self._rest) > LONGEST_EVENT_BYTES:
            self._rest = b""
        self._fresh.clear()
        self._bytes = 0
        words = [word for word in _WORDS.findall(whole + line_end) if word]
        self._events += len(words)
        fresh = _text(b"".join(words))
        self._tail = (self._tail + fresh)[-TAIL_CHARS:]
        if self._nesting is None:
            self._nesting = _Nesting(is_json=fresh.lstrip()[:1] in {"{", "["})
        depth = self._nesting.after(fresh)
        if self._events > self._max_events:
            return Runaway.BUDGET
        return Runaway.DEPTH if depth > self._max_depth else runs_away(self._tail)


def runs_away(tail: str) -> Runaway | None:
    """What the end of an answer does without end, if it does."""
    if len(tail) - len(tail.rstrip()) >= WHITESPACE_CHARS:
        return Runaway.WHITESPACE
    if len(tail) >= DIGITS and tail[-DIGITS:].isdigit():
        return Runaway.NUMBER
    return Runaway.REPETITION if _repeats(tail) else None


def _repeats(tail: str) -> bool:
    """Whether `tail` ends in one phrase over and over, letter by letter, however it is indented."""
    if tail.count(tail[-PROBE_CHARS:]) < 3:  # mostly so, and told at once
        return False
    tail = " ".join(tail.split())
    probe = tail[-PROBE_CHARS:]
    found = len(tail) - len(probe)
    for _ in range(_PHRASES):
        found = tail.rfind(probe, 0, found + len(probe) - 1)
        if found < 0:
            return False
        period = len(tail) - len(probe) - found
        length = 3 * period + LEAST_REPEATED_CHARS
        if length > len(tail):
            return False
        if tail[-length:-period] == tail[-length + period :]:
            return True
    return False


class _Nesting:
    """How many objects and arrays are open; brackets inside strings are text."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._depth = 0
        self._open = ""  # the beginning of a string that goes on

    def after(self, text: str) -> int:
        """The depth behind `text`, which continues what was given before."""
        if not self._is_json:
            return 0
        text = self._open + text
        self._open = ""
        bare = _STRING.sub(self._close, text)
        self._depth += bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
        return self._depth

    def _close(self, match: re.Match[str]) -> str:
        if match["end"] is None:  # only the last one can be open
            self._open = '"' + match["escape"]
        return ""


def _text(words: bytes) -> str:
    try:
        text = json.loads(b'"' + words + b'"')
    except ValueError:  # no JSON: `parse_reply` will say so
        return ""
    return text if isinstance(text, str) else ""


_WORDS: Final = re.compile(rb'"(?:content|reasoning(?:_content)?)":\s*"((?:[^"\\]++|\\.)*+)"')
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:(?P<end>")|(?P<escape>\\?)\Z)', re.DOTALL)
