"""The throttle of one endpoint shared by all processes of this host, as one of them sees it.

    async with SharedRateLimiter("http://localhost:8000/v1", run_dir=…, max_concurrent=2) as throttle:
        async with throttle.admit() as permit:
            ...

It decides nothing: it asks the coordinator, wherever that is hosted, and keeps the time of those who wait while nobody
answers. What is said is the `Conversation`'s, how it gets there the `Link`'s.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scraper.events import Blocker, Observe, RateLimitAcquired, ignore
from scraper.throttle.admission import ATTEMPT_SECONDS, UNLIMITED
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.conversation import Conversation
from scraper.throttle.coordinator import Coordinator
from scraper.throttle.host_silence import HostSilence
from scraper.throttle.link import Link
from scraper.throttle.nanoseconds import ns
from scraper.throttle.pacer import SLOWEST_PER_MINUTE
from scraper.throttle.protocol import LARGEST, Brings, Finds, Message, Takes
from scraper.throttle.rate_limiter import Clock, bound, loop_time
from scraper.throttle.revocable_permit import RevocablePermit
from scraper.throttle.seam import NotAdmitted
from scraper.throttle.shared_admission import REAP_AFTER_SECONDS
from scraper.throttle.turn import Grant, Refusal
from scraper.throttle.verdict import Verdict

SILENT_SECONDS = 2.0
"""A coordinator that has not answered for this long is called unreachable."""


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
        self._forget_everything()

    def _forget_everything(self) -> None:
        """As new: at first, and in a forked child, to whom nothing of its parent's belongs."""
        self._pid = os.getpid()
        self._link: Link | None = None
        self._time = self._clock
        self._conversation = Conversation(self._brings, say=self._send, observe=self._observe)
        self._found_wrong = False
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
        self._conversation.close(self._now(), reason=self.blocked_by or "server_pause")
        link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            await link.close()

    def _linked(self) -> Link:
        if self._pid != os.getpid():
            self._forget_everything()
        if self._link is None:
            self._time = bound(self._clock)
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
                joined=lambda: self._conversation.introduce(self._now()),
                heard=self._hear,
                left=lambda: self._conversation.part(self._now()),
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
        self._conversation.say_of_itself(brings)

    def takes(self, queue: str, *, consumers: int, counted: int | None = None) -> None:
        """Say how many consumers of `queue` this process runs, and how many its broker counts there altogether."""
        self._conversation.say_of_itself(Takes(queue, consumers, counted))

    def found_wrong(self, what: str) -> None:
        """As `seam.Throttle.found_wrong` says: for whoever asks the coordinator how it stands."""
        if what or self._found_wrong:
            self._found_wrong = True
            self._conversation.say_of_itself(Finds(what))

    def succeeded_since(self, moment: float) -> bool:
        """Whether any attempt of anybody has succeeded since `moment` (loop time), as far as it was told here."""
        return self._conversation.succeeded_since(ns(moment))

    @property
    def in_flight(self) -> int:
        """Of all processes, as told last."""
        state = self._conversation.state
        return len(self._conversation.held) if state is None else state.in_flight

    @property
    def waiting(self) -> int:
        """In this process."""
        return len(self._conversation.asking)

    @property
    def blocked_by(self) -> Blocker | None:
        """What holds everybody back, as told last; a coordinator that does not answer counts as a pause."""
        state = self._conversation.state
        if self._link is None or not self._link.is_joined or state is None:
            return "server_pause"
        return state.blocked_by

    def snapshot(self) -> dict[str, object]:
        """The present state as plain values, as told last."""
        state = self._conversation.state
        shared: dict[str, Any] = {} if state is None else state._asdict()
        joined = self._link is not None and self._link.is_joined
        return {**shared, "joined": joined, "held_here": len(self._conversation.held), "waiting_here": self.waiting}

    # --- what a permit asks for -----------------------------------------------------------------------------------

    def _now(self) -> int:
        return ns(self._time())

    async def _wait_for(
        self,
        permit: RevocablePermit,
        place: int | None,
        hold_seconds: float,
        work_seconds: float,
        attempt_seconds: float,
    ) -> Grant:
        await self._linked().open()
        conversation = self._conversation
        asking = conversation.ask(
            permit,
            self._now(),
            place=place,
            hold_seconds=hold_seconds,
            work_seconds=work_seconds,
            attempt_seconds=attempt_seconds,
        )
        self._tick_again()
        try:
            answer = await asking.answer
        except asyncio.CancelledError:
            conversation.forget(asking, self._now())
            raise
        if isinstance(answer, Refusal):
            raise NotAdmitted(out_of=answer.out_of, reason=answer.reason, waited=answer.waited)
        if asking.said_at is not None and (state := conversation.state) is not None:
            self._observe(RateLimitAcquired(round(answer.waited.total, 3), state.in_flight, state.limit))
        return answer

    def _start(self, lease: int) -> None:
        self._conversation.start(lease, self._now())

    def _give_back(self, lease: int, verdict: Verdict) -> None:
        self._conversation.give_back(lease, verdict, self._now())

    def _send(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _hear(self, messages: list[Message]) -> None:
        now = self._now()
        for message in messages:
            self._conversation.hear(message, now)
        self._silence.ends(self._time())

    # --- the time of those who wait -------------------------------------------------------------------------------

    def _tick_again(self) -> None:
        if self._ticking is None and self.waiting:
            every = self._silent_seconds / 2
            self._ticking = asyncio.get_running_loop().call_later(every, self._tick)

    def _tick(self) -> None:
        """While somebody waits: end waits nobody else ends, ask for signs of life, and say that there are none."""
        self._ticking = None
        link = self._linked()
        self._conversation.wait_on(self._now(), blocked_by=self.blocked_by, alone=not link.is_joined)
        link.ask_for_a_sign()
        silent = link.silent_seconds()
        if silent >= self._silent_seconds:
            self._silence.lasts(silent, pid=link.host_pid(), error=link.trouble, waiting=self.waiting, now=self._time())
        self._tick_again()


def _check(brings: Brings) -> None:
    if brings.max_concurrent < 1 or not brings.requests_per_minute >= SLOWEST_PER_MINUTE:
        raise ValueError(f"max_concurrent must be >= 1 and requests_per_minute >= {SLOWEST_PER_MINUTE:g}, not {brings}")
    if brings.threshold < 1 or not brings.timeout_seconds > 0:
        raise ValueError(f"threshold must be >= 1 and timeout_seconds > 0, not {brings}")
    if max(brings) >= LARGEST:  # no coordinator would take it, and nobody would ever be granted anything
        raise ValueError(f"limits must be numbers below {LARGEST:g}, not {brings}")
