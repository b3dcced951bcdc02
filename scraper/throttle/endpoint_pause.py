"""Two reasons to leave an endpoint alone that are not its health: it asked for a pause, or a setting is wrong.

A pause (Retry-After, or an owner's command) holds everybody until it is over. A wrong key, model or URL holds
everybody as well, but every 30 s one waiter becomes the checker: it asks /v1/models first and, if the answer fits the
settings, goes on with its own request. Only what comes of that lets the others go. Nobody else ever checks, and a
checker that goes away hands its place to the next waiter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from scraper.events import EndpointMisconfigured, EndpointPaused, Event
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.verdict import Effect, Verdict

CHECK_SECONDS = 30.0
UNTIL_RESUMED_SECONDS = 365 * 24 * 3600.0
"""How long a pause is that only its owner ends."""


class PauseMemory(NamedTuple):
    """All that is known of both; what a snapshot keeps."""

    until: int = 0
    reason: str = ""  # of the pause
    check_at: int | None = None  # misconfigured: only a checker goes, and not before this
    checker: int | None = None  # its lease
    wrong: str = ""  # which setting, and what to do about it


class EndpointPause:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self._memory = PauseMemory()

    def holds(self, now: int) -> bool:
        memory = self._memory
        if now < memory.until:
            return True
        return memory.check_at is not None and (memory.checker is not None or now < memory.check_at)

    @property
    def moments(self) -> tuple[int, int | None]:
        """When time alone changes what `holds` says."""
        return self._memory.until, self._memory.check_at

    @property
    def changes_at(self) -> int:
        """When it may let somebody go, as far as is known; in the past if it holds nobody."""
        return max(self._memory.until, self._memory.check_at or 0)

    def pause(self, seconds: float, now: int, *, reason: str) -> Event | None:
        """Hold everybody for `seconds` from now; a longer pause is not shortened."""
        before, until = self._memory.until, now + ns(seconds)
        if until >= before:
            self._memory = self._memory._replace(until=until, reason=reason)
        if now < before and until <= before + SECOND:
            return None  # as good as said already
        return EndpointPaused(None if seconds >= UNTIL_RESUMED_SECONDS else round(seconds, 3), reason)

    def resume(self, now: int) -> None:
        self._memory = self._memory._replace(until=min(self._memory.until, now))

    def taken_by(self, lease: int) -> bool:
        """Somebody is let go; true if it is the checker."""
        if self._memory.check_at is None:
            return False
        self._memory = self._memory._replace(checker=lease)
        return True

    def judge(self, verdict: Verdict, lease: int, now: int) -> Event | None:
        """What an attempt's end says about the settings."""
        memory, ending, wrong = self._memory, verdict.ending, verdict.misconfiguration
        checked, check_at, event = lease == memory.checker, memory.check_at, None
        if wrong is None and check_at is None and not checked:
            return None
        if wrong is not None:
            if checked or check_at is None:
                check_at = now + ns(CHECK_SECONDS)
                memory = memory._replace(wrong=f"{wrong.setting}: {wrong.advice}")
                event = EndpointMisconfigured(wrong.status, wrong.setting, wrong.advice, CHECK_SECONDS)
        elif ending.effect is Effect.SUCCESS:
            check_at = None
        elif checked and ending.effect is not Effect.NONE:
            # Sent: key, model and path were right, whatever else was wrong. Not sent: nobody was there to be asked.
            check_at = None if ending.was_sent else now + ns(CHECK_SECONDS)
        self._memory = memory._replace(check_at=check_at, checker=None if checked else memory.checker)
        return event

    def snapshot(self) -> PauseMemory:
        return self._memory

    def restore(self, snapshot: Iterable[Any]) -> None:
        """From `snapshot`, also as the list that JSON makes of it."""
        self._memory = PauseMemory(*snapshot)
