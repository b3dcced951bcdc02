"""What coordinator and clients say to each other: lines of JSON, each a list of messages, each a flat list.

    client       Hello → Welcome, then Brings Takes? Finds? Holds* (Holds? Finish)* Ready Ask*, then as it comes:
                 Ask Where Cancel Start Finish Brings Takes Finds
    coordinator  as it comes: Granted Refused Standing Revoked State
    operator     Hello with an empty token → Welcome, then Command → Report

A line that is too long, not JSON, or holds anything but known messages with fields of the right types is a BadLine;
it ends that connection and touches nothing else. Hello stands in a line of its own, and it and Welcome stay as they are
in every version: so processes of two releases can tell each other. Times are nanoseconds of the host's monotonic
clock, `id` numbers a client's askings, `ticket`, `place` and `lease` are the coordinator's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from scraper.events import Blocker
from scraper.throttle.turn import OutOf

VERSION = 5
LONGEST_LINE = 1 << 20
MESSAGES_PER_LINE = 1000
LARGEST = 1 << 63


class BadLine(ValueError):
    """Nobody who follows the protocol says this."""


class Hello(NamedTuple):
    version: int
    token: str  # names one client of one process, also after its coordinator was replaced
    now: int


class Brings(NamedTuple):
    """The limits in a client's settings."""

    max_concurrent: int
    requests_per_minute: float
    threshold: int
    timeout_seconds: float


class Takes(NamedTuple):
    """What a client's process takes from a queue, and how many consumers the broker counts there, if it was asked."""

    queue: str
    consumers: int
    counted: int | None


class Finds(NamedTuple):
    """Which setting the server refuses, found before this client could ask for a turn; empty: none any more."""

    wrong: str


class Holds(NamedTuple):
    """A lease that the client still uses, or has used since its start was late, told again to each coordinator."""

    lease: int
    at: int
    probe: bool
    check: bool
    attempt_seconds: float


class Ready(NamedTuple):
    """All leases are told: what else the coordinator counts for this client was never received."""


class Ask(NamedTuple):
    id: int
    place: int | None
    hold_seconds: float | None
    work_seconds: float | None
    attempt_seconds: float


class Where(NamedTuple):
    id: int


class Cancel(NamedTuple):
    id: int


class Start(NamedTuple):
    lease: int


class Finish(NamedTuple):
    """What decides of a `Verdict`; told again to the next coordinator, until a Granted counts it among the settled."""

    lease: int
    ending: str
    pause_seconds: float
    pause_reason: str
    wrong_status: int | None
    wrong_setting: str
    wrong_advice: str


class Bye(NamedTuple):
    """The client closes and holds nothing more; the coordinator hangs up when all before is settled."""


class Ping(NamedTuple):
    pass


class Command(NamedTuple):
    """An operator's order."""

    verb: str
    max_concurrent: int | None
    requests_per_minute: float | None
    seconds: float | None


class Welcome(NamedTuple):
    version: int
    pid: int
    now: int


class Granted(NamedTuple):
    """Written down before it is said; with it the first `settled` Finishes of this connection."""

    id: int
    lease: int
    place: int
    at: int
    write_by: int
    probe: bool
    check: bool
    slot: float
    rate: float
    circuit: float
    server_pause: float
    settled: int


class Refused(NamedTuple):
    id: int
    out_of: OutOf
    reason: Blocker
    slot: float
    rate: float
    circuit: float
    server_pause: float


class Standing(NamedTuple):
    """Where an asking stands in line; `place` goes with it to the next coordinator."""

    id: int
    place: int
    reason: Blocker
    position: int
    estimated_wait_seconds: float
    in_flight: int
    limit: int


class Revoked(NamedTuple):
    """The lease was reaped; whatever still runs on it must stop."""

    lease: int


class State(NamedTuple):
    in_flight: int
    waiting: int
    limit: int
    requests_per_minute: float
    blocked_by: Blocker | None
    circuit: str
    last_success: int | None


class Pong(NamedTuple):
    pass


class Report(NamedTuple):
    """What an operator's order came to."""

    status: dict[str, Any]


Message: TypeAlias = (
    Hello | Brings | Takes | Finds | Holds | Ready | Ask | Where | Cancel | Start | Finish | Bye | Ping | Command
    | Welcome | Granted | Refused | Standing | Revoked | State | Pong | Report
)  # fmt: skip


def encode(messages: Iterable[Message]) -> bytes:
    """One line."""
    plain = [(_TAGS[type(message)], *message) for message in messages]
    try:
        return to_json(plain) + b"\n"
    except ValueError:  # half of a surrogate pair in what a server said is no UTF-8
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def decode(line: bytes) -> list[Message]:
    """The messages of one line. Raises BadLine."""
    try:
        found = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise BadLine("not JSON") from error
    if type(found) is not list or len(found) > MESSAGES_PER_LINE:
        raise BadLine("not a list of messages")
    messages: list[Message] = []
    for each in found:
        if type(each) is not list or not each or type(each[0]) is not str:
            raise BadLine("not a message")
        types = tuple(map(type, each))
        make, numbers = _SEEN.get((each[0], types)) or _look_up(each[0], types)
        if numbers is not None and not max(map(abs, numbers(each))) < LARGEST:
            raise BadLine("a number out of bounds")
        messages.append(make(each[1:]))
    return messages


def _look_up(tag: str, types: tuple[type, ...]) -> tuple[Any, Any]:
    """What makes a message of such fields, and what takes its numbers out of them."""
    kind, allowed = _KINDS.get(tag, (None, ()))
    if kind is None or len(types) != len(allowed) + 1:
        raise BadLine("an unknown message")
    if not all(found in each for found, each in zip(types[1:], allowed, strict=True)):
        raise BadLine("a field of the wrong type")
    places = [index for index, found in enumerate(types) if found in {int, float}]
    numbers = itemgetter(*places, places[0]) if places else None  # twice the first: of one it makes no tuple
    known = partial(tuple.__new__, kind), numbers
    _SEEN[tag, types] = known  # there are few ways to be right
    return known


def _allowed(hint: Any) -> frozenset[type]:
    """What JSON may hold where `hint` is meant."""
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        return frozenset[type]().union(*(_allowed(each) for each in get_args(hint)))
    if origin is Literal:
        return frozenset({str})
    return frozenset({int, float}) if hint is float else frozenset({origin or hint})


_KINDS: dict[str, tuple[Any, tuple[frozenset[type], ...]]] = {
    kind.__name__.lower(): (kind, tuple(_allowed(hint) for hint in get_type_hints(kind).values()))
    for kind in get_args(Message)
}
_SEEN: dict[tuple[str, tuple[type, ...]], tuple[Any, Any]] = {}
_TAGS: dict[type, str] = {kind: tag for tag, (kind, _) in _KINDS.items()}
