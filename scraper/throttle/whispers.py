"""What a member is told together with its next news, or a little later: a wake of its own costs more than it tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import Standing

WHISPER_SECONDS = 0.05
"""How much later than it is known something may be told that is worth no wake of its own."""


class Whispers:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Standing]] = {}  # by member
        self.due_at: int | None = None

    def add(self, token: str, standing: Standing, now: int) -> None:
        self._kept.setdefault(token, []).append(standing)
        if self.due_at is None:
            self.due_at = now + ns(WHISPER_SECONDS)

    def forget(self, token: str) -> None:
        self._kept.pop(token, None)

    def take(self, spoken_to: Iterable[str], now: int) -> Iterator[tuple[str, Standing]]:
        """Those for whom is `spoken_to` anyway; all of them once they are due."""
        if self.due_at is None:
            return
        for token in list(self._kept if now >= self.due_at else spoken_to):
            for standing in self._kept.pop(token, ()):
                yield token, standing
        if not self._kept:
            self.due_at = None
