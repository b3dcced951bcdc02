"""Events as log lines on stderr: JSON lines in a pipe, something for the eye on a terminal."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from typing import IO, Any, Literal

import structlog

from scraper.credentials import without_credentials
from scraper.events import Event, Level, LibraryLog, LogLinesDropped, Observe, current_task
from scraper.observability.patient_stream import PatientStream

_LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_LIBRARY_MESSAGE = 300


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
    logger = structlog.wrap_logger(
        structlog.WriteLogger(patient),  # type: ignore[arg-type]  # needs only write and flush
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
            if pretty
            else structlog.processors.JSONRenderer(_line),
        ],
        wrapper_class=structlog.BoundLogger,
    ).bind(pid=os.getpid())
    threshold = _LEVELS[level]

    def observe(event: Event) -> None:
        if _LEVELS[event.level] < threshold:
            return
        fields = _fields(event)
        task_id = current_task.get()
        if task_id and "task_id" not in fields:
            fields["task_id"] = task_id
        logger.msg(event.name, level=event.level, **fields)

    _take_library_warnings(observe)
    return observe


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)  # json.dumps would make one for every line


def _line(fields: dict[str, Any], **_: object) -> str:
    return _ENCODER.encode(fields)


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _field_names(type(event))}


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
