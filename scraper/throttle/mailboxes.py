"""What each member is to be told at the end of a turn, in one line: answers at once, and with them what can wait.

Where somebody stands in line is worth no wake of its own: it goes out with the member's next news, or a little later.
"""

from __future__ import annotations

from collections.abc import Mapping

from scraper.events import Blocker
from scraper.throttle.admission import Admission
from scraper.throttle.member import Member
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import Granted, Message, Refused, Standing, State

WHISPER_SECONDS = 0.05
"""How much later than it is known something may be told that is worth no wake of its own."""


class Mailboxes:
    """Pure; nothing is said to a member without a connection."""

    def __init__(self) -> None:
        self._news: dict[str, list[Message]] = {}
        self._whispers: dict[str, list[Standing]] = {}
        self._answered: set[str] = set()
        self._announce = False  # everybody is to be told the state
        self._held_by: Blocker | None = None  # circuit or pause, when they were told last
        self.due_at: int | None = None  # when something is to be told even if nothing happens

    def tell(self, member: Member, message: Message) -> None:
        if member.connected:
            self._news.setdefault(member.token, []).append(message)

    def answer(self, member: Member, message: Granted | Refused) -> None:
        """It is told the state as well."""
        self._answered.add(member.token)
        self.tell(member, message)

    def whisper(self, member: Member, message: Standing, now: int) -> None:
        """With its next news, or a little later."""
        self._whispers.setdefault(member.token, []).append(message)
        if self.due_at is None:
            self.due_at = now + ns(WHISPER_SECONDS)

    def announce(self) -> None:
        """Tell everybody the state."""
        self._announce = True

    def forget(self, token: str) -> None:
        self._news.pop(token, None)
        self._whispers.pop(token, None)

    def collect(
        self, admission: Admission, members: Mapping[str, Member], now: int, *, blocked_by: Blocker | None
    ) -> dict[str, list[Message]]:
        """All there is to say now, by member."""
        self._tell_state(admission, members, blocked_by)
        if self.due_at is not None:
            self._tell_whispers(members, due=now >= self.due_at)
        news, self._news = self._news, {}
        return news

    def _tell_whispers(self, members: Mapping[str, Member], *, due: bool) -> None:
        """To whoever has news; to all once they are due."""
        for token in list(self._whispers if due else self._news):
            for standing in self._whispers.pop(token, ()):
                if standing.id in members[token].waiting:  # who was granted meanwhile stands nowhere
                    self.tell(members[token], standing)
        if not self._whispers:
            self.due_at = None

    def _tell_state(self, admission: Admission, members: Mapping[str, Member], blocked_by: Blocker | None) -> None:
        """To whoever was granted or refused; to all when circuit, pause or limits have changed."""
        held_by = blocked_by if blocked_by in {"circuit", "server_pause"} else None
        everybody = self._announce or held_by != self._held_by
        if not everybody and not self._answered:
            return
        self._announce, self._held_by = False, held_by
        told, self._answered = self._answered, set()
        state = State(
            admission.in_flight,
            admission.waiting,
            admission.limit,
            admission.pacer.requests_per_minute,
            blocked_by,
            str(admission.breaker.state),
            admission.last_success,
        )
        for token in members if everybody else told:
            member = members.get(token)
            if member is not None and member.connected and member.state != state:
                member.state = state
                self._news.setdefault(token, []).insert(0, state)
