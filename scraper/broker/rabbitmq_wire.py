"""How a message of ours looks on the AMQP wire, and what of a foreign one is readable.

The body is the task, untouched. What the service knows beside it travels in headers: `x-task-id`, `x-attempts`,
`x-submission`, `x-stored-page`, `x-trail`, and W3C's `traceparent`.
Headers come from outside as much as the body does: whatever makes no sense counts as absent.
"""

from __future__ import annotations

import struct
from typing import TypeGuard
from uuid import uuid4

from aiormq import spec
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from scraper.ports import Message
from scraper.trace_context import as_traceparent
from scraper.trail import from_text, to_text

HIGH_PRIORITY = 9
NORMAL_PRIORITY_MAX = 4  # RabbitMQ's quorum queues know two classes: up to 4 and from 5
PERSISTENT = 2
LONGEST_TASK_ID = 200  # characters, as of a task's own
MOST_ATTEMPTS = 1_000_000  # beyond any limit; a database refuses to count past 64 bits
LAST_SUBMISSION = 1 << 62  # nanoseconds up to 2116; a later one would leave its replays no newer number


def properties_of(message: Message, *, high: bool) -> spec.Basic.Properties:
    """The properties of one publish. The `message_id` is fresh each time and never the task's.

    The same id twice in flight on one channel would get one confirmation for both.
    """
    headers: FieldTable = {}
    if message.task_id:
        headers["x-task-id"] = message.task_id
    if message.attempts:
        headers["x-attempts"] = message.attempts
    if message.submission:
        headers["x-submission"] = message.submission
    if message.stored_page:
        headers["x-stored-page"] = True
    if message.traceparent:
        headers["traceparent"] = message.traceparent
    if message.trail:
        headers["x-trail"] = to_text(message.trail)
    return spec.Basic.Properties(
        delivery_mode=PERSISTENT,
        headers=headers,
        message_id=uuid4().hex,
        priority=HIGH_PRIORITY if high else None,
    )


def message_of(raw: DeliveredMessage) -> Message:
    properties = raw.header.properties
    headers = properties.headers or {}
    task_id = headers.get("x-task-id")
    return Message(
        raw.body,
        task_id=task_id if _is_task_id(task_id) else "",
        attempts=min(_count(headers.get("x-attempts")), MOST_ATTEMPTS),
        submission=submission if (submission := _count(headers.get("x-submission"))) <= LAST_SUBMISSION else 0,
        priority="high" if (properties.priority or 0) > NORMAL_PRIORITY_MAX else "normal",
        stored_page=headers.get("x-stored-page") is True,
        trail=from_text(headers.get("x-trail")),
        traceparent=as_traceparent(headers.get("traceparent")),
        outlived=_has_outlived(headers.get("x-death")),
    )


def returns_of(raw: DeliveredMessage) -> int:
    """How often the broker has had this message back."""
    return _count((raw.header.properties.headers or {}).get("x-delivery-count"))


def _has_outlived(deaths: object) -> bool:
    """Whether it last left a queue of tasks because its `expiration` was over. In wait queues that is their purpose."""
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return isinstance(last, dict) and last.get("reason") == "expired" and str(last.get("queue")).endswith(".tasks")


def _is_task_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= LONGEST_TASK_ID and value.isprintable()


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def survive_unreadable_properties() -> None:
    """Make one message with unreadable properties cost its properties, not the connection.

    pamqp raises on a short string that is not UTF-8, a date beyond the year 9999 or an unknown type of field, all of
    which RabbitMQ passes on. aiormq answers by closing the connection: the message comes back and does it again, and
    takes every other delivery in hand along, up to their delivery limits. Neither library has a hook before that, so
    the decoder itself is wrapped; such a message then arrives with its body and no headers.
    """
    if getattr(ContentHeader.unmarshal, "survives", False):
        return
    decode = ContentHeader.unmarshal

    def unmarshal(self: ContentHeader, data: bytes) -> None:
        try:
            decode(self, data)
        except (ValueError, OverflowError, OSError, TypeError, LookupError, ArithmeticError, struct.error):
            self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:12])
            self.properties = spec.Basic.Properties()

    unmarshal.survives = True  # type: ignore[attr-defined]
    ContentHeader.unmarshal = unmarshal  # type: ignore[method-assign]
