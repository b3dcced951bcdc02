"""What one client says to its coordinator and hears from it, and what it must tell the next one anew.

| an asking      | joined                          | away                                  |
|----------------|---------------------------------|---------------------------------------|
| asked          | Ask                             | kept, asked on joining with its place |
| granted        | held until its block is left    | –                                     |
| cancelled      | Cancel, or Finish if granted    | forgotten                             |
| its time over  | refused by the coordinator      | refused here                          |
| away           | –                               | counts as held, not as working time   |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scraper.events import Blocker, Observe
from scraper.throttle.asking import Asking, Held
from scraper.throttle.nanoseconds import bounded_ns, ns
from scraper.throttle.protocol import (
    BadLine,
    Brings,
    Cancel,
    Finds,
    Granted,
    Holds,
    Message,
    Pong,
    Ready,
    Refused,
    Revoked,
    Standing,
    Start,
    State,
    Takes,
    Where,
)
from scraper.throttle.rate_limiter import WAITING_EVERY_SECONDS, waiting_as
from scraper.throttle.revocable_permit import RevocablePermit
from scraper.throttle.turn import Grant, Refusal
from scraper.throttle.turn_message import grant_of, refusal_of
from scraper.throttle.unsettled import Unsettled
from scraper.throttle.verdict import UNSENT, Effect, Verdict
from scraper.throttle.verdict_message import finish_of

LATE_REFUSAL_SECONDS = 0.5
"""How much later than a coordinator, who may not answer, an asking's time is ended here."""
LONGEST_ATTEMPT_SECONDS = 24 * 3600.0


class Conversation:
    """Who waits here, what is held here, and which verdicts are not settled yet. Decides nothing; knows no socket.

    `say` may drop what it is given while nobody listens: whoever is joined next is introduced to all of it. Times are
    nanoseconds.
    """

    def __init__(self, brings: Brings, *, say: Callable[[Message], None], observe: Observe) -> None:
        self._say = say
        self._observe = observe
        self._of_itself: dict[type[Message], Message] = {Brings: brings}
        self._unsettled = Unsettled()
        self._own_success: int | None = None
        self._count = 0
        self.asking: dict[int, Asking] = {}
        self.held: dict[int, Held] = {}
        self.state: State | None = None  # as told last

    # --- what is said ---------------------------------------------------------------------------------------------

    def say_of_itself(self, message: Brings | Takes | Finds) -> None:
        """The newest of each kind is told to every coordinator."""
        self._of_itself[type(message)] = message
        self._say(message)

    def ask(
        self,
        permit: RevocablePermit,
        now: int,
        *,
        place: int | None,
        hold_seconds: float,
        work_seconds: float,
        attempt_seconds: float,
    ) -> Asking:
        hold = bounded_ns(hold_seconds)
        self._count += 1
        asking = self.asking[self._count] = Asking(
            number=self._count,
            permit=permit,
            answer=asyncio.get_running_loop().create_future(),
            hold_until=None if hold is None else now + hold,
            work_seconds=work_seconds,
            attempt_seconds=min(attempt_seconds, LONGEST_ATTEMPT_SECONDS),
            place=place,
            since=now,
        )
        self._say(asking.ask(now))
        if place is not None:
            self._say(Where(asking.number))  # of a newcomer it is told unasked
        return asking

    def forget(self, asking: Asking, now: int) -> None:
        """Cancelled in line, or in the very tick of its grant: as if it had never asked."""
        answer = asking.answer.result() if asking.answer.done() and not asking.answer.cancelled() else None
        if isinstance(answer, Grant):
            self.give_back(answer.lease, UNSENT, now)
        elif self.asking.pop(asking.number, None) is not None:
            self._say(Cancel(asking.number))

    def start(self, lease: int, now: int) -> None:
        held = self.held.get(lease)
        if held is not None:
            held.holds = held.holds._replace(at=now)
            self._say(Start(lease))

    def give_back(self, lease: int, verdict: Verdict, now: int) -> None:
        held = self.held.pop(lease, None)
        if held is None:
            return  # taken back already
        if verdict.ending.effect is Effect.SUCCESS:
            self._own_success = now
        # These start later than they are granted; who hears of the end may not have heard of that.
        started_late = held.holds.probe or held.holds.check
        self._say(self._unsettled.add(finish_of(lease, verdict), held=held.holds if started_late else None))

    # --- beginning and end ----------------------------------------------------------------------------------------

    def introduce(self, now: int) -> None:
        """To a coordinator that may know nothing of us."""
        for message in self._of_itself.values():
            self._say(message)
        for held in self.held.values():
            self._say(held.holds)
        for message in self._unsettled.again():
            self._say(message)
        self._say(Ready())
        for asking in list(self.asking.values()):  # in the order of asking; those who know their place bring it
            if asking.is_over(now):
                self._refuse(asking, now, reason="server_pause")
                continue
            asking.book(now, "server_pause")
            self._say(asking.ask(now))

    def part(self, now: int) -> None:
        """The coordinator is gone: what it knew of waits is lost, so book them to what was holding everybody."""
        blocked_by = None if self.state is None else self.state.blocked_by
        for asking in self.asking.values():
            asking.book(now, blocked_by or "rate")

    # --- what is heard --------------------------------------------------------------------------------------------

    def hear(self, message: Message, now: int) -> None:
        """Raises BadLine where no coordinator says this."""
        match message:
            case State():
                self.state = message
            case Granted():
                self._hear_grant(message)
            case Standing():
                self._hear_standing(message, now)
            case Refused(number):
                asking = self.asking.pop(number, None)
                if asking is not None and not asking.answer.done():
                    asking.answer.set_result(refusal_of(message, booked=asking.booked))
            case Revoked(lease):
                held = self.held.pop(lease, None)
                if held is not None:
                    held.permit.revoke()
            case Pong():
                pass
            case _:
                raise BadLine(f"a {type(message).__name__} out of place")

    def _hear_grant(self, granted: Granted) -> None:
        self._unsettled.settle(granted.settled)
        asking = self.asking.pop(granted.id, None)
        if asking is None or asking.answer.done():
            self._say(self._unsettled.add(finish_of(granted.lease, UNSENT)))  # cancelled while it was on its way
            return
        self.held[granted.lease] = Held(
            Holds(granted.lease, granted.at, granted.probe, granted.check, asking.attempt_seconds), asking.permit
        )
        asking.answer.set_result(grant_of(granted, booked=asking.booked))

    def _hear_standing(self, standing: Standing, now: int) -> None:
        asking = self.asking.get(standing.id)
        if asking is None:
            return
        asking.place, asking.said_at = standing.place, now
        self._observe(waiting_as(standing))

    def succeeded_since(self, moment: int) -> bool:
        """Whether any attempt of anybody has, as far as it was told here."""
        theirs = None if self.state is None else self.state.last_success
        return any(each is not None and each >= moment for each in (theirs, self._own_success))

    # --- the time of those who wait -------------------------------------------------------------------------------

    def wait_on(self, now: int, *, blocked_by: Blocker | None, alone: bool) -> None:
        """End waits that nobody else ends (`alone`: nobody is there to), and ask again where long ones stand."""
        patience = 0 if alone else ns(LATE_REFUSAL_SECONDS)
        for asking in list(self.asking.values()):
            if asking.is_over(now, patience=patience):
                self._refuse(asking, now, reason=blocked_by or "server_pause")
            elif asking.said_at is not None and now - asking.said_at >= ns(WAITING_EVERY_SECONDS):
                asking.said_at = now
                self._say(Where(asking.number))

    def close(self, now: int, *, reason: Blocker) -> None:
        """Refuse all who still wait."""
        for asking in list(self.asking.values()):
            self._refuse(asking, now, reason=reason)

    def _refuse(self, asking: Asking, now: int, *, reason: Blocker) -> None:
        if asking.answer.done():
            return
        del self.asking[asking.number]
        self._say(Cancel(asking.number))
        asking.book(now, reason)
        asking.answer.set_result(Refusal(asking.number, "hold", reason, asking.booked))
