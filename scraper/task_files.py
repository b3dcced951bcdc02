"""What `submit` is given, read into messages: lists of URLs, tasks one JSON object a line, and saved pages.

A line that begins with `{` is a task, any other a URL; blank lines and lines that begin with `#` are passed over. A
file whose name ends like a page's, and every such file in a folder and the folders below it, is a task with the page
inside and its name in `metadata`. Lines are read one at a time and at most so far as the largest task reaches, so a
file may be of any length, and so may a line.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, TypeAlias

from scraper.errors import Misconfigured, Permanent
from scraper.json_text import write_json
from scraper.models import Json, Priority, Schema, Task
from scraper.ports import Message

STDIN = "-"
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")
TABLE_SUFFIXES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet")
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SKIPPED_AT_ONCE = 1 << 16
NO_SCHEMA = "no schema: name one with --schema, or give the task its own"
NULL_SCHEMA = "schema: null; leave it out to get the one of --schema"
_LIST_IN_ONE_COLUMN = re.compile(rb"(?:\xef\xbb\xbf)?https?://[^\s,;\"]+\s*", re.IGNORECASE)
_LONGEST_ADDRESS = 8192
_NAME_OF_A_SCHEMA = re.compile(r"[a-z][a-z_]*")

Decode: TypeAlias = Callable[[bytes], Task]
"""The task that a body asks for; raises Permanent with a reason fit for the person who wrote the line."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Input that is no task, and why."""

    source: str
    line: int | None  # counted from 1; None for a whole file
    why: str

    def __str__(self) -> str:
        return f"{self.source}: {self.why}" if self.line is None else f"{self.source} line {self.line}: {self.why}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One task found in the input, or what stands there instead; `size` is how many bytes of input it took."""

    content: Message | Refused | None  # None: a blank line or a comment
    size: int
    content_sha256: str = ""  # of what a task asks for
    source: str = ""
    line: int | None = None

    @property
    def place(self) -> str:
        return self.source if self.line is None else f"{self.source} line {self.line}"

    def refused(self, why: str) -> Refused:
        """This task, after a look at others."""
        return Refused(self.source, self.line, why)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What every task gets that does not say it itself: the options of the command line."""

    schema: Schema | None = None
    instructions: str | None = None
    priority: Priority | None = None
    expires_at: datetime | None = None

    def fragments(self) -> dict[str, bytes]:
        """Each as JSON, written once for a million tasks."""
        expires_at = None if self.expires_at is None else self.expires_at.isoformat()
        values = {
            "schema": None if self.schema is None else dict(self.schema),
            "instructions": self.instructions,
            "priority": self.priority,
            "expires_at": expires_at,
        }
        return {key: write_json(value).encode() for key, value in values.items() if value is not None}


def check_sources(sources: Sequence[str]) -> None:
    """Raises Misconfigured for a source that is not there, before anything is submitted."""
    for source in sources:
        if source == STDIN:
            if sys.stdin is None:
                raise Misconfigured("- (standard input) is closed")
            continue
        path = Path(source)
        if not path.exists():
            raise Misconfigured(f"{source}: no such file or folder{_what_was_meant(source)}")
        if not os.access(path, os.R_OK):
            raise Misconfigured(f"{source}: may not be read by this user")
        if path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir() and not _begins_with_an_address(path):
            raise Misconfigured(
                f"{source}: tables are not read; give a list with one URL a line and nothing else, or a .jsonl file "
                "with one task a line"
            )
        unread: list[OSError] = []
        if path.is_dir() and not any(True for _ in _pages_below(path, unread=unread.append)) and not unread:
            raise Misconfigured(f"{source}: no page in this folder (files ending in {', '.join(PAGE_SUFFIXES)})")
    if sources.count(STDIN) > 1:
        raise Misconfigured("- (standard input) is named twice; it can be read once")


def _what_was_meant(source: str) -> str:
    """A guess for what is no file."""
    if _NAME_OF_A_SCHEMA.fullmatch(source):
        return f" (for a schema of this name: --schema {source})"
    if source.lower().startswith(("http://", "https://")):
        return "; addresses stand in a file, one a line, or come on standard input: echo URL | scraper submit … -"
    return ""


def _begins_with_an_address(path: Path) -> bool:
    """Whether what is called a table is a list of URLs: its first line says."""
    try:
        with path.open("rb") as file:
            return path.is_file() and _LIST_IN_ONE_COLUMN.fullmatch(file.readline(_LONGEST_ADDRESS)) is not None
    except OSError:
        return False


def total_bytes(sources: Iterable[str]) -> int | None:
    """How much there is to read, for a progress bar; None where that cannot be known."""
    total = 0
    for source in sources:
        path = Path(source)
        if source == STDIN or not (path.is_file() or path.is_dir()):
            return None
        files = _pages_below(path) if path.is_dir() else [path]
        for file in files:
            with suppress(OSError):  # a link that leads nowhere; reading it says so with its name
                total += file.stat().st_size
    return total


class TaskReader:
    """Messages from files. Each was decoded once, so whatever comes out here a worker understands.

    `named_schema` gives the schema that a task names, or raises Permanent; it is inlined, so that a worker needs no
    schema of that name. `check_schema` raises Permanent for one that no worker would take; it is asked about the
    schemas of lines, not about the default one. `check_url` raises Permanent for an address that no worker would fetch.
    `decode_page` turns a page's bytes into text; without it pages must
    be UTF-8.
    """

    def __init__(
        self,
        *,
        decode: Decode,
        named_schema: Callable[[str], Schema],
        check_schema: Callable[[Schema], object] = lambda _: None,
        check_url: Callable[[str], object] = lambda _: None,
        defaults: Defaults = Defaults(),
        max_task_bytes: int = 8 << 20,
        decode_page: Callable[[bytes], str] | None = None,
        stdin: BinaryIO | None = None,
    ) -> None:
        self._decode = decode
        self._decode_page = decode_page or (lambda body: body.decode("utf-8-sig"))
        self._stdin = stdin
        self._max_task_bytes = max_task_bytes
        self._named_schema = named_schema
        self._check_schema = check_schema
        self._check_url = check_url
        self._missing = defaults.fragments()
        self._named: dict[str, bytes] = {}

    def read(self, sources: Iterable[str]) -> Iterator[Entry]:
        """Every task in `sources`, in their order."""
        for source in sources:
            path = Path(source)
            if source == STDIN:
                with _apart(self._stdin or sys.stdin.buffer) as stdin:
                    yield from self._lines(stdin, "stdin")
            elif path.is_dir():
                yield from self._folder(path)
            elif path.suffix.lower() in PAGE_SUFFIXES:
                yield self._page(path, name=path.name)
            else:
                yield from self._file(path)

    def _folder(self, folder: Path) -> Iterator[Entry]:
        unread: list[OSError] = []
        for file in _pages_below(folder, unread=unread.append):
            yield self._page(file, name=file.relative_to(folder).as_posix())
        for error in unread:
            yield Entry(Refused(str(error.filename or folder), None, _said(error)), 0)

    def _file(self, path: Path) -> Iterator[Entry]:
        try:
            file = path.open("rb")
        except OSError as error:
            yield Entry(Refused(str(path), None, _said(error)), 0)
            return
        with file:
            yield from self._lines(file, str(path))

    def _lines(self, file: BinaryIO, source: str) -> Iterator[Entry]:
        number = 0
        try:
            for line, size in _bounded_lines(file, self._max_task_bytes):
                number += 1
                yield self._entry(line, size, source=source, number=number)
        except OSError as error:  # of the reading; what comes behind this place stays unread
            yield Entry(Refused(source, number + 1, _said(error)), 0)

    def _entry(self, line: bytes | None, size: int, *, source: str, number: int) -> Entry:
        try:
            body = self._line(line, first=number == 1)
            return Entry(None, size) if body is None else self._task(body, size, source=source, line=number)
        except (ValueError, Permanent) as error:
            return Entry(Refused(source, number, str(error)), size)

    def _line(self, line: bytes | None, *, first: bool) -> bytes | None:
        if line is None:
            raise ValueError(f"longer than the largest task ({self._max_task_bytes} bytes, TASK_MAX_BYTES)")
        if first:
            if line.startswith(UTF16_MARKS):
                raise ValueError("UTF-16; save the file as UTF-8")
            line = line.removeprefix(UTF8_MARK)
        line = line.strip()
        if not line or line.startswith(b"#"):
            return None
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
        return self._own_body(text, line) if text[0] in "{[" else self._body({"url": text})

    def _page(self, path: Path, *, name: str) -> Entry:
        size = 0
        try:
            found = path.stat()
            size = found.st_size
            html = self._decode_page(self._page_bytes(path, found))
            return self._task(self._body({"html": html, "metadata": {"file": name}}), size, source=str(path))
        except OSError as error:
            return Entry(Refused(str(path), None, _said(error)), size)
        except (ValueError, Permanent) as error:
            return Entry(Refused(str(path), None, str(error)), size)

    def _page_bytes(self, path: Path, found: os.stat_result) -> bytes:
        """All of a page that was `found`; never more than a task may have, which what is no file would go on giving."""
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("not a file: a page is read from nothing else")
        with path.open("rb") as file:
            page = file.read(self._max_task_bytes + 1)
        if max(len(page), found.st_size) > self._max_task_bytes:
            raise ValueError(f"larger than the largest task ({self._max_task_bytes} bytes, TASK_MAX_BYTES)")
        return page

    def _task(self, body: bytes, size: int, *, source: str, line: int | None = None) -> Entry:
        task = self._decode(body)
        if task.url is not None:
            self._check_url(task.url)
        message = Message(body, task_id=task.task_id, priority=task.priority)
        return Entry(message, size, task.content_sha256, source, line)

    def _body(self, task: Mapping[str, Json]) -> bytes:
        if "schema" not in self._missing:
            raise ValueError(NO_SCHEMA)
        return _completed(write_json(task).encode(), missing=self._missing)

    def _own_body(self, text: str, line: bytes) -> bytes:
        """A task's own line, untouched as far as it goes. Raises ValueError or Permanent."""
        task = _object(text)
        missing = {key: fragment for key, fragment in self._missing.items() if key not in task}
        match task.get("schema"):
            case str(name):
                self._decode(line)  # writing it anew would hide what is wrong with it, a key twice for example
                line = write_json({key: value for key, value in task.items() if key != "schema"}).encode()
                missing["schema"] = self._inlined(name)
            case dict(schema):
                self._check_schema(schema)
            case None if "schema" not in missing:
                raise ValueError(NULL_SCHEMA if "schema" in self._missing else NO_SCHEMA)
        return _completed(line, missing=missing)

    def _inlined(self, name: str) -> bytes:
        if name not in self._named:
            schema = self._named_schema(name)
            self._check_schema(schema)
            self._named[name] = write_json(dict(schema)).encode()
        return self._named[name]


def _object(text: str) -> dict[str, Json]:
    try:
        task = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("not a task: nested too deeply") from None
    if not isinstance(task, dict):
        raise ValueError("not a task: one JSON object a line is expected")  # noqa: TRY004 said to a person
    return task


def _completed(body: bytes, *, missing: Mapping[str, bytes]) -> bytes:
    """`body` with more keys at its end: what is the same in every task is not written again for each."""
    if not missing:
        return body
    parts = [b'"%s":%s' % (key.encode(), fragment) for key, fragment in missing.items()]
    inside = body[:-1].rstrip()
    return inside + (b"" if inside == b"{" else b",") + b",".join(parts) + b"}"


@contextmanager
def _apart(file: BinaryIO) -> Iterator[BinaryIO]:
    """The same file, buffered apart: Python aborts at its end when a thread still waits inside `sys.stdin`."""
    try:
        own = os.dup(file.fileno())
    except OSError:  # no file of the operating system
        yield file
        return
    with open(own, "rb") as apart:  # noqa: PTH123 a descriptor is no path
        yield apart


def _bounded_lines(file: BinaryIO, limit: int) -> Iterator[tuple[bytes | None, int]]:
    """Lines and their sizes; None for a line longer than `limit`, which is never held in memory."""
    while line := file.readline(limit + 2):  # + a line ending
        size = len(line)
        if len(line) <= limit + 1 or line.endswith(b"\n"):
            yield line, size
            continue
        while not line.endswith(b"\n") and (line := file.readline(SKIPPED_AT_ONCE)):
            size += len(line)
        yield None, size


def _pages_below(folder: Path, *, unread: Callable[[OSError], object] = lambda _: None) -> Iterator[Path]:
    """Pages in `folder` and below, by name; links to folders are not followed. `unread`: gets what cannot be read."""
    for where, folders, names in os.walk(folder, onerror=unread):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(PAGE_SUFFIXES):
                yield Path(where, name)


def _said(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
