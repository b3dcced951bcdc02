"""The promises of the throttle, checked after every step of whatever hypothesis makes happen to it.

The model beside the machine is written from the promises, not from the code: it counts leases, failures and starts on
its own and looks at the machine only through what it says.
"""

from dataclasses import dataclass, field
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scraper.events import CircuitClosed, CircuitHalfOpen, CircuitOpened
from scraper.throttle.admission import Admission
from scraper.throttle.circuit_breaker import CircuitBreaker, CircuitState
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.verdict import Effect, Ending, Misconfiguration, Verdict

WRONG_KEY = Misconfiguration(401, "VLLM_API_KEY", "set it")
ENDINGS = [ending for ending in Ending if ending not in {Ending.UNSENT, Ending.CANCELLED, Ending.UNHEALTHY}]
ENDINGS += [Ending.NO_ANSWER] * len(ENDINGS)  # a circuit that never opens proves nothing


@dataclass
class Asking:
    place: int | None
    asked: int
    hold: float
    work: float


@dataclass
class Running:
    place: int
    at: int
    generation: int
    probe: bool
    check: bool
    attempt: float
    gone: bool = False


@dataclass
class Model:
    """What must be true, counted independently."""

    asking: dict[int, Asking] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    sleeping: list[int] = field(default_factory=list)  # places of calls between two attempts
    starts: list[int] = field(default_factory=list)  # of those that were really sent
    failures: int = 0
    opened_at: int | None = None
    pause_until: int = 0
    misconfigured_until: int | None = None
    granted: int = 0
    released: int = 0


class Throttle(RuleBasedStateMachine):
    TIMEOUT = 60
    ATTEMPT = 20.0

    @initialize(limit=st.integers(1, 4), rpm=st.sampled_from([5, 20, 60, 600]), threshold=st.sampled_from([1, 2, 3, 5]))
    def begin(self, limit, rpm, threshold):
        self.now = 0
        self.threshold = threshold
        self.breaker = CircuitBreaker(threshold, self.TIMEOUT)
        self.admission = Admission(max_concurrent=limit, requests_per_minute=rpm, breaker=self.breaker)
        self.limit, self.rpm = limit, rpm
        self.model = Model()
        self.turn = self.admission.turn(0)

    # what can happen

    @rule(
        hold=st.sampled_from([float("inf"), 0.0, 1.0, 30.0, 600.0]),
        work=st.sampled_from([float("inf"), 0.0, 5.0, 100.0]),
    )
    def arrive(self, hold, work):
        self.ask(None, hold, work)

    @precondition(lambda self: self.model.sleeping)
    @rule(data=st.data(), hold=st.sampled_from([float("inf"), 30.0]))
    def come_back_for_a_retry(self, data, hold):
        index = data.draw(st.integers(0, len(self.model.sleeping) - 1))
        self.ask(self.model.sleeping.pop(index), hold, float("inf"))

    @precondition(lambda self: self.model.asking)
    @rule(data=st.data())
    def cancel_one_that_waits(self, data):
        before = self.breaker.snapshot()
        ticket = data.draw(st.sampled_from(sorted(self.model.asking)))
        del self.model.asking[ticket]
        self.admission.cancel(ticket, self.now)
        assert self.breaker.snapshot() == before
        self.take_turn()

    @rule(hold=st.sampled_from([float("inf"), 30.0]))
    def arrive_and_be_cancelled_in_the_tick_of_the_grant(self, hold):
        ticket = self.ask(None, hold, float("inf"), cancel_if_granted=True)
        if ticket in self.model.asking:
            del self.model.asking[ticket]
            self.admission.cancel(ticket, self.now)
            self.take_turn()

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), ending=st.sampled_from(ENDINGS), pause=st.sampled_from([0.0, 0.0, 0.0, 2.0, 90.0]))
    def finish(self, data, ending, pause):
        lease = data.draw(st.sampled_from(sorted(self.model.running)))
        self.start_if_it_had_to_ask_first(lease)
        wrong = WRONG_KEY if ending is Ending.MISCONFIGURED else None
        pause = pause if ending in {Ending.TOO_MANY, Ending.SERVER_ERROR} else 0.0
        self.end(lease, Verdict(ending, pause_seconds=pause, misconfiguration=wrong))

    @precondition(lambda self: self.model.running)
    @rule()
    def the_server_fails_everybody(self):
        for lease in sorted(self.model.running):
            if lease in self.model.running:
                self.start_if_it_had_to_ask_first(lease)
                self.end(lease, Verdict(Ending.NO_ANSWER))

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), verdict=st.sampled_from([Verdict(Ending.CANCELLED), Verdict(Ending.UNSENT)]))
    def cancel_or_hand_back_one_that_runs(self, data, verdict):
        lease = data.draw(st.sampled_from(sorted(self.model.running)))
        self.end(lease, verdict)

    @precondition(lambda self: any(lease.probe for lease in self.model.running.values()))
    @rule()
    def find_the_server_unhealthy(self):
        lease = next(number for number, lease in self.model.running.items() if lease.probe)
        self.end(lease, Verdict(Ending.UNHEALTHY))

    @precondition(lambda self: any(lease.check for lease in self.model.running.values()))
    @rule()
    def find_the_settings_still_wrong(self):
        lease = next(number for number, lease in self.model.running.items() if lease.check)
        self.end(lease, Verdict(Ending.UNSENT, misconfiguration=WRONG_KEY))

    @rule(limit=st.integers(1, 4))
    def change_the_limit(self, limit):
        self.limit = limit
        self.admission.set_limits(self.now, max_concurrent=limit)
        self.take_turn()

    @rule(rpm=st.sampled_from([5, 20, 60, 600]))
    def change_the_rate(self, rpm):
        self.rpm = rpm
        self.admission.set_limits(self.now, requests_per_minute=rpm)
        self.take_turn()

    @rule(seconds=st.sampled_from([0.5, 5.0, 90.0]))
    def the_owner_pauses(self, seconds):
        self.admission.pause(seconds, self.now, reason="an owner's order")
        self.model.pause_until = max(self.model.pause_until, self.now + ns(seconds))
        self.take_turn()

    @rule()
    def the_owner_resumes(self):
        self.admission.resume(self.now)
        self.model.pause_until = min(self.model.pause_until, self.now)
        self.take_turn()

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 7.5, 31.0, 61.0, 200.0]))
    def time_passes(self, seconds):
        """As a host does it: a turn whenever the machine asked for one."""
        until = self.now + ns(seconds)
        while self.turn.wake_at is not None and self.turn.wake_at <= until:
            assert self.turn.wake_at > self.now, "asks to be woken in the past: a host would spin"
            self.now = self.turn.wake_at
            self.take_turn()
        self.now = until
        self.take_turn()

    @rule(seconds=st.sampled_from([0.5, 2.0, 70.0]))
    def the_host_stalls(self, seconds):
        """Time passes and nobody asks the machine."""
        self.now += ns(seconds)
        self.take_turn()

    @rule(days=st.sampled_from([-1, 1]))
    def the_wall_clock_jumps(self, days):
        before, wake_at = self.admission.snapshot(), self.turn.wake_at
        with mock.patch("time.time", return_value=1_700_000_000.0 + days * 86_400):
            self.take_turn()
        assert (self.admission.snapshot(), self.turn.wake_at) == (before, wake_at)

    # how it is carried out

    def ask(self, place, hold, work, *, cancel_if_granted=False):
        ticket = self.admission.ask(
            self.now, place=place, hold_seconds=hold, work_seconds=work, attempt_seconds=self.ATTEMPT
        )
        self.model.asking[ticket] = Asking(ticket if place is None else place, self.now, hold, work)
        self.take_turn(cancel=ticket if cancel_if_granted else None)
        return ticket

    def start_if_it_had_to_ask_first(self, lease):
        running = self.model.running[lease]
        if (running.probe or running.check) and not running.gone:
            self.admission.start(lease, self.now)
            if running.at in self.model.starts:
                self.model.starts.remove(running.at)
            self.model.starts.append(self.now)
            running.at = self.now
            self.take_turn()

    def end(self, lease, verdict, *, take_turn=True):
        model, running, before = self.model, self.model.running.pop(lease), self.breaker.snapshot()
        assert self.admission.finish(lease, verdict, self.now)
        assert not self.admission.finish(lease, verdict, self.now), "released twice"
        model.released += 1
        self.judge(verdict, running, before)
        if not verdict.ending.was_sent and model.starts and model.starts[-1] == running.at:
            model.starts.pop()
        if verdict.pause_seconds:
            model.pause_until = max(model.pause_until, self.now + ns(verdict.pause_seconds))
        self.judge_settings(verdict, running)
        model.sleeping.append(running.place)
        if take_turn:
            self.take_turn()

    def judge(self, verdict, running, before):
        """Invariants 7 and 10, by a count of its own."""
        effect, current = verdict.ending.effect, running.generation == before.generation
        after = self.breaker.snapshot()
        if effect is Effect.NONE and current and before.state is CircuitState.HALF_OPEN:
            assert after.probe_until is None, "the probe's place is free again"
        if not current:
            assert after == before, "a result of an older generation changes nothing"
        if effect is Effect.NONE or not current:
            assert after._replace(probe_until=None) == before._replace(probe_until=None)
            return
        if before.state is CircuitState.CLOSED:
            self.model.failures = {Effect.SUCCESS: 0, Effect.FAILURE: self.model.failures + 1}.get(
                effect, self.model.failures
            )
            assert (after.state is CircuitState.OPEN) == (self.model.failures == self.threshold), "7: opened when?"
            return
        assert running.probe, "only a probe can be of a half-open generation"
        then = {
            Effect.SUCCESS: CircuitState.CLOSED,
            Effect.ALIVE: CircuitState.CLOSED,
            Effect.FAILURE: CircuitState.OPEN,
            Effect.NEUTRAL: CircuitState.HALF_OPEN,
        }
        assert after.state is then[effect]

    def judge_settings(self, verdict, running):
        model = self.model
        if verdict.misconfiguration is not None:
            if running.check or model.misconfigured_until is None:
                model.misconfigured_until = self.now + 30 * SECOND
        elif verdict.ending.effect is Effect.SUCCESS or (
            running.check and verdict.ending.was_sent and verdict.ending.effect is not Effect.NONE
        ):
            model.misconfigured_until = None
        elif running.check and verdict.ending is Ending.UNHEALTHY:
            model.misconfigured_until = self.now + 30 * SECOND

    def take_turn(self, *, cancel=None):
        self.turn = self.admission.turn(self.now)
        for event in self.turn.events:
            self.hear(event)
        for refusal in self.turn.refusals:
            asking = self.model.asking.pop(refusal.ticket)
            waited = (self.now - asking.asked) / SECOND
            assert refusal.waited.total == pytest.approx(waited, abs=1e-6)
        for grant in self.turn.grants:
            self.check_grant(grant)
        for grant in self.turn.grants:
            if grant.ticket == cancel:
                self.end(grant.lease, Verdict(Ending.UNSENT))

    def hear(self, event):
        model = self.model
        if isinstance(event, CircuitOpened):
            # A probe that hangs is out of the breaker's sight from now on.
            model.opened_at = self.now
            for running in model.running.values():
                running.gone = running.gone or running.probe
        elif isinstance(event, CircuitHalfOpen):
            assert model.opened_at is not None
            assert self.now >= model.opened_at + self.TIMEOUT * SECOND
            model.opened_at = None
        elif isinstance(event, CircuitClosed):
            model.failures = 0
            model.opened_at = None

    def check_grant(self, grant):
        model, asking = self.model, self.model.asking.pop(grant.ticket)
        assert grant.at == self.now
        assert asking.place == grant.place
        assert all(asking.place < other.place for other in model.asking.values()), "4: overtaken"
        assert len(model.running) < self.limit, "1: more in flight than allowed"
        assert model.opened_at is None, "6: a start while the circuit is open"
        assert self.now >= model.pause_until, "a start during a pause"
        if model.starts:
            assert self.now - model.starts[-1] >= 60 * SECOND / self.rpm, "2: too soon after the last start"
        waited = (self.now - asking.asked) / SECOND
        assert waited <= asking.hold, "9: a start after the deadline"
        assert grant.waited.slot + grant.waited.rate <= asking.work + 1e-6, "9: a start after the working time"
        assert grant.waited.total == pytest.approx(waited, abs=1e-6), "a wait whose parts do not add up"
        assert min(grant.waited.slot, grant.waited.rate, grant.waited.circuit, grant.waited.server_pause) >= 0
        assert grant.probe == (self.breaker.state is CircuitState.HALF_OPEN)
        assert grant.check == (model.misconfigured_until is not None)
        if grant.check:
            assert self.now >= model.misconfigured_until, "checked too soon"
            assert not any(running.check for running in model.running.values()), "two checkers"
        model.starts.append(self.now)
        model.granted += 1
        generation = self.admission.leases()[grant.lease].generation
        model.running[grant.lease] = Running(grant.place, grant.at, generation, grant.probe, grant.check, self.ATTEMPT)

    # what must be true after every step

    @invariant()
    def nothing_leaks_and_nothing_is_released_twice(self):
        assert self.model.granted - self.model.released == self.admission.in_flight == len(self.model.running)
        assert set(self.admission.leases()) == set(self.model.running)
        assert self.admission.waiting == len(self.model.asking)

    @invariant()
    def at_most_one_probe_is_out(self):
        probes = [running for running in self.model.running.values() if running.probe and not running.gone]
        assert len(probes) <= 1, "6: two probes"
        if self.breaker.state is CircuitState.HALF_OPEN:
            assert bool(probes) == self.breaker.probing

    @invariant()
    def it_is_open_for_exactly_the_configured_time(self):
        if self.model.opened_at is not None:
            assert self.breaker.state is CircuitState.OPEN
            assert self.now < self.model.opened_at + self.TIMEOUT * SECOND
        else:
            assert self.breaker.state is not CircuitState.OPEN

    @invariant()
    def whoever_may_start_has_started(self):
        if self.model.asking:
            assert not self.may_start(self.now), "5: a grant is missing"

    @invariant()
    def whoever_is_out_of_time_has_left(self):
        for asking in self.model.asking.values():
            assert (self.now - asking.asked) / SECOND < asking.hold or asking.hold == float("inf")

    @invariant()
    def it_asks_to_be_woken_before_anybody_may_start(self):
        if not self.model.asking:
            return
        for moment in self.moments():
            if self.may_start(moment):
                assert self.turn.wake_at is not None
                assert self.turn.wake_at <= moment
                break

    def moments(self):
        model = self.model
        known = {model.pause_until, model.misconfigured_until or 0}
        if model.starts:
            known.add(model.starts[-1] + -(-60 * SECOND // self.rpm))
        if model.opened_at is not None:
            known.add(model.opened_at + self.TIMEOUT * SECOND)
        return sorted(moment for moment in known if moment > self.now)

    def may_start(self, moment):
        """Written from the promise: circuit closed or nobody probing, no pause, a free slot, the pace."""
        model = self.model
        circuit = (
            moment >= model.opened_at + self.TIMEOUT * SECOND
            if model.opened_at is not None
            else not any(running.probe and not running.gone for running in model.running.values())
        )
        settings_right = model.misconfigured_until is None or (
            moment >= model.misconfigured_until and not any(running.check for running in model.running.values())
        )
        pace = not model.starts or moment - model.starts[-1] >= 60 * SECOND / self.rpm
        return circuit and settings_right and moment >= model.pause_until and len(model.running) < self.limit and pace


TestThrottle = Throttle.TestCase
TestThrottle.settings = settings(
    max_examples=500,
    stateful_step_count=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
