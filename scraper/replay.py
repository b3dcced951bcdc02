"""Putting parked tasks into the queue again, as they are or with another prompt.

A replay is an ordinary message: the task's own body under its own id, no attempt spent, one submission newer than what
it was parked with. It asks for the stored page instead of carrying it, so it is as small as the task was, means the
same page, and fetches only where that page is not kept any more.

A batch is published, confirmed, and then marked as waiting. Broken off in between it is published once more by the
next replay, under the same submission: the workers recognise what has ended already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from scraper.errors import Permanent
from scraper.events import Observe, ignore
from scraper.json_text import read_strict, write_json
from scraper.models import Failure, Json, ParkReason, Priority, Remains, Result, Task
from scraper.patience import until_available
from scraper.ports import Broker, Message, Selection, Workbench
from scraper.trail import extended

CHANGEABLE = ("schema", "instructions", "priority", "expires_at")
"""What of a task a replay may set; anything else would make it another task."""


@dataclass(frozen=True, slots=True)
class ReplayCounts:
    """How far a replay has got."""

    replayed: int = 0
    refused: int = 0


async def replay(
    selection: Selection,
    *,
    workbench: Workbench,
    broker: Broker,
    decode: Callable[[bytes], Task],
    changes: Mapping[str, Json],
    fetch_again: bool = False,
    refused: Callable[[str, str], None],
    progress: Callable[[ReplayCounts], None] = lambda _: None,
    observe: Observe = ignore,
) -> ReplayCounts:
    """Replay every selected task with `changes` made to it; a value of None takes a field away.

    Tells `refused` the id and the reason of what cannot be changed so; that stays parked. While broker or store are
    away it waits, and tells `observe`.
    """
    counts = ReplayCounts()
    async for batch in workbench.handed_out(selection):
        messages: list[Message] = []
        waiting: list[tuple[str, int]] = []
        beside: list[tuple[str, int]] = []
        lent: list[tuple[str, str]] = []
        for result, remains in batch:
            try:
                message = replayed_message(result, remains, decode=decode, changes=changes, fetch_again=fetch_again)
                messages.append(message)
                (waiting if message.task_id == result.task_id else beside).append((result.task_id, result.submission))
                if message.task_id != result.task_id and message.stored_page:
                    lent.append((result.task_id, message.task_id))
            except Permanent as error:
                counts = replace(counts, refused=counts.refused + 1)
                refused(result.task_id, str(error))
        if lent:  # before anybody can look for it
            await until_available("store", lambda: workbench.lend_pages(lent), observe=observe)  # noqa: B023 awaited here
        if messages:
            await until_available("broker", lambda: broker.publish(messages), observe=observe)  # noqa: B023 awaited here
            await until_available("store", lambda: workbench.replayed(waiting), observe=observe)  # noqa: B023 awaited here
        if beside:  # it comes back if it fails again, and may be back by now
            await until_available("store", lambda: workbench.handed_on(beside), observe=observe)  # noqa: B023 awaited here
        counts = replace(counts, replayed=counts.replayed + len(messages))
        progress(counts)
    return counts


def replayed_message(
    result: Result, remains: Remains, *, decode: Callable[[bytes], Task], changes: Mapping[str, Json], fetch_again: bool
) -> Message:
    """The message that runs a parked task again. Raises Permanent where `changes` do not fit it."""
    task_id, body, priority = _body(result, remains.body, decode=decode, changes=changes)
    failure = Failure(result.attempts, result.error or "", result.finished_at)
    return Message(
        body,
        task_id=task_id,
        submission=result.submission + 1,
        priority=priority,
        stored_page=not fetch_again,
        trail=extended(remains.trail, failure),
    )


def _body(
    result: Result, body: bytes, *, decode: Callable[[bytes], Task], changes: Mapping[str, Json]
) -> tuple[str, bytes, Priority]:
    """The id to run under, and the body: untouched unless it must change to mean what it shall.

    That is the id of the row. A task that failed while an older result of it was done is parked beside that, and runs
    again under its own, to replace it; not so a duplicate, whose id belongs to another task.
    """
    try:
        task = decode(body)
    except Permanent:
        if not changes:
            return result.task_id, body, "normal"
        task_id = result.task_id
    else:
        task_id = result.task_id if result.reason is ParkReason.DUPLICATE_ID else task.task_id
        if not changes and task.task_id == task_id:
            return task_id, body, task.priority
    changed = _changed(body, {"task_id": task_id, **changes})
    return task_id, changed, decode(changed).priority


def _changed(body: bytes, changes: Mapping[str, Json]) -> bytes:
    try:
        fields = read_strict(body.removeprefix(b"\xef\xbb\xbf").decode())
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Permanent(ParkReason.BAD_TASK, "what was queued is no JSON object: nothing can be set in it")
    fields |= changes
    return write_json({name: each for name, each in fields.items() if name not in changes or each is not None}).encode()
