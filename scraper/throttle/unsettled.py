"""Verdicts a client has given, to be told again to the next coordinator: this one may not have written them down."""

from __future__ import annotations

from collections.abc import Iterator

from scraper.throttle.protocol import Finish, Holds


class Unsettled:
    """In the order of saying. A coordinator says of how many that it heard on this connection it keeps the memory."""

    def __init__(self) -> None:
        self._said: dict[int, tuple[Finish, Holds | None]] = {}  # by lease
        self._settled = 0  # of those said on the present connection

    def add(self, finish: Finish, *, held: Holds | None = None) -> Finish:
        """`held`: what its lease was, where that had started later than it was granted."""
        self._said[finish.lease] = finish, held
        return finish

    def again(self) -> Iterator[Holds | Finish]:
        """All of them, for a new connection, which counts from the beginning; a late start goes before its end."""
        self._settled = 0
        for finish, held in self._said.values():
            if held is not None:
                yield held
            yield finish

    def settle(self, count: int) -> None:
        """The first `count` said on this connection are written down."""
        while self._settled < count and self._said:
            self._settled += 1
            del self._said[next(iter(self._said))]
