"""From a queue body to a Task: the border where strangers' JSON is checked. After it, values are trusted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scraper.errors import Permanent
from scraper.json_text import NotStrict, read_strict
from scraper.models import Json, ParkReason, Priority, Schema, Task

MAX_ID_CHARS: Final = 200
MAX_URL_CHARS: Final = 8192  # what the longest-suffering servers accept
MAX_INSTRUCTIONS_CHARS: Final = 32_768
MAX_FIELDS: Final = 50  # a task knows eleven; telling what is wrong with a million takes seconds
MAX_NAME_CHARS: Final = 60  # of an unknown field, in an error
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")  # which schemes may be fetched is the fetcher's to say


def decode(body: bytes, *, named_schema: Callable[[str], Schema], max_bytes: int) -> Task:
    """The task that `body` asks for.

    Raises Permanent with `too_large`, `bad_task` or `bad_schema` and one line that names the field and never quotes
    the page. A schema given by name is looked up with `named_schema`; it is compiled where it is first used.
    """
    if len(body) > max_bytes:
        raise Permanent(ParkReason.TOO_LARGE, f"the task has {len(body)} bytes; TASK_MAX_BYTES allows {max_bytes}")
    fields = _checked(_json(body))
    source, text = _source(fields)
    if fields.base_url is not None and source != "html":
        raise _bad("base_url: only beside html")
    schema = fields.schema_ if isinstance(fields.schema_, dict) else named_schema(fields.schema_)
    digest = _digest(source, text, fields.base_url or "", _canonical(schema), fields.instructions)
    return Task(
        task_id=digest[:32] if fields.task_id is None else _task_id(fields.task_id),
        schema=schema,
        content_sha256=digest,
        url=_url("url", fields.url),
        html=fields.html,
        text=fields.text,
        base_url=_url("base_url", fields.base_url),
        instructions=fields.instructions,
        priority=fields.priority,
        expires_at=_moment(fields.expires_at),
        metadata=fields.metadata,
    )


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_: dict[str, Any] | str = Field(alias="schema")
    task_id: str | None = None
    url: str | None = None
    html: str | None = None
    text: str | None = None
    base_url: str | None = None
    instructions: str = Field("", max_length=MAX_INSTRUCTIONS_CHARS)  # a bounded string may have no lone surrogate
    priority: Priority = "normal"
    expires_at: str | None = None
    metadata: Json = None


def _json(body: bytes) -> Json:
    """Strict JSON: pydantic's own parser silently drops one of two `url`s."""
    try:
        return read_strict(body.removeprefix(_UTF8_MARK))
    except UnicodeDecodeError as error:
        raise _bad(f"the body is not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _bad(f"the body is not JSON: {error.msg.removesuffix(' at')} at {where}") from error
    except NotStrict as error:
        what = error if error.key is None else f"the key {error.key[:MAX_NAME_CHARS]!r} twice in one object"
        raise _bad(f"the body has {what}") from error
    except RecursionError as error:
        raise _bad("the body is nested too deeply") from error
    except ValueError as error:
        raise _bad("the body has a number with too many digits") from error


def _checked(value: Json) -> _Fields:
    if not isinstance(value, dict):
        raise _bad(f"a task is a JSON object, this is {type(value).__name__}")
    if len(value) > MAX_FIELDS:
        raise _bad(f"a task has at most {MAX_FIELDS} fields, this has {len(value)}")
    if (odd := next((name for name in value if not name.isprintable()), None)) is not None:
        raise _bad(f"unknown field {odd[:MAX_NAME_CHARS]!r}")  # half a surrogate pair is no text even to pydantic
    try:
        return _Fields.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        told = dict.fromkeys(_told(str(each["loc"][0]), each["type"], each["msg"]) for each in problems)
        raise _bad("; ".join(list(told)[:3])) from None  # the cause would quote the input


def _told(field: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown field {field[:MAX_NAME_CHARS]!r}"
    if field == "schema":
        return "schema: missing" if kind == "missing" else "schema: a JSON Schema object or the name of one"
    return f"{field}: {'missing' if kind == 'missing' else message.removeprefix('Input ')}"


def _source(fields: _Fields) -> tuple[str, str]:
    given = [(name, value) for name in ("url", "html", "text") if (value := getattr(fields, name)) is not None]
    if len(given) != 1:
        names = " and ".join(name for name, _ in given) or "none"
        raise _bad(f"exactly one of url, html and text is needed; given: {names}")
    name, value = given[0]
    if not value or value.isspace():
        raise _bad(f"{name}: is empty")
    return name, value


def _digest(*parts: str) -> str:
    """SHA-256 over the parts with their lengths, so that no two tasks run into one."""
    digest = hashlib.sha256()
    for part in parts:  # a page may have lone surrogates: programs cut emoji in two
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def _canonical(schema: Schema) -> str:
    try:
        return json.dumps(schema, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as error:
        raise Permanent(ParkReason.BAD_SCHEMA, "schema #: is nested too deeply") from error


def _task_id(task_id: str) -> str:
    if not 1 <= len(task_id) <= MAX_ID_CHARS:
        raise _bad(f"task_id: 1 to {MAX_ID_CHARS} characters, this has {len(task_id)}")
    if not task_id.isprintable():
        raise _bad("task_id: has control or invisible characters")
    return task_id


def _url(field: str, url: str | None) -> str | None:
    if url is None:
        return None
    url = url.strip()
    if len(url) > MAX_URL_CHARS:
        raise _bad(f"{field}: has {len(url)} characters; {MAX_URL_CHARS} are allowed")
    if not url.isprintable():
        raise _bad(f"{field}: has control or invisible characters")
    if field == "url" and not _ADDRESS.fullmatch(url):
        whole = "without quotation marks" if url[:1] in {'"', "'", "<"} else "whole"
        raise _bad(f"url: not an address; give it {whole}, as in https://shop.example/page")
    return url


def _moment(stamp: str | None) -> datetime | None:
    if stamp is None:
        return None
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError as error:
        raise _bad("expires_at: not a time such as 2030-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        raise _bad("expires_at: without a time zone; add Z or an offset such as +02:00")
    return moment


def _bad(what: str) -> Permanent:
    return Permanent(ParkReason.BAD_TASK, what)
