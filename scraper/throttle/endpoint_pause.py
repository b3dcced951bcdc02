"""Two reasons to leave an endpoint alone that are not its health: it asked for a pause, or a setting is wrong.

A pause (Retry-After, or an owner's command) holds everybody until it is over. A wrong key, model or URL holds
everybody as well, but every 30 s one waiter becomes the checker: it asks /v1/models first and, if the answer fits the
settings, goes on with its own request. Only what comes of that lets the others go. Nobody else ever checks, and a
checker that goes away hands its place to the next waiter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scraper.events import EndpointMisconfigured, EndpointPaused, Event
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.verdict import Effect, Verdict

CHECK_SECONDS = 30.0
UNTIL_RESUMED_SECONDS = 365 * 24 * 3600.0
"""How long a pause is that only its owner ends."""


@dataclass(slots=True)
class _Memory:
    until: int = 0
    reason: str = ""  # of the pause
    check_at: int | None = None  # misconfigured: only a checker goes, and not before this
    checker: int | None = None  # its lease
    wrong: str = ""  # which setting, and what to do about it


class EndpointPause:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self._memory = _Memory()

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
        self._memory.until = max(before, until)
        if until >= before:
            self._memory.reason = reason
        if now < before and until <= before + SECOND:
            return None  # as good as said already
        return EndpointPaused(None if seconds >= UNTIL_RESUMED_SECONDS else round(seconds, 3), reason)

    def resume(self, now: int) -> None:
        self._memory.until = min(self._memory.until, now)

    def taken_by(self, lease: int) -> bool:
        """Somebody is let go; true if it is the checker."""
        if self._memory.check_at is None:
            return False
        self._memory.checker = lease
        return True

    def judge(self, verdict: Verdict, lease: int, now: int) -> Event | None:
        """What an attempt's end says about the settings."""
        memory, ending, wrong = self._memory, verdict.ending, verdict.misconfiguration
        checked = lease == memory.checker
        if checked:
            memory.checker = None
        if wrong is not None:
            if not checked and memory.check_at is not None:
                return None
            memory.check_at, memory.wrong = now + ns(CHECK_SECONDS), f"{wrong.setting}: {wrong.advice}"
            return EndpointMisconfigured(wrong.status, wrong.setting, wrong.advice, CHECK_SECONDS)
        if ending.effect is Effect.SUCCESS:
            memory.check_at = None
        elif checked and ending.effect is not Effect.NONE:
            # Sent: key, model and path were right, whatever else was wrong. Not sent: nobody was there to be asked.
            memory.check_at = None if ending.was_sent else now + ns(CHECK_SECONDS)
        return None

    def snapshot(self) -> dict[str, Any]:
        return {name: getattr(self._memory, name) for name in self._memory.__slots__}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._memory = _Memory(**snapshot)
