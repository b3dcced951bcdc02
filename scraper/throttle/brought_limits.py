"""Which limits hold where several processes share an endpoint: the strictest they bring, or what an operator set."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from scraper.events import Event, ThrottleLimitsDiffer, ThrottleSettingsOverruled
from scraper.throttle.member import Member
from scraper.throttle.nanoseconds import ns, to_seconds
from scraper.throttle.pacer import SLOWEST_PER_MINUTE
from scraper.throttle.protocol import BadLine, Brings, Command

DIFFER_SECONDS = 2.0
"""How long members may bring different limits before it is said: those of one service change theirs one by one."""


class Override(NamedTuple):
    """Limits set by an operator, until they are reset or everybody has left."""

    max_concurrent: int | None = None
    requests_per_minute: float | None = None
    set_at: int | None = None

    def changed(self, command: Command, now: int) -> Override:
        limit = self.max_concurrent if command.max_concurrent is None else command.max_concurrent
        rate = self.requests_per_minute if command.requests_per_minute is None else command.requests_per_minute
        if (limit is not None and limit < 1) or (rate is not None and rate < SLOWEST_PER_MINUTE):
            raise BadLine("limits that no settings allow")
        return Override(limit, rate, now)

    def over(self, settings: Brings) -> Brings:
        """What holds instead of `settings`."""
        return settings._replace(
            max_concurrent=self.max_concurrent or settings.max_concurrent,
            requests_per_minute=self.requests_per_minute or settings.requests_per_minute,
        )


class BroughtLimits:
    """Pure; times are nanoseconds."""

    def __init__(self) -> None:
        self.override = Override()
        self.say_at: int | None = None  # when it is to be said what is not as somebody may think, if it still is so
        self._brought_last = ""
        self._overruled = False  # what the settings say has changed, to no effect

    def in_force(self, members: Collection[Member]) -> Brings | None:
        """None where nobody brings any."""
        settings = self.settings(members)
        return None if settings is None else self.override.over(settings)

    def settings(self, members: Collection[Member]) -> Brings | None:
        """The strictest that are brought, whatever an operator has set."""
        brought = [member.brings for member in members if member.brings is not None]
        if not brought:
            return None
        return Brings(
            max_concurrent=min(each.max_concurrent for each in brought),
            requests_per_minute=min(each.requests_per_minute for each in brought),
            threshold=min(each.threshold for each in brought),
            timeout_seconds=max(each.timeout_seconds for each in brought),
        )

    def bring(self, member: Member, brings: Brings, members: Collection[Member], now: int) -> None:
        """Raises BadLine for limits that no settings allow."""
        if min(brings) <= 0 or brings.requests_per_minute < SLOWEST_PER_MINUTE:
            raise BadLine("limits that no settings allow")
        before, member.brings = self.settings(members), brings
        after = self.settings(members)
        differs = _other_than(member, members) is not None
        overruled = before is not None and after is not None and before != after and self.override.over(after) != after
        if differs or overruled:
            self._brought_last, self.say_at = member.token, now + ns(DIFFER_SECONDS)
            self._overruled |= overruled

    def news(self, members: Collection[Member], now: int) -> Iterator[Event]:
        """What is to be said of them now."""
        if self.say_at is None or now < self.say_at:
            return
        self.say_at = None
        overruled, self._overruled = self._overruled and self._overruling(members, now), False
        for each in (self._differences(members), overruled):
            if each:
                yield each

    def _overruling(self, members: Collection[Member], now: int) -> ThrottleSettingsOverruled | None:
        settings, in_force = self.settings(members), self.in_force(members)
        if settings is None or in_force is None or settings == in_force:
            return None
        ago = 0.0 if self.override.set_at is None else to_seconds(now - self.override.set_at)
        return ThrottleSettingsOverruled(_in_words(settings), _in_words(in_force), round(ago, 1))

    def _differences(self, members: Collection[Member]) -> ThrottleLimitsDiffer | None:
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
