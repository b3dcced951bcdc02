"""Where a task stands in the store: how it ended before, and its place among the parked.

One id has one row, and done is never replaced by parked: what fails while an older result of its id is done is parked
beside that, under a name made of its body. So a task that comes again looks for its own end in both places.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from scraper.errors import Permanent
from scraper.events import Observe
from scraper.models import Done, Hold, Outcome, Page, Park, ParkReason, Standing, Task
from scraper.patience import until_available
from scraper.ports import Delivery, Message, Store
from scraper.rows import body_id, parked_row
from scraper.settle import seen_before
from scraper.trace import Trace

T = TypeVar("T")


class Shelf:
    """Waits wherever the store is away."""

    def __init__(self, store: Store, *, decode: Callable[[bytes], Task], observe: Observe) -> None:
        self._store = store
        self._decode = decode
        self._observe = observe

    async def end_of(self, task: Task, delivery: Delivery, *, dead_letter: bool = False) -> Outcome | None:
        """What to do instead of running it; None: run it. Raises Permanent for another task under a done id."""
        message, content = delivery.message, task.content_sha256
        standing = await self._find(task.task_id)
        seen = seen_before(
            standing,
            content_sha256=content,
            submission=message.submission,
            unnumbered=not dead_letter and _is_unnumbered(delivery),
        )
        if standing is None:
            return None
        if seen == "anew":
            return Hold(0, "parked before: a new submission of it", submission=standing.submission + 1)
        if seen == "stored":
            return Done() if standing.status == "done" else await self._parked_as(task.task_id)
        if standing.status == "done":
            if (end := await self._own_end(body_id(message.body), content, delivery)) is not None:
                return end
            if seen == "duplicate":
                raise Permanent(ParkReason.DUPLICATE_ID, f"task_id {task.task_id!r} is done with other content")
        return None

    async def park(self, task: Task, message: Message, park: Park, trace: Trace) -> str:
        """Under the id it came with; where that one is done, beside it. Returns the id of the row."""
        return await self._park(task, task.task_id, message, park, trace)

    async def park_unread(self, delivery: Delivery, park: Park, trace: Trace) -> tuple[str, Outcome]:
        """What is no task, or must not be read, under the id it came with if any; or how it was parked before."""
        message = delivery.message
        content = sha256(message.body).hexdigest()
        for row_id in filter(None, (message.task_id, body_id(message.body))):
            if (end := await self._own_end(row_id, content, delivery)) is not None:
                return row_id, end
        return await self._park(None, message.task_id, message, park, trace), park

    async def kept_page(self, task: Task) -> Page | None:
        """The page that the task left behind when it was parked, if it is of the same address still."""
        kept = await self._with_store(lambda: self._store.remains(task.task_id))
        if kept is None or kept.page is None:
            return None
        with suppress(Permanent):
            if self._decode(kept.body).url == task.url:
                return kept.page
        return None

    async def _park(self, task: Task | None, own_id: str, message: Message, park: Park, trace: Trace) -> str:
        trace.enter("store")
        row_id = own_id
        for _ in range(2):  # another submission of it may get done between the look and the save
            standing = await self._find(own_id) if own_id else None
            taken = not own_id or (standing is not None and standing.status == "done")
            row_id = body_id(message.body) if taken else own_id
            result, remains = parked_row(row_id, task, message, park, trace, finished_at=datetime.now(UTC))
            if remains.page is None and message.submission:
                # it ended before its page was read once more: the one it left behind is still the page to read
                page = await self.kept_page(task) if task else await self._page_of_unread(standing, message)
                remains = replace(remains, page=page)
            if await self._with_store(lambda: self._store.save(result, remains, settled_id=own_id)):  # noqa: B023 awaited here
                break
        return row_id

    async def _own_end(self, row_id: str, content: str, delivery: Delivery) -> Outcome | None:
        """How this very submission was parked there, if it was."""
        if _is_unnumbered(delivery):
            return None
        standing = await self._find(row_id)
        own = ("parked", content, delivery.message.submission)
        if standing is None or (standing.status, standing.content_sha256, standing.submission) != own:
            return None
        return await self._parked_as(row_id)

    async def _parked_as(self, row_id: str) -> Outcome:
        result = await self._with_store(lambda: self._store.result(row_id))
        if result is None or result.reason is None:  # done in this very moment, or dropped by its owner
            return Done()
        return Park(result.reason, result.error or "")

    async def _page_of_unread(self, standing: Standing | None, message: Message) -> Page | None:
        """Told by the bodies and the numbers alone: a replay has one more than the row that it came of."""
        kept = await self._with_store(lambda: self._store.remains(message.task_id))
        if kept is None or standing is None:
            return None
        lent = standing.status == "done" or standing.submission + 1 == message.submission
        return kept.page if kept.body == message.body or (message.stored_page and lent) else None

    async def _find(self, task_id: str) -> Standing | None:
        return await self._with_store(lambda: self._store.find(task_id))

    async def _with_store(self, operation: Callable[[], Awaitable[T]]) -> T:
        return await until_available("store", operation, observe=self._observe)


def _is_unnumbered(delivery: Delivery) -> bool:
    """Whether a stranger's program may just have published it, to have it run.

    Whatever the service publishes bears its id, and a parked task that is submitted again a number. Two cannot be told
    apart, each after a worker died within milliseconds: a stranger's new message that came back before anybody had
    looked at it is taken for one that had ended, and stays parked; the copy of a held one, whose original came back
    and was parked meanwhile, is taken for a new one, and runs once more.
    """
    message = delivery.message
    return not (message.task_id or message.submission or message.attempts or delivery.returns)
