"""Whether more consumers take from a queue than this throttle knows of: the others' requests are not counted by it.

Every member says how many consumers of which queue its process runs, and now and then how many the broker counts there.
A queue is known by its namespace alone, so that two spellings of one broker are no alarm. Only what is still true some
time after it was first seen counts: a worker may be on its way in or out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scraper.events import ThrottleScopeExceeded
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import Takes

CONFIRM_SECONDS = 30.0
SAY_AGAIN_SECONDS = 600.0


class Scope:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self._takes: dict[str, Takes] = {}  # by member
        self._counted: dict[str, int] = {}  # by queue, what the broker said last
        self._since: dict[str, int] = {}
        self._said: dict[str, int] = {}

    def hear(self, token: str, takes: Takes, now: int) -> ThrottleScopeExceeded | None:
        """What a member takes, and perhaps what it was told by the broker."""
        self._takes[token] = takes
        queue, counted = takes.queue, takes.counted
        if counted is None:
            return None
        self._counted[queue] = counted
        known = self._known(queue)
        if counted <= known:
            self._since.pop(queue, None)
            return None
        since = self._since.setdefault(queue, now)
        said = self._said.get(queue)
        if now - since < ns(CONFIRM_SECONDS) or (said is not None and now - said < ns(SAY_AGAIN_SECONDS)):
            return None
        self._said[queue] = now
        return ThrottleScopeExceeded(queue, counted, known)

    def forget(self, token: str) -> None:
        """It has left, and what was counted with it says nothing any more."""
        takes = self._takes.pop(token, None)
        if takes is not None:
            self._counted.pop(takes.queue, None)

    def consumers_of(self, token: str) -> int:
        takes = self._takes.get(token)
        return 0 if takes is None else takes.consumers

    def plain(self) -> list[dict[str, Any]]:
        """For an operator's eyes."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for queue in sorted({takes.queue for takes in self._takes.values()}):
            yield {"queue": queue, "known": self._known(queue), "counted": self._counted.get(queue)}

    def _known(self, queue: str) -> int:
        return sum(takes.consumers for takes in self._takes.values() if takes.queue == queue)
