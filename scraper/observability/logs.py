"""Events as log lines on stderr: JSON lines in a pipe, something for the eye on a terminal."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, Literal, TypeAlias

from scraper.credentials import without_credentials
from scraper.events import Event, Level, LibraryLog, LogLinesDropped, Observe, current_task
from scraper.lean_imports import missing
from scraper.observability.patient_stream import PatientStream

_LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_LIBRARY_MESSAGE = 300
_Fields: TypeAlias = dict[str, Any]


def log_events(
    *, level: Level = "info", style: Literal["auto", "json", "pretty"] = "auto", stream: IO[str] | None = None
) -> Observe:
    """An observer that writes a line for each event of at least `level`, and takes the libraries' warnings along.

    To stderr, unless another `stream` is given.
    """
    stream = stream or sys.stderr
    pretty = style == "pretty" or (style == "auto" and stream.isatty())
    colors = stream.isatty() and not os.environ.get("NO_COLOR")
    patient = PatientStream(stream, dropped=lambda count: observe(LogLinesDropped(count)))
    render = _for_people(colors=colors) if pretty else _as_json
    pid = os.getpid()
    threshold = _LEVELS[level]

    def observe(event: Event) -> None:
        if _LEVELS[event.level] < threshold:
            return
        line: _Fields = {"pid": pid, "level": event.level}
        for name in _field_names(type(event)):
            line[name] = getattr(event, name)
        task_id = current_task.get()
        if task_id and "task_id" not in line:
            line["task_id"] = task_id
        line["event"] = event.name
        line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        patient.write(render(line) + "\n")
        patient.flush()

    _take_library_warnings(observe)
    return observe


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)  # json.dumps would make one for every line


def _as_json(line: _Fields) -> str:
    return _ENCODER.encode(line)


def _for_people(*, colors: bool) -> Callable[[_Fields], str]:
    with missing("rich"):  # structlog would bring it along, for tracebacks that no line has
        import structlog  # noqa: PLC0415 a worker in a pipe does without: 15 ms and a megabyte

    renderer = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    return lambda line: renderer(None, "", line)


def _field_names(kind: type[Event]) -> tuple[str, ...]:
    if kind not in _FIELD_NAMES:
        _FIELD_NAMES[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return _FIELD_NAMES[kind]


_FIELD_NAMES: dict[type[Event], tuple[str, ...]] = {}


def _take_library_warnings(observe: Observe) -> None:
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    root.handlers[:] = [_LibraryHandler(observe)]


class _LibraryHandler(logging.Handler):
    def __init__(self, observe: Observe) -> None:
        super().__init__(logging.WARNING)
        self._observe = observe

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the message: a library's own slip
            text = str(record.msg)
        message = without_credentials(text.strip().partition("\n")[0])[:_LONGEST_LIBRARY_MESSAGE]
        if record.exc_info and record.exc_info[0]:
            message = f"{message} ({record.exc_info[0].__name__})"
        self._observe(LibraryLog(record.name, message))
