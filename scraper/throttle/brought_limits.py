"""Which limits hold where several processes share an endpoint: the strictest they bring, or what an operator set."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from scraper.events import ThrottleLimitsDiffer
from scraper.throttle.member import Member
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import BadLine, Brings, Command

DIFFER_SECONDS = 2.0
"""How long members may bring different limits before it is said: those of one service change theirs one by one."""


@dataclass(frozen=True, slots=True)
class Override:
    """Limits set by an operator, until they are reset or everybody has left."""

    max_concurrent: int | None = None
    requests_per_minute: float | None = None

    def changed(self, command: Command) -> Override:
        limit = self.max_concurrent if command.max_concurrent is None else command.max_concurrent
        rate = self.requests_per_minute if command.requests_per_minute is None else command.requests_per_minute
        if (limit is not None and limit < 1) or (rate is not None and rate <= 0):
            raise BadLine("limits that no settings allow")
        return Override(limit, rate)

    def plain(self) -> dict[str, Any]:
        return {"max_concurrent": self.max_concurrent, "requests_per_minute": self.requests_per_minute}


class BroughtLimits:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self.override = Override()
        self.differ_at: int | None = None  # when it is to be said that they differ, if they still do
        self._brought_last = ""

    def in_force(self, members: Collection[Member]) -> Brings | None:
        """None where nobody brings any."""
        brought = [member.brings for member in members if member.brings is not None]
        if not brought:
            return None
        return Brings(
            self.override.max_concurrent or min(each.max_concurrent for each in brought),
            self.override.requests_per_minute or min(each.requests_per_minute for each in brought),
            threshold=min(each.threshold for each in brought),
            timeout_seconds=max(each.timeout_seconds for each in brought),
        )

    def bring(self, member: Member, brings: Brings, members: Collection[Member], now: int) -> None:
        """Raises BadLine for limits that no settings allow."""
        if min(brings) <= 0 or brings.max_concurrent < 1:
            raise BadLine("limits that no settings allow")
        member.brings = brings
        if _other_than(member, members) is not None:
            self._brought_last, self.differ_at = member.token, now + ns(DIFFER_SECONDS)

    def differences(self, members: Collection[Member], now: int) -> ThrottleLimitsDiffer | None:
        """What is to be said of them now."""
        if self.differ_at is None or now < self.differ_at:
            return None
        self.differ_at = None
        member = next((each for each in members if each.token == self._brought_last), None)
        other = None if member is None else _other_than(member, members)
        in_force = self.in_force(members)
        if member is None or member.brings is None or other is None or other.brings is None or in_force is None:
            return None
        return ThrottleLimitsDiffer(
            pid=member.process.pid,
            limits=_in_words(member.brings),
            other_pid=other.process.pid,
            other_limits=_in_words(other.brings),
            in_force=_in_words(in_force),
        )


def _other_than(member: Member, members: Collection[Member]) -> Member | None:
    return next((each for each in members if each.brings not in {None, member.brings}), None)


def _in_words(brings: Brings) -> str:
    return f"{brings.max_concurrent} in flight, {brings.requests_per_minute:g}/min"
