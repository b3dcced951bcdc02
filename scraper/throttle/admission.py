"""Who may start an attempt now: one queue, and one synchronous decision over everything that can hold it back.

The head of the queue is granted when *all* of these allow, and all are consumed together:

    setting right (or you are the checker) · circuit closed (or you are the probe) · no server pause · a slot · the pace

Asking them one after the other would let two callers hold a token each while they wait for a slot, and then start
together. Whoever waits holds nothing; whoever was granted holds a lease, given back exactly once by `finish`.

| what happens                        | slot  | pace                       | breaker    | and                         |
|-------------------------------------|-------|----------------------------|------------|-----------------------------|
| cancelled, or out of time, in line  | –     | –                          | –          | leaves no trace             |
| cancelled in the tick of its grant, | back  | refunded if no later grant | –          | a probe's or checker's      |
| handed back as too late to write    |       | was given                  |            | place passes on             |
| cancelled while running, owner died | back  | kept                       | –          | a probe's place passes on   |
| finished                            | back  | kept                       | by verdict |                             |
| probe whose GET /health failed      | back  | refunded                   | OPEN again |                             |
| limit lowered                       | no grant until in flight < limit   | –          | nobody is revoked           |
| pace changed                        | –     | last start + new T         | –          | head held back, or woken    |

Order is by place, given at a call's first asking; a retry brings its call's place, so older work goes first and
newcomers never overtake. A paused endpoint (Retry-After, wrong key) and an open circuit hold everybody alike.

Pure and single-threaded: no clock, no waiting, no randomness, no logging. Every method takes `now`; those that
change something are followed by `turn(now)`, which says what came of it and when to ask again. The host in one
process and the one that serves many processes run this same object; tickets, places and leases are plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scraper.events import Blocker, Event
from scraper.throttle.blocked_time import BlockedTime
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.endpoint_pause import EndpointPause, PauseMemory
from scraper.throttle.nanoseconds import bounded_ns, ns, sooner, to_seconds
from scraper.throttle.pacer import Pacer
from scraper.throttle.starts import Starts
from scraper.throttle.turn import Grant, Lease, OutOf, Refusal, Standing, Turn
from scraper.throttle.verdict import Effect, Verdict
from scraper.throttle.waiting_line import Waiter, WaitingLine

ATTEMPT_SECONDS = 120.0
PROBE_GRACE_SECONDS = 5.0
"""A probe hangs this long after its attempt should have timed out."""
UNLIMITED = float("inf")


class Admission:
    """The throttle of one endpoint: `max_concurrent` attempts in flight, starts spaced by `requests_per_minute`."""

    def __init__(
        self, *, max_concurrent: int = 2, requests_per_minute: float = 20.0, breaker: CircuitBreaker | None = None
    ) -> None:
        self.breaker = breaker or CircuitBreaker()
        self.pacer = Pacer(requests_per_minute)
        self.limit = _checked(max_concurrent)
        self.last_success: int | None = None
        self.starts = Starts()  # since this host began; not in the snapshot
        self.probes = 0
        self._line = WaitingLine()
        self._leases: dict[int, Lease] = {}
        self._blocked = BlockedTime()
        self._accounted = 0
        self._steady: tuple[Blocker | None, int | None] | None = None  # what blocks, and until when, since a turn
        self._pause = EndpointPause()
        self._count = 0  # of tickets, places and leases: never reused
        self._mean_attempt_seconds = 0.0
        self._refusals: list[Refusal] = []  # told by the next turn, like the events
        self._events: list[Event] = []

    # --- what happens to it ---------------------------------------------------------------------------------------

    def ask(
        self,
        now: int,
        *,
        place: int | None = None,
        hold_seconds: float = UNLIMITED,
        work_seconds: float = UNLIMITED,
        attempt_seconds: float = ATTEMPT_SECONDS,
        owner: str = "",
    ) -> int:
        """Stand in line and get a ticket. A retry brings its call's `place`.

        It is refused after waiting `hold_seconds` altogether or `work_seconds` for slots and pace; at once where the
        pace alone is known to take longer than the latter.
        """
        self._account(now)
        hold = bounded_ns(hold_seconds)
        ticket = self._next_number()
        waiter = Waiter(
            ticket=ticket,
            place=ticket if place is None else place,
            asked=now,
            mark=self._blocked.mark(),
            hold_until=None if hold is None else now + hold,
            work_ns=bounded_ns(work_seconds),
            attempt_ns=ns(attempt_seconds),
            owner=owner,
        )
        # A retry stands near the head; counting who is really before it would cost more than it tells.
        if self._hopeless(waiter, now, ahead=len(self._line) if place is None else 0):
            self._refuse(waiter, now, out_of="work")
        else:
            self._line.join(waiter)
            self._look_again(waiter, now)
        return ticket

    def cancel(self, ticket: int, now: int) -> None:
        """Leave the line without a trace; nothing where the ticket was granted or refused already."""
        self._account(now)
        self._line.leave(ticket)

    def finish(self, lease: int, verdict: Verdict, now: int) -> bool:
        """Give a lease back and judge its attempt. False, and nothing happens, where it was given back before."""
        self._account(now)
        held = self._leases.pop(lease, None)
        if held is None:
            return False
        ending = verdict.ending
        if not ending.was_sent:
            self.pacer.refund(held.at)
            self.starts.forget(to_seconds(held.at))
        if ending.effect is Effect.SUCCESS:
            self.last_success = now
            self._learn_duration(to_seconds(now - held.at))
        self._tell(self.breaker.record(ending.effect, generation=held.generation, now=now))
        if verdict.pause_seconds > 0:
            self.pause(verdict.pause_seconds, now, reason=verdict.pause_reason)
        self._tell(self._pause.judge(verdict, lease, now))
        return True

    def start(self, lease: int, now: int) -> None:
        """A probe or checker whose question was answered well writes its own request only now: space from here."""
        self._account(now)
        held = self._leases.get(lease)
        if held is None or not (held.probe or held.check):
            return
        self.pacer.postpone(held.at, to=now)
        self.starts.forget(to_seconds(held.at))
        self._note_start(now)
        self._leases[lease] = held._replace(at=now)
        if held.probe and held.generation == self.breaker.generation:
            self.breaker.postpone_probe(until=now + held.attempt_ns + ns(PROBE_GRACE_SECONDS))

    def pause(self, seconds: float, now: int, *, reason: str) -> None:
        """Nobody starts for `seconds`: the server said so, or its owner. A longer pause is not shortened."""
        self._account(now)
        self._tell(self._pause.pause(seconds, now, reason=reason))

    def resume(self, now: int) -> None:
        """End a pause now."""
        self._account(now)
        self._pause.resume(now)

    def open_circuit(self, now: int) -> None:
        """Leave the server alone for the breaker's timeout: an owner's command."""
        self._account(now)
        self._tell(self.breaker.open(now, ordered=True))

    def close_circuit(self, now: int) -> None:
        """Call the server well: an owner's command."""
        self._account(now)
        self._tell(self.breaker.close(now))

    def set_limits(
        self, now: int, *, max_concurrent: int | None = None, requests_per_minute: float | None = None
    ) -> None:
        """Lowering holds the head back at once and revokes nothing; raising wakes it."""
        self._account(now)
        if max_concurrent is not None:
            self.limit = _checked(max_concurrent)
        if requests_per_minute is not None:
            self.pacer.set_rate(requests_per_minute)

    # --- the decision ---------------------------------------------------------------------------------------------

    def turn(self, now: int) -> Turn:
        """Let time pass up to `now`, grant all that may start, and say when to look again."""
        self._account(now)
        self._tell(self.breaker.advance(now))
        grants: list[Grant] = []
        while (blocked_by := self.blocked_by(now)) is None and (head := self._line.head()) is not None:
            left, out_of = self._time_left(head, now)
            if left is not None and left < 0:
                self._refuse(head, now, out_of=out_of)
            else:
                grants.append(self._grant(head, now))
        for waiter in self._line.due(now):
            left, out_of = self._time_left(waiter, now)
            if left is not None and left <= 0:
                self._refuse(waiter, now, out_of=out_of)
            else:
                self._look_again(waiter, now)  # it was held meanwhile, which is not its working time
        refusals, self._refusals = self._refusals, []
        events, self._events = self._events, []
        change = self._next_change(now)
        self._steady = blocked_by, change
        return Turn(grants, refusals, events, self._wake_at(change), blocked_by)

    # --- for those who watch --------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        return len(self._leases)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def pause_memory(self) -> PauseMemory:
        return self._pause.snapshot()

    def leases(self) -> Mapping[int, Lease]:
        """Those not given back, for a host that reaps the ones whose owner is gone."""
        return self._leases

    def held_by(self, owner: str) -> list[int]:
        """The numbers of its leases."""
        return [number for number, lease in self._leases.items() if lease.owner == owner]

    def blocked_by(self, now: int) -> Blocker | None:
        """What holds the head of the line back; whoever holds a slot only waits for the model."""
        if self.breaker.held_at(now):
            return "circuit"
        if self._pause.holds(now):
            return "server_pause"
        if len(self._leases) >= self.limit:
            return "slot"
        return None if self.pacer.allows(now) else "rate"

    def standing(self, ticket: int, now: int) -> Standing | None:
        """Where a waiter stands; None when it waits no more. Looks at every waiter: not for each step."""
        waiter = self._line.get(ticket)
        if waiter is None:
            return None
        ahead = self._line.ahead_of(waiter.place)
        reason = self.blocked_by(now) or "slot"
        estimate = self._estimated_wait(reason, ahead, now)
        return Standing(waiter.place, reason, ahead + 1, estimate, len(self._leases), self.limit)

    def snapshot(self) -> dict[str, Any]:
        """Everything that must outlive its host, as plain values. Waiters are not in it: they ask again."""
        return {
            "limit": self.limit,
            "requests_per_minute": self.pacer.requests_per_minute,
            "last_start": self.pacer.last_start,
            "breaker": self.breaker.snapshot(),
            "last_success": self.last_success,
            "pause": self._pause.snapshot(),
            "count": self._count,
            "leases": dict(self._leases),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on where `snapshot` ended: its leases count until they are finished, its pace and circuit hold."""
        self.set_limits(
            self._accounted,
            max_concurrent=snapshot["limit"],
            requests_per_minute=snapshot["requests_per_minute"],
        )
        self.pacer.go_on(snapshot["last_start"])
        self.breaker.restore(snapshot["breaker"])
        self.last_success = snapshot["last_success"]
        self._pause.restore(snapshot["pause"])
        self._count = max(self._count, snapshot["count"])
        self._leases = {int(lease): Lease(*held) for lease, held in snapshot["leases"].items()}

    # --- for a host that takes over from another ------------------------------------------------------------------

    def go_on(self, now: int) -> None:
        """Number on from where no earlier host can have got: their tickets are not in a snapshot, but still known.

        A number a microsecond is more than any host gives out; so old places stay before new ones.
        """
        self._account(now)
        self._count = max(self._count, now // 1000)

    def begin(self, now: int) -> None:
        """Nothing is known of an earlier host: let one interval pass, as if it had just started somebody."""
        self.go_on(now)
        self.pacer.go_on(now)

    def adopt(self, lease: int, held: Lease) -> None:
        """Count a lease of an earlier host that is not in its snapshot."""
        self._leases[lease], self._steady = held, None

    # --- what holds the head back ---------------------------------------------------------------------------------

    def _held_until(self, now: int) -> int:
        """Until when circuit, pause or settings are known to hold everybody; now if they do not, or it is not."""
        opens = self.breaker.wakes_at if self.breaker.held_at(now) and not self.breaker.probing else None
        return max(now, opens or now, self._pause.changes_at)

    def _account(self, now: int) -> None:
        """Book the time since the last event to what held the line back, piece by piece."""
        steady, self._steady = self._steady, None  # whoever calls may change it
        if now <= self._accounted:
            return
        since, self._accounted = self._accounted, now
        if not self._line:
            return
        if steady is not None and (steady[1] is None or now <= steady[1]):
            self._blocked.add(now - since, steady[0], also_rate=not self.pacer.allows(since))
            return
        while since < now:
            reason, until = self.blocked_by(since), min(now, self._next_change(since) or now)
            self._blocked.add(until - since, reason, also_rate=not self.pacer.allows(since))
            since = until

    def _next_change(self, now: int) -> int | None:
        """When time alone changes what holds the line back, or takes the breaker to its next state."""
        soonest = None  # several times a grant: a generator for `min` would cost as much as all the rest
        for moment in (self.breaker.wakes_at, *self._pause.moments, self.pacer.ready_at):
            if moment is not None and moment > now and (soonest is None or moment < soonest):
                soonest = moment
        return soonest

    def _wake_at(self, change: int | None) -> int | None:
        return sooner(change, self._line.next_look) if self._line else self.breaker.wakes_at

    # --- granting and refusing ------------------------------------------------------------------------------------

    def _grant(self, waiter: Waiter, now: int) -> Grant:
        self._line.leave(waiter.ticket)
        self._blocked.give_way()
        lease = self._next_number()
        probe = self.breaker.permit(now, probe_seconds=to_seconds(waiter.attempt_ns) + PROBE_GRACE_SECONDS)
        check = self._pause.taken_by(lease)
        self.pacer.take(now)
        self._note_start(now)
        self.probes += probe
        self._leases[lease] = Lease(now, self.breaker.generation, probe, check, waiter.attempt_ns, waiter.owner)
        return Grant(
            ticket=waiter.ticket,
            lease=lease,
            place=waiter.place,
            at=now,
            write_by=now + self.pacer.write_within,
            probe=probe,
            check=check,
            waited=self._blocked.since(waiter.mark),
        )

    def _note_start(self, now: int) -> None:
        self.starts.add(to_seconds(now), interval=to_seconds(self.pacer.interval))

    def _refuse(self, waiter: Waiter, now: int, *, out_of: OutOf) -> None:
        self._line.leave(waiter.ticket)
        reason = self.blocked_by(now) or "rate"
        self._refusals.append(Refusal(waiter.ticket, out_of, reason, self._blocked.since(waiter.mark)))

    def _hopeless(self, waiter: Waiter, now: int, *, ahead: int) -> bool:
        """Whether its working time is over before its turn, even if everybody ahead goes as early as the pace allows.

        Who may only be held no longer waits all the same: sent away at once, a consumer would take the next message
        from its queue just to be sent away with it too.
        """
        held_until = self._held_until(now)
        earliest = max(held_until, self.pacer.earliest(now, ahead=ahead))
        return waiter.work_ns is not None and earliest - held_until > waiter.work_ns

    def _time_left(self, waiter: Waiter, now: int) -> tuple[int | None, OutOf]:
        """Unless circuit or pause hold it meanwhile."""
        return waiter.time_left(now, held=self._blocked.held_since(waiter.mark))

    def _look_again(self, waiter: Waiter, now: int) -> None:
        left, _ = self._time_left(waiter, now)
        if left is not None:
            self._line.look_at(waiter, when=now + left)

    # --- what is learned ------------------------------------------------------------------------------------------

    def _learn_duration(self, seconds: float) -> None:
        weight = 0.2 if self._mean_attempt_seconds else 1.0
        self._mean_attempt_seconds += weight * (seconds - self._mean_attempt_seconds)

    def _estimated_wait(self, reason: Blocker, ahead: int, now: int) -> float:
        """By what is known (pace, circuit, pause), or by the mean attempt where slots are scarcer than the pace."""
        known = max(self.pacer.earliest(now, ahead=ahead), self._held_until(now)) - now
        places = ahead + 1 if reason == "slot" else ahead
        return round(max(to_seconds(known), places * self._mean_attempt_seconds / self.limit), 3)

    def _next_number(self) -> int:
        self._count += 1
        return self._count

    def _tell(self, event: Event | None) -> None:
        if event is not None:
            self._events.append(event)


def _checked(max_concurrent: int) -> int:
    if max_concurrent < 1:
        raise ValueError(f"max_concurrent must be at least 1, not {max_concurrent}")
    return max_concurrent
