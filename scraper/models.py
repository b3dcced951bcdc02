"""What flows through the service: a task, what each step makes of it, and how it ends.

Everything here is a frozen value. Whatever came over a border (queue body, page, model answer) was checked there
and is trusted from here on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any  # whatever `json.loads` returns; narrowed where it is read
Priority: TypeAlias = Literal["normal", "high"]
Schema: TypeAlias = Mapping[str, Json]


class ParkReason(StrEnum):
    """The closed list of reasons a task can be parked for."""

    BAD_TASK = "bad_task"
    BAD_SCHEMA = "bad_schema"
    TOO_LARGE = "too_large"
    DUPLICATE_ID = "duplicate_id"
    PAGE_GONE = "page_gone"
    ROBOTS = "robots"
    NOT_HTML = "not_html"
    REDIRECTS = "redirects"
    REFUSED_ADDRESS = "refused_address"
    MODEL_REFUSED = "model_refused"
    BAD_ANSWER = "bad_answer"
    SCHEMA_INVALID = "schema_invalid"
    ANSWER_TOO_LONG = "answer_too_long"
    UNSUPPORTED = "unsupported"
    ATTEMPTS = "attempts"
    EXPIRED = "expired"
    CRASH_LOOP = "crash_loop"
    DELIVERY_LIMIT = "delivery_limit"


@dataclass(frozen=True, slots=True)
class Task:
    """One page to read and the shape of the answer. Exactly one of `url`, `html` and `text` is set."""

    task_id: str
    schema: Schema
    content_sha256: str  # identity of what is asked: source, base_url, schema, instructions
    url: str | None = None
    html: str | None = None
    text: str | None = None
    base_url: str | None = None
    instructions: str = ""
    priority: Priority = "normal"
    expires_at: datetime | None = None
    metadata: Json = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was fetched or submitted, decoded to text."""

    url: str | None  # after redirects; None for submitted html or text
    text: str
    is_html: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """What of a page a model gets to read."""

    text: str
    title: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)  # kind → characters or elements left out as not visible
    structured: tuple[Json, ...] = ()  # what the page says about itself for machines; see pipeline/structured
    outline: str = ""  # for each line, which part of the page it belongs to; see pipeline/outline


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model server counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Extraction:
    """Data that satisfies the task's schema, and what it cost."""

    data: Json
    model: str | None
    fields: Mapping[str, Json] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The one lasting row of a task; its public part is a line of `export`."""

    task_id: str
    status: Literal["done", "parked"]
    content_sha256: str
    submission: int
    finished_at: datetime
    url: str | None = None
    data: Json = None
    reason: ParkReason | None = None
    error: str | None = None
    model: str | None = None
    usage: Usage = Usage()
    calls: int = 0
    attempts: int = 1
    fields: Mapping[str, Json] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()
    cut: Json = None
    cached: bool = False
    timings: Mapping[str, float] = field(default_factory=dict)
    metadata: Json = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that came to nothing."""

    attempt: int  # counted from 1
    error: str
    at: datetime


Trail: TypeAlias = tuple[Failure, ...]
"""What the attempts before this one came to, oldest first; see `scraper.trail` for its bounds."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What is kept beside a parked row: for whoever looks into it, and for a replay."""

    body: bytes
    page: Page | None = None  # as it was fetched; a page that came with the task is in the body
    answer: str | None = None
    trail: Trail = ()  # of the attempts before the one that parked it


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store knows of a task id already."""

    status: Literal["done", "parked"]
    content_sha256: str
    submission: int


@dataclass(frozen=True, slots=True)
class Done:
    """The page became valid data, and the data is stored: acknowledge."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Worth another attempt, no sooner than `after_seconds` from now; costs the task an attempt."""

    after_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Not the task's turn or not its fault: again after `after_seconds`, attempts unchanged."""

    after_seconds: float
    reason: str
    submission: int | None = None  # its number from now on, if not the one it has


@dataclass(frozen=True, slots=True)
class Park:
    """No further attempt can help: keep it in the store with its reason, then acknowledge."""

    reason: ParkReason
    error: str


Outcome: TypeAlias = Done | Retry | Hold | Park
