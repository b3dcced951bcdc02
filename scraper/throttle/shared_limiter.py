"""The throttle of one endpoint shared by all processes of this host, as one of them sees it.

    async with SharedRateLimiter("http://localhost:8000/v1", run_dir=…, max_concurrent=2) as throttle:
        async with throttle.admit() as permit:
            ...

It decides nothing: it asks the coordinator, keeps what must be told again to the next one (who waits at which place,
which leases are held, which verdicts are not settled yet), and keeps the time of those who wait while nobody answers.

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
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scraper.events import (
    Blocker,
    Observe,
    RateLimitAcquired,
    RateLimitWaiting,
    ignore,
)
from scraper.throttle.admission import ATTEMPT_SECONDS, UNLIMITED
from scraper.throttle.asking import Asking, Held
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.coordinator import Coordinator
from scraper.throttle.host_silence import HostSilence
from scraper.throttle.link import Link
from scraper.throttle.nanoseconds import bounded_ns, ns
from scraper.throttle.pacer import SLOWEST_PER_MINUTE
from scraper.throttle.protocol import (
    LARGEST,
    BadLine,
    Brings,
    Cancel,
    Finds,
    Granted,
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
from scraper.throttle.rate_limiter import WAITING_EVERY_SECONDS, Clock, loop_time
from scraper.throttle.revocable_permit import RevocablePermit
from scraper.throttle.seam import LeaseLost, NotAdmitted
from scraper.throttle.shared_admission import REAP_AFTER_SECONDS
from scraper.throttle.turn import Grant, Refusal
from scraper.throttle.turn_message import grant_of, refusal_of
from scraper.throttle.unsettled import Unsettled
from scraper.throttle.verdict import UNSENT, Effect, Verdict
from scraper.throttle.verdict_message import finish_of

SILENT_SECONDS = 2.0
"""A coordinator that has not answered for this long is called unreachable."""
LATE_REFUSAL_SECONDS = 0.5
"""How much later than a coordinator, who may not answer, an asking's time is ended here."""
LONGEST_ATTEMPT_SECONDS = 24 * 3600.0


class SharedRateLimiter:
    """As `RateLimiter`, but over all processes of this host that share `run_dir`.

    The limits are what this process brings; the strictest of all processes are in force. Of `breaker` only threshold
    and timeout matter. For one event loop at a time; a forked child gets a connection of its own when it first asks.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        run_dir: Path,
        max_concurrent: int = 2,
        requests_per_minute: float = 20.0,
        breaker: CircuitBreaker | None = None,
        observe: Observe = ignore,
        clock: Clock = loop_time,
        silent_seconds: float = SILENT_SECONDS,
        reap_after_seconds: float = REAP_AFTER_SECONDS,
    ) -> None:
        breaker = breaker or CircuitBreaker()
        self._brings = Brings(max_concurrent, requests_per_minute, breaker.threshold, breaker.timeout_seconds)
        _check(self._brings)
        self._endpoint = endpoint
        self._run_dir = run_dir
        self._observe = observe
        self._clock = clock
        self._silent_seconds = silent_seconds
        self._reap_after_seconds = reap_after_seconds
        self._hears: dict[type[Message], Callable[[Any], None]] = {
            Granted: self._hear_grant,
            Refused: self._hear_refusal,
            Standing: self._hear_standing,
            State: self._hear_state,
            Revoked: self._hear_revoked,
            Pong: lambda _: None,
        }
        self._forget_everything()

    def _forget_everything(self) -> None:
        """As new: at first, and in a forked child, to whom nothing of its parent's belongs."""
        self._pid = os.getpid()
        self._link: Link | None = None
        self._asking: dict[int, Asking] = {}
        self._held: dict[int, Held] = {}
        self._unsettled = Unsettled()
        self._state: State | None = None
        self._own_success: int | None = None
        self._takes: Takes | None = None
        self._finds: Finds | None = None
        self._count = 0
        self._ticking: asyncio.TimerHandle | None = None
        self._silence = HostSilence(self._observe)

    async def __aenter__(self) -> Self:
        """Raises Misconfigured where RUN_DIR cannot be used."""
        await self._linked().open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave; what is still held is given back, and who still waits is refused."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for asking in list(self._asking.values()):
            self._refuse_here(asking, self._now())
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            await link.close()

    def _linked(self) -> Link:
        if self._pid != os.getpid():
            self._forget_everything()
        if self._link is None:
            coordinator = Coordinator(
                self._endpoint,
                run_dir=self._run_dir,
                observe=self._observe,
                clock=self._clock,
                reap_after_seconds=self._reap_after_seconds,
            )
            self._link = Link(
                self._endpoint,
                run_dir=self._run_dir,
                coordinator=coordinator,
                clock=self._clock,
                joined=self._introduce,
                heard=self._hear,
                left=self._part,
            )
        return self._link

    # --- the seam -------------------------------------------------------------------------------------------------

    def admit(
        self,
        *,
        place: int | None = None,
        hold_seconds: float = UNLIMITED,
        work_seconds: float = UNLIMITED,
        attempt_seconds: float = ATTEMPT_SECONDS,
    ) -> RevocablePermit:
        """Wait for a permit, as `seam.Throttle.admit` says. Cancelling leaves no trace.

        The block of a permit may be ended by LeaseLost, see there.
        """
        return RevocablePermit(self, place, hold_seconds, work_seconds, attempt_seconds)

    def set_limits(
        self,
        *,
        max_concurrent: int | None = None,
        requests_per_minute: float | None = None,
        threshold: int | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Change what this process brings; nothing in flight is revoked. An open circuit keeps its time."""
        wanted: dict[str, Any] = {
            "max_concurrent": max_concurrent,
            "requests_per_minute": requests_per_minute,
            "threshold": threshold,
            "timeout_seconds": timeout_seconds,
        }
        brings = self._brings._replace(**{name: value for name, value in wanted.items() if value is not None})
        _check(brings)
        self._brings = brings
        self._send(brings)

    def takes(self, queue: str, *, consumers: int, counted: int | None = None) -> None:
        """Say how many consumers of `queue` this process runs, and how many its broker counts there altogether."""
        self._takes = Takes(queue, consumers, counted)
        self._send(self._takes)

    def found_wrong(self, what: str) -> None:
        """As `seam.Throttle.found_wrong` says: for whoever asks the coordinator how it stands."""
        if what or self._finds is not None:
            self._finds = Finds(what)
            self._send(self._finds)

    def succeeded_since(self, moment: float) -> bool:
        """Whether any attempt of anybody has succeeded since `moment` (loop time), as far as it was told here."""
        theirs = None if self._state is None else self._state.last_success
        last = max((each for each in (theirs, self._own_success) if each is not None), default=None)
        return last is not None and last >= ns(moment)

    @property
    def in_flight(self) -> int:
        """Of all processes, as told last."""
        return len(self._held) if self._state is None else self._state.in_flight

    @property
    def waiting(self) -> int:
        """In this process."""
        return len(self._asking)

    @property
    def blocked_by(self) -> Blocker | None:
        """What holds everybody back, as told last; a coordinator that does not answer counts as a pause."""
        if self._link is None or not self._link.is_joined or self._state is None:
            return "server_pause"
        return self._state.blocked_by

    def snapshot(self) -> dict[str, object]:
        """The present state as plain values, as told last."""
        shared: dict[str, Any] = {} if self._state is None else self._state._asdict()
        joined = self._link is not None and self._link.is_joined
        return {**shared, "joined": joined, "held_here": len(self._held), "waiting_here": len(self._asking)}

    # --- what a permit asks for -----------------------------------------------------------------------------------

    def _now(self) -> int:
        return ns(self._clock())

    async def _wait_for(
        self, place: int | None, hold_seconds: float, work_seconds: float, attempt_seconds: float
    ) -> Grant:
        link = self._linked()
        await link.open()
        now, hold = self._now(), bounded_ns(hold_seconds)
        self._count += 1
        asking = self._asking[self._count] = Asking(
            number=self._count,
            answer=asyncio.get_running_loop().create_future(),
            hold_until=None if hold is None else now + hold,
            work_seconds=work_seconds,
            attempt_seconds=min(attempt_seconds, LONGEST_ATTEMPT_SECONDS),
            place=place,
            since=now,
        )
        if link.is_joined:
            link.send(asking.ask(now))
            if place is not None:
                link.send(Where(asking.number))  # of a newcomer it is told unasked
        self._tick_again()
        try:
            answer = await asking.answer
        except asyncio.CancelledError:
            self._forget(asking)
            raise
        if isinstance(answer, Refusal):
            raise NotAdmitted(out_of=answer.out_of, reason=answer.reason, waited=answer.waited)
        if asking.said_at is not None and self._state is not None:
            waited_s = round(answer.waited.total, 3)
            self._observe(RateLimitAcquired(waited_s, self._state.in_flight, self._state.limit))
        return answer

    def _forget(self, asking: Asking) -> None:
        """Cancelled in line, or in the very tick of its grant: as if it had never asked."""
        answer = asking.answer.result() if asking.answer.done() and not asking.answer.cancelled() else None
        if isinstance(answer, Grant):
            self._give_back(answer.lease, UNSENT)
        elif self._asking.pop(asking.number, None) is not None:
            self._send(Cancel(asking.number))

    def _give_back(self, lease: int, verdict: Verdict) -> None:
        if self._held.pop(lease, None) is None:
            return  # taken back already
        if verdict.ending.effect is Effect.SUCCESS:
            self._own_success = self._now()
        self._finish(lease, verdict)

    def _finish(self, lease: int, verdict: Verdict) -> None:
        self._send(self._unsettled.add(finish_of(lease, verdict)))

    def _start(self, lease: int) -> None:
        held = self._held.get(lease)
        if held is not None:
            held.at = self._now()
            self._send(Start(lease))

    def _enter(self, lease: int, permit: RevocablePermit) -> None:
        """Raises LeaseLost where it was taken back between grant and use."""
        held = self._held.get(lease)
        if held is None:
            raise LeaseLost
        held.permit = permit

    # --- what is said to the coordinator --------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _introduce(self) -> None:
        """To a coordinator that may know nothing of us."""
        self._send(self._brings)
        for said in (self._takes, self._finds):
            if said is not None:
                self._send(said)
        for held in self._held.values():
            self._send(held.holds())
        for finish in self._unsettled.again():
            self._send(finish)
        self._send(Ready())
        now = self._now()
        for asking in list(self._asking.values()):  # in the order of asking; those who know their place bring it
            if asking.is_over(now):
                self._refuse_here(asking, now)
                continue
            asking.book(now, "server_pause")
            self._send(asking.ask(now))

    def _part(self) -> None:
        """The coordinator is gone: what it knew of waits is lost, so book them to what was holding everybody."""
        now, blocked_by = self._now(), None if self._state is None else self._state.blocked_by
        for asking in self._asking.values():
            asking.book(now, blocked_by or "rate")

    # --- what it says ---------------------------------------------------------------------------------------------

    def _hear(self, messages: list[Message]) -> None:
        hears = self._hears
        for message in messages:
            if type(message) not in hears:
                raise BadLine(f"a {type(message).__name__} out of place")
            hears[type(message)](message)
        self._silence.ends(self._clock())

    def _hear_grant(self, granted: Granted) -> None:
        self._unsettled.settle(granted.settled)
        asking = self._asking.pop(granted.id, None)
        if asking is None or asking.answer.done():
            self._finish(granted.lease, UNSENT)  # cancelled while the grant was on its way
            return
        grant = grant_of(granted, booked=asking.booked)
        self._held[granted.lease] = Held(grant, asking.attempt_seconds, grant.at)
        asking.answer.set_result(grant)

    def _hear_refusal(self, refused: Refused) -> None:
        asking = self._asking.pop(refused.id, None)
        if asking is not None and not asking.answer.done():
            asking.answer.set_result(refusal_of(refused, booked=asking.booked))

    def _hear_standing(self, standing: Standing) -> None:
        asking = self._asking.get(standing.id)
        if asking is None:
            return
        asking.place, asking.said_at = standing.place, self._now()
        self._observe(
            RateLimitWaiting(
                reason=standing.reason,
                position=standing.position,
                estimated_wait_s=standing.estimated_wait_seconds,
                in_flight=standing.in_flight,
                limit=standing.limit,
            )
        )

    def _hear_state(self, state: State) -> None:
        self._state = state

    def _hear_revoked(self, revoked: Revoked) -> None:
        held = self._held.pop(revoked.lease, None)
        if held is not None and held.permit is not None:
            held.permit.revoke()

    # --- the time of those who wait -------------------------------------------------------------------------------

    def _tick_again(self) -> None:
        if self._ticking is None and self._asking:
            every = self._silent_seconds / 2
            self._ticking = asyncio.get_running_loop().call_later(every, self._tick)

    def _tick(self) -> None:
        """While somebody waits: end waits nobody else ends, ask for signs of life, and say that there are none."""
        self._ticking = None
        link, now = self._linked(), self._now()
        for asking in list(self._asking.values()):
            if asking.is_over(now, patience=ns(LATE_REFUSAL_SECONDS) if link.is_joined else 0):
                self._refuse_here(asking, now)
            elif asking.said_at is not None and now - asking.said_at >= ns(WAITING_EVERY_SECONDS):
                asking.said_at = now
                link.send(Where(asking.number))
        link.ask_for_a_sign()
        silent = link.silent_seconds()
        if silent >= self._silent_seconds:
            self._silence.lasts(
                silent, pid=link.host_pid(), error=link.trouble, waiting=len(self._asking), now=self._clock()
            )
        self._tick_again()

    def _refuse_here(self, asking: Asking, now: int) -> None:
        if asking.answer.done():
            return
        del self._asking[asking.number]
        self._send(Cancel(asking.number))
        reason = self.blocked_by or "server_pause"
        asking.book(now, reason)
        asking.answer.set_result(Refusal(asking.number, "hold", reason, asking.booked))


def _check(brings: Brings) -> None:
    if brings.max_concurrent < 1 or not brings.requests_per_minute >= SLOWEST_PER_MINUTE:
        raise ValueError(f"max_concurrent must be >= 1 and requests_per_minute >= {SLOWEST_PER_MINUTE:g}, not {brings}")
    if brings.threshold < 1 or not brings.timeout_seconds > 0:
        raise ValueError(f"threshold must be >= 1 and timeout_seconds > 0, not {brings}")
    if max(brings) >= LARGEST:  # no coordinator would take it, and nobody would ever be granted anything
        raise ValueError(f"limits must be numbers below {LARGEST:g}, not {brings}")
