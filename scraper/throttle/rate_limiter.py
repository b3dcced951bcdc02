"""The throttle of one process: hosts the pure `Admission` on an asyncio loop.

It only reads the clock, sleeps until the decision asks to be taken again, wakes those who were granted and announces
what happened. Every change and the turn after it happen in one synchronous block, so a freed slot is granted in the
same loop turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from scraper.events import Observe, RateLimitAcquired, RateLimitWaiting, ignore
from scraper.throttle import protocol, turn
from scraper.throttle.admission import ATTEMPT_SECONDS, UNLIMITED, Admission
from scraper.throttle.alarm import Alarm
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.nanoseconds import ns
from scraper.throttle.permit import TurnPermit
from scraper.throttle.seam import NotAdmitted
from scraper.throttle.turn import Grant, Refusal, Turn
from scraper.throttle.verdict import UNSENT, Verdict

WAITING_EVERY_SECONDS = 30.0
"""How often a long wait is announced again."""

Answer: TypeAlias = Grant | Refusal
Clock: TypeAlias = Callable[[], float]


def loop_time() -> float:
    """The running loop's monotonic clock."""
    return asyncio.get_running_loop().time()


def bound(clock: Clock) -> Clock:
    """`clock` for one inside the running loop: looking the loop up each time costs more than to ask its time."""
    return asyncio.get_running_loop().time if clock is loop_time else clock


def waiting_as(standing: turn.Standing | protocol.Standing) -> RateLimitWaiting:
    """What is announced of somebody who stands there."""
    return RateLimitWaiting(
        reason=standing.reason,
        position=standing.position,
        estimated_wait_s=standing.estimated_wait_seconds,
        in_flight=standing.in_flight,
        limit=standing.limit,
    )


class RateLimiter:
    """At most `max_concurrent` attempts in flight, at most `requests_per_minute` starts in any minute, evenly spaced.

    First come, first served. `breaker` holds everybody while the server is not well. For one event loop; give every
    client of one endpoint in the process the same one.
    """

    def __init__(
        self,
        max_concurrent: int = 2,
        requests_per_minute: float = 20.0,
        breaker: CircuitBreaker | None = None,
        observe: Observe = ignore,
        clock: Clock = loop_time,
    ) -> None:
        self._admission = Admission(
            max_concurrent=max_concurrent, requests_per_minute=requests_per_minute, breaker=breaker
        )
        self._observe = observe
        self._clock = clock
        self._asking: dict[int, asyncio.Future[Answer]] = {}
        self._wrong = ""
        self._alarm = Alarm(clock, self._take_turn)

    def admit(
        self,
        *,
        place: int | None = None,
        hold_seconds: float = UNLIMITED,
        work_seconds: float = UNLIMITED,
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> TurnPermit:
        """Wait for a permit, as `seam.Throttle.admit` says. Cancelling leaves no trace."""
        return TurnPermit(self, place, hold_seconds, work_seconds, attempt_seconds)

    def set_limits(self, *, max_concurrent: int | None = None, requests_per_minute: float | None = None) -> None:
        """Change the limits now; nothing in flight is revoked."""
        self._admission.set_limits(self._now(), max_concurrent=max_concurrent, requests_per_minute=requests_per_minute)
        self._take_turn()

    def found_wrong(self, what: str) -> None:
        """For the snapshot: here is nobody else to tell."""
        self._wrong = what

    def succeeded_since(self, moment: float) -> bool:
        """Whether any attempt has succeeded since `moment` (loop time)."""
        last = self._admission.last_success
        return last is not None and last >= ns(moment)

    @property
    def in_flight(self) -> int:
        return self._admission.in_flight

    @property
    def waiting(self) -> int:
        return self._admission.waiting

    @property
    def breaker(self) -> CircuitBreaker:
        return self._admission.breaker

    def snapshot(self) -> dict[str, object]:
        """The present state as plain values."""
        return {**self._admission.snapshot(), "wrong": self._wrong}

    # --- what a permit asks for -----------------------------------------------------------------------------------

    def _now(self) -> int:
        return ns(self._clock())

    async def _wait_for(
        self, _: TurnPermit, place: int | None, hold_seconds: float, work_seconds: float, attempt_seconds: float
    ) -> Grant:
        ticket = self._admission.ask(
            self._now(),
            place=place,
            hold_seconds=hold_seconds,
            work_seconds=work_seconds,
            attempt_seconds=attempt_seconds,
        )
        asking: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asking[ticket] = asking
        self._take_turn()
        if not asking.done():
            await self._queued(ticket, asking)
        answer = asking.result()
        if isinstance(answer, Refusal):
            raise NotAdmitted(out_of=answer.out_of, reason=answer.reason, waited=answer.waited)
        if answer.waited.total > 0:
            waited_s = round(answer.waited.total, 3)
            self._observe(RateLimitAcquired(waited_s, self._admission.in_flight, self._admission.limit))
        return answer

    async def _queued(self, ticket: int, asking: asyncio.Future[Answer]) -> None:
        saying = self._say_waiting(ticket)
        try:
            await asking
        except asyncio.CancelledError:
            self._forget(ticket, asking)
            raise
        finally:
            saying.cancel()

    def _forget(self, ticket: int, asking: asyncio.Future[Answer]) -> None:
        """Cancelled in line, or in the very tick of its grant: as if it had never asked."""
        answer = asking.result() if asking.done() and not asking.cancelled() else None
        if isinstance(answer, Grant):
            self._give_back(answer.lease, UNSENT)
        else:
            self._asking.pop(ticket, None)
            self._admission.cancel(ticket, self._now())
            self._take_turn()

    def _give_back(self, lease: int, verdict: Verdict) -> None:
        self._admission.finish(lease, verdict, self._now())
        self._take_turn()

    def _start(self, lease: int) -> None:
        self._admission.start(lease, self._now())
        self._take_turn()

    def _say_waiting(self, ticket: int) -> _Repeating:
        def say() -> None:
            standing = self._admission.standing(ticket, self._now())
            if standing is not None:
                self._observe(waiting_as(standing))

        return _Repeating(say, every_seconds=WAITING_EVERY_SECONDS)

    # --- the turn -------------------------------------------------------------------------------------------------

    def _take_turn(self, not_before: int = 0) -> None:
        """Decide, carry out, sleep until the next decision. `not_before`: the alarm's moment."""
        turn = self._admission.turn(max(self._now(), not_before))
        events = turn.events
        while self._deliver(turn):
            turn = self._admission.turn(self._now())
            events += turn.events
        self._alarm.set(turn.wake_at)
        for event in events:
            self._observe(event)

    def _deliver(self, turn: Turn) -> bool:
        """Wake those with an answer. True if a grant met one who was cancelled in this tick: another turn is due."""
        undeliverable = False
        answers: list[Answer] = [*turn.grants, *turn.refusals]
        for answer in answers:
            asking = self._asking.pop(answer.ticket)
            if not asking.done():
                asking.set_result(answer)
            elif isinstance(answer, Grant):
                self._admission.finish(answer.lease, UNSENT, self._now())
                undeliverable = True
        return undeliverable


class _Repeating:
    """Calls `say` now and every so often until cancelled."""

    def __init__(self, say: Callable[[], None], *, every_seconds: float) -> None:
        self._say = say
        self._every_seconds = every_seconds
        self._again()

    def _again(self) -> None:
        self._say()
        self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._again)

    def cancel(self) -> None:
        self._timer.cancel()
