"""Putting parked tasks into the queue again, as they are or with another prompt.

A replay is an ordinary message: the task's own body under its own id, no attempt spent, one submission newer than what
it was parked with. It asks for the stored page instead of carrying it, so it is as small as the task was, means the
same page, and fetches only where that page is not kept any more.

A batch is published, confirmed, and then marked as waiting. Broken off in between it is published once more by the
next replay, under the same submission: the workers recognise what has ended already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
        ready: list[tuple[Result, Message]] = []
        refusals: list[tuple[str, str]] = []
        for result, remains in batch:
            try:
                message = replayed_message(result, remains, decode=decode, changes=changes, fetch_again=fetch_again)
                ready.append((result, message))
            except Permanent as error:
                refusals.append((result.task_id, str(error)))
        late = await _late_for_their_page(ready, workbench=workbench, observe=observe)
        refusals += [(task_id, _PAGE_IS_LENT) for task_id in late]
        ready = [(result, message) for result, message in ready if result.task_id not in late]
        for refusal in refusals:
            refused(*refusal)
        await _publish(ready, workbench=workbench, broker=broker, observe=observe)
        counts = ReplayCounts(counts.replayed + len(ready), counts.refused + len(refusals))
        progress(counts)
    return counts


_PAGE_IS_LENT = "another replay of its id reads its own stored page now; try again when that has ended, or with --fetch"


async def _late_for_their_page(
    ready: Sequence[tuple[Result, Message]], *, workbench: Workbench, observe: Observe
) -> set[str]:
    """Lend those that run under a done id their pages, before anybody can look for them. Which rows came too late."""
    lent = [
        (result.task_id, message.task_id)
        for result, message in ready
        if message.stored_page and message.task_id != result.task_id
    ]
    return set(await until_available("store", lambda: workbench.lend_pages(lent), observe=observe)) if lent else set()


async def _publish(
    ready: Sequence[tuple[Result, Message]], *, workbench: Workbench, broker: Broker, observe: Observe
) -> None:
    """Confirmed, and only then marked; what was parked beside a done id leaves its row."""
    messages = [message for _, message in ready]
    rows = [(result.task_id, result.submission, message.task_id == result.task_id) for result, message in ready]
    if messages:
        waiting = [(task_id, submission) for task_id, submission, stays in rows if stays]
        await until_available("broker", lambda: broker.publish(messages), observe=observe)
        await until_available("store", lambda: workbench.replayed(waiting), observe=observe)
    if beside := [(task_id, submission) for task_id, submission, stays in rows if not stays]:
        # it comes back if it fails again, and may be back by now
        await until_available("store", lambda: workbench.handed_on(beside), observe=observe)


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
        fields = read_strict(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Permanent(ParkReason.BAD_TASK, "what was queued is no JSON object: nothing can be set in it")
    fields |= changes
    return write_json({name: each for name, each in fields.items() if name not in changes or each is not None}).encode()
