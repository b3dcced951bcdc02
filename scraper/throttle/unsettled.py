"""Verdicts a client has given, to be told again to the next coordinator: this one may not have written them down."""

from __future__ import annotations

from collections.abc import Iterator

from scraper.throttle.protocol import Finish


class Unsettled:
    """In the order of saying. A coordinator says of how many that it heard on this connection it keeps the memory."""

    def __init__(self) -> None:
        self._said: dict[int, Finish] = {}  # by lease
        self._settled = 0  # of those said on the present connection

    def add(self, finish: Finish) -> Finish:
        self._said[finish.lease] = finish
        return finish

    def again(self) -> Iterator[Finish]:
        """All of them, for a new connection, which counts from the beginning."""
        self._settled = 0
        yield from self._said.values()

    def settle(self, count: int) -> None:
        """The first `count` said on this connection are written down."""
        while self._settled < count and self._said:
            self._settled += 1
            del self._said[next(iter(self._said))]
