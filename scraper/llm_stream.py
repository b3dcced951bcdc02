"""What a response body says: a chat completion, streamed (server-sent events) or in one piece, or why it is none.

While a body arrives only two things are looked for, its first token and its end (and once in a while whether it has
one, see llm_runaway.py); it is parsed once, when it is complete. A server sends an event per token, and parsing each as
it comes would cost more than everything else; so would parsing all of them, which differ in their words alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from scraper.llm_runaway import Runaway
from scraper.models import Json, Usage
from scraper.throttle.verdict import Ending

LONGEST_TOKEN_BYTES = 4 * 1024
"""Of a body for each token of its answer, far above the 300 of an event: beyond that, it is no answer."""
LONGEST_BODY_BYTES = 64 * 1024 * 1024

MOST_TOKENS = 1 << 31
"""A larger count is a mistake, which neither the throttle nor a database could take."""
LONGEST_WORD = 40
LONGEST_NAME = 500

_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion. `text` is the model's words; `finish_reason` "length" means that they were cut off.

    `stopped`: why this side hung up before their end, "stopped"; then only the tokens that came are counted.
    """

    text: str
    finish_reason: str | None
    model: str | None
    usage: Usage
    stopped: Runaway | None = None


class BrokenReply(Exception):
    """A 200 that is not a whole chat completion. The text holds nothing of the body but error types."""

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending = ending


def most_bytes(max_tokens: int) -> int:
    """What a body may have whose answer has so many tokens at most; parsing takes up to thirty times as much."""
    return min(LONGEST_BODY_BYTES, (1 << 20) + max_tokens * LONGEST_TOKEN_BYTES)


def begins_tokens(piece: bytes) -> bool:
    """Whether a piece of a streamed body holds (the first of) its data; comments that keep it alive do not."""
    return b"data:" in piece


def ends_stream(piece: bytes, *, begins_line: bool) -> bool:
    """Whether a piece is the end of all events: a line of its own. Inside an event's JSON there is no bare line end.

    `begins_line`: nothing of its first line came with the piece before.
    """
    last = piece.rstrip()
    if not last.endswith(_DONE):
        return False
    line = last.rfind(b"\n") + 1
    return (line > 0 or begins_line) and last[line:] in {b"data: " + _DONE, b"data:" + _DONE}


def parse_reply(body: bytes) -> Reply:
    """The completion in a whole body. Raises BrokenReply."""
    return _parse_whole(body) if body.lstrip()[:1] == b"{" else _parse_events(body)


def parse_stopped(body: bytes, stopped: Runaway) -> Reply:
    """What had come of a streamed completion when this side hung up. Raises BrokenReply."""
    events = _json(b"[" + b",".join(_data_lines(body[: body.rfind(b"\n") + 1])) + b"]")
    if not isinstance(events, list):
        raise BrokenReply(Ending.NOT_A_COMPLETION, "broken JSON in the stream")
    _refuse_errors(events)
    return _joined(events, stopped=stopped)


def _parse_whole(body: bytes) -> Reply:
    answer = _json(body)
    if not isinstance(answer, dict):
        raise BrokenReply(Ending.NOT_A_COMPLETION, "200 without a chat completion")
    _refuse_errors([answer])
    try:
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BrokenReply(Ending.NOT_A_COMPLETION, "200 without a chat completion") from error
    return _reply(text, choice.get("finish_reason"), answer.get("model"), answer.get("usage"))


def _parse_events(body: bytes) -> Reply:
    payloads = list(_data_lines(_run_together(body)))
    ended = bool(payloads) and payloads[-1] == _DONE
    if ended:
        del payloads[-1]
    if not payloads:
        if ended or not body.strip():
            raise BrokenReply(Ending.NO_ANSWER, "the stream ended before its first token")
        raise BrokenReply(Ending.NOT_A_COMPLETION, "200 without a chat completion")
    events = _json(b"[" + b",".join(payloads) + b"]")
    if not isinstance(events, list):
        ending = Ending.NOT_A_COMPLETION if ended else Ending.NO_ANSWER  # cut inside an event: an early end
        raise BrokenReply(ending, "broken JSON in the stream" if ended else "the stream was cut off")
    _refuse_errors(events)
    return _joined(events)


def _run_together(body: bytes) -> bytes:
    """The same stream, shorter: the words of events in a row that are otherwise equal are in the first of them.

    Which events these are, the one in the middle of the body tells, if it has words in one place only.
    """
    middle = len(body) // 2
    event = body[body.rfind(b"\n", 0, middle) + 1 : body.find(b"\n", middle) + 1]
    words = _WORDS.search(event)
    if words is None or event.count(b'"content"') > 1:
        return body
    head, tail = b"\n" + event[: words.start(1)], event[words.end(1) :]
    before, found, rest = body.partition(head)
    pieces = rest.split(tail + head)
    last = pieces.pop()
    if not _QUOTED.fullmatch(b"\n".join(pieces)):  # other events lie between them, or one's words do not end with it
        return body
    return b"".join((before, found, *pieces, last))


def _joined(events: list[Json], *, stopped: Runaway | None = None) -> Reply:
    words: list[str] = []
    finish_reason = model = usage = None
    try:
        for event in events:
            usage = event.get("usage") or usage
            if choices := event.get("choices"):
                choice = choices[0]
                if word := (choice.get("delta") or {}).get("content"):
                    words.append(word)
                finish_reason = choice.get("finish_reason") or finish_reason
                model = event.get("model") or model
        text = "".join(words)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BrokenReply(Ending.NOT_A_COMPLETION, "200 without a chat completion") from error
    if stopped is not None:
        return replace(_reply(text, "stopped", model, {"completion_tokens": len(words)}), stopped=stopped)
    if finish_reason is None:
        raise BrokenReply(Ending.NO_ANSWER, "the stream ended before the answer did")
    return _reply(text, finish_reason, model, usage)


def _reply(text: Json, finish_reason: Json, model: Json, usage: Json) -> Reply:
    if not isinstance(text, str):
        raise BrokenReply(Ending.NOT_A_COMPLETION, "200 without a chat completion")
    finish_reason = finish_reason if _is_word(finish_reason) else None
    if finish_reason in {"error", "abort"}:
        raise BrokenReply(Ending.SERVER_ERROR, f"the server gave up on the answer (finish_reason={finish_reason})")
    return Reply(text, finish_reason, model if _is_name(model) else None, _usage(usage))


def _is_word(text: Json) -> bool:
    """Whether it may be logged: a server could put anything there, and be it the key that lets us in."""
    return isinstance(text, str) and len(text) <= LONGEST_WORD and text.isidentifier()


def _is_name(text: Json) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_NAME and text.isprintable()


def _usage(usage: Json) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


def _count(number: Json) -> int:
    return number if type(number) is int and 0 < number <= MOST_TOKENS else 0


def _refuse_errors(events: list[Json]) -> None:
    for event in events:
        if isinstance(event, dict) and event.get("error"):
            error = event["error"]
            kind = error.get("type") if isinstance(error, dict) else None
            named = f": {kind[:40]}" if isinstance(kind, str) and kind.isidentifier() else ""
            raise BrokenReply(Ending.SERVER_ERROR, f"the server reported an error inside its 200{named}")


def _data_lines(body: bytes) -> Iterator[bytes]:
    for line in body.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _json(text: bytes) -> Json:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_WORDS: Final = re.compile(rb'"content":\s*"((?:[^"\\]++|\\.)*+)"')
_QUOTED: Final = re.compile(rb'(?:[^"\\]++|\\.)*+')
