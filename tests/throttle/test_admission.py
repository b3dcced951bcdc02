import gc
import json
import random
import tracemalloc

import pytest

from scraper.events import CircuitOpened, EndpointMisconfigured, EndpointPaused
from scraper.throttle.admission import Admission
from scraper.throttle.circuit_breaker import CircuitBreaker, CircuitState
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.verdict import Ending, Misconfiguration, Verdict

WRONG_KEY = Misconfiguration(401, "VLLM_API_KEY", "set the right one")
ANSWERED, FAILED = Verdict(Ending.ANSWERED), Verdict(Ending.NO_ANSWER)
UNSENT, CANCELLED = Verdict(Ending.UNSENT), Verdict(Ending.CANCELLED)


class Bench:
    """An admission and its clock, for tests of a few lines. Times are seconds."""

    def __init__(self, *, limit=2, rpm=20, threshold=5, timeout=60):
        self.breaker = CircuitBreaker(threshold, timeout)
        self.admission = Admission(max_concurrent=limit, requests_per_minute=rpm, breaker=self.breaker)
        self.events, self.refusals = [], []
        self.granted = {}  # ticket → grant

    def turn(self, at):
        turn = self.admission.turn(ns(at))
        self.events += turn.events
        self.refusals += turn.refusals
        self.granted |= {grant.ticket: grant for grant in turn.grants}
        self.wake_at = None if turn.wake_at is None else turn.wake_at / SECOND
        return [grant.ticket for grant in turn.grants]

    def ask(self, at, **asked):
        ticket = self.admission.ask(ns(at), **asked)
        self.turn(at)
        return ticket

    def finish(self, ticket, at, verdict=ANSWERED):
        self.admission.finish(self.granted[ticket].lease, verdict, ns(at))
        return self.turn(at)

    def cancel(self, ticket, at):
        self.admission.cancel(ticket, ns(at))
        return self.turn(at)

    def opened(self, at=0.0):
        """With the circuit open since `at`, nothing in flight."""
        self.breaker.open(ns(at))
        self.turn(at)
        return self


@pytest.fixture
def bench():
    return Bench()


# one queue, one decision


def test_the_first_goes_at_once_and_the_second_when_the_pace_allows(bench):
    first, second = bench.ask(0), bench.ask(0)
    assert list(bench.granted) == [first]
    assert bench.wake_at == 3
    assert bench.turn(2.999) == []
    assert bench.turn(3) == [second]


def test_two_who_wait_for_slots_do_not_start_together_when_both_come_free():
    bench = Bench(limit=2)
    first, second = bench.ask(0), bench.ask(3)
    third, fourth = bench.ask(3), bench.ask(3)
    assert bench.turn(20) == []
    bench.admission.finish(bench.granted[first].lease, ANSWERED, ns(20))
    bench.admission.finish(bench.granted[second].lease, ANSWERED, ns(20))
    assert bench.turn(20) == [third]
    assert bench.turn(22.999) == []
    assert bench.turn(23) == [fourth]


def test_newcomers_never_overtake_and_a_retry_keeps_its_calls_place(bench):
    old = bench.ask(0)
    waiting = [bench.ask(0) for _ in range(3)]
    bench.finish(old, 1, FAILED)
    retry = bench.ask(2, place=bench.granted[old].place)
    assert [bench.turn(at) for at in (3, 6)] == [[retry], [waiting[0]]]


def test_a_freed_slot_is_granted_in_the_same_turn():
    bench = Bench(limit=1)
    first, second = bench.ask(0), bench.ask(0)
    assert bench.finish(first, 100) == [second]


# cancellation, in every row


def test_cancelled_in_line_leaves_no_trace(bench):
    bench.ask(0)
    second, third = bench.ask(0), bench.ask(0)
    bench.cancel(second, 1)
    assert bench.turn(3) == [third]


def test_cancelled_in_the_tick_of_its_grant_gives_slot_and_pace_to_the_next():
    bench = Bench(limit=1)
    first = bench.ask(0)
    second, third = bench.ask(0), bench.ask(0)
    bench.finish(first, 1)
    assert bench.turn(3) == [second]
    assert bench.finish(second, 3, UNSENT) == [third]


def test_the_pace_is_not_refunded_once_a_later_grant_was_given(bench):
    first, second = bench.ask(0), bench.ask(0)
    bench.turn(3)
    third = bench.ask(3)
    assert bench.finish(first, 3.5, UNSENT) == []
    assert bench.turn(5.999) == []
    assert bench.turn(6) == [third]
    assert bench.granted[second].at == ns(3)


def test_cancelled_while_running_gives_the_slot_back_and_keeps_the_pace():
    bench = Bench(limit=1)
    first, second = bench.ask(0), bench.ask(0)
    assert bench.finish(first, 1, CANCELLED) == []
    assert bench.turn(3) == [second]


def test_a_lease_is_given_back_once():
    bench = Bench(limit=1)
    first = bench.ask(0)
    lease = bench.granted[first].lease
    assert bench.admission.finish(lease, ANSWERED, ns(1)) is True
    assert bench.admission.finish(lease, FAILED, ns(1)) is False
    assert bench.breaker.failures == 0
    assert bench.admission.in_flight == 0


def test_cancelling_changes_neither_breaker_nor_failures(bench):
    for at in (0, 3, 6):
        bench.finish(bench.ask(at), at + 1, FAILED)
    bench.finish(bench.ask(9), 10, CANCELLED)
    assert (bench.breaker.failures, bench.breaker.state) == (3, CircuitState.CLOSED)


# deadlines


def test_out_of_time_in_line_takes_nothing_along():
    bench = Bench(limit=1)
    first = bench.ask(0)
    second = bench.ask(0, hold_seconds=10)
    third = bench.ask(0)
    assert bench.wake_at == 3
    assert bench.turn(10) == []
    assert [(refusal.ticket, refusal.out_of, refusal.reason) for refusal in bench.refusals] == [
        (second, "hold", "slot")
    ]
    assert bench.finish(first, 11) == [third]


def test_who_cannot_make_it_by_the_pace_alone_is_refused_at_once(bench):
    for _ in range(5):
        bench.ask(0)
    hopeless = bench.ask(0, work_seconds=14.9)
    just_so = bench.ask(0, work_seconds=15)
    assert [(refusal.ticket, refusal.out_of, refusal.reason) for refusal in bench.refusals] == [
        (hopeless, "work", "rate")
    ]
    assert bench.admission.waiting == 5
    assert just_so not in bench.granted


def test_who_may_be_held_for_too_short_a_time_is_held_all_the_same():
    """Refused at once, its consumer would take the next message, and all of the queue would be turned over."""
    bench = Bench().opened()
    bench.ask(10, hold_seconds=49)
    bench.admission.pause(3600, ns(10), reason="an owner's order")
    bench.ask(11, hold_seconds=48)
    bench.turn(58.9)
    assert bench.refusals == []
    bench.turn(59)
    assert [(refusal.out_of, refusal.reason) for refusal in bench.refusals] == [("hold", "circuit")] * 2


def test_held_time_is_not_working_time():
    bench = Bench().opened()
    patient = bench.ask(0, work_seconds=5)
    assert bench.turn(60) == [patient]


def test_working_time_runs_while_slots_or_pace_hold_back():
    bench = Bench(limit=1)
    bench.ask(0)
    late = bench.ask(0, work_seconds=20)
    bench.admission.pause(30, ns(5), reason="429")
    bench.turn(5)
    assert bench.turn(49.9) == []
    assert bench.refusals == []
    bench.turn(50)
    assert [(refusal.ticket, refusal.out_of) for refusal in bench.refusals] == [(late, "work")]
    assert bench.refusals[0].waited.server_pause == 30


def test_without_patience_it_is_now_or_never(bench):
    now = bench.ask(0, hold_seconds=0)
    never = bench.ask(0, hold_seconds=0)
    assert list(bench.granted) == [now]
    assert [refusal.ticket for refusal in bench.refusals] == [never]


# limits at run time


def test_a_lowered_limit_revokes_nothing_and_holds_back():
    bench = Bench(limit=3)
    tickets = [bench.ask(at) for at in (0, 3, 6)]
    waiting = bench.ask(9)
    bench.admission.set_limits(ns(9), max_concurrent=1)
    assert bench.admission.in_flight == 3
    assert bench.finish(tickets[0], 20) == []
    assert bench.finish(tickets[1], 21) == []
    assert bench.finish(tickets[2], 22) == [waiting]


def test_a_raised_limit_wakes_the_head():
    bench = Bench(limit=1)
    bench.ask(0)
    waiting = bench.ask(10)
    bench.admission.set_limits(ns(11), max_concurrent=2)
    assert bench.turn(11) == [waiting]


def test_a_changed_rate_counts_from_the_last_start(bench):
    bench.ask(0)
    waiting = bench.ask(1)
    bench.admission.set_limits(ns(2), requests_per_minute=10)
    assert bench.turn(5.999) == []
    assert bench.turn(6) == [waiting]


# circuit


def test_one_of_fifty_probes_and_its_success_lets_the_others_go():
    bench = Bench(limit=4, rpm=60).opened()
    tickets = [bench.ask(1) for _ in range(50)]
    assert bench.turn(59.999) == []
    assert bench.turn(60) == [tickets[0]]
    assert bench.granted[tickets[0]].probe
    assert bench.turn(70) == []
    assert bench.finish(tickets[0], 71) == [tickets[1]]
    assert not bench.granted[tickets[1]].probe


def test_an_unhealthy_probe_opens_again_and_gives_slot_and_pace_back():
    bench = Bench().opened()
    probe, other = bench.ask(0), bench.ask(0)
    bench.turn(60)
    assert bench.finish(probe, 61, Verdict(Ending.UNHEALTHY)) == []
    assert bench.turn(120.999) == []
    assert bench.turn(121) == [other]


def test_a_cancelled_probe_passes_its_place_on():
    bench = Bench().opened()
    probe, other = bench.ask(0), bench.ask(0)
    bench.turn(60)
    assert bench.finish(probe, 61, UNSENT) == [other]
    assert bench.granted[other].probe


def test_a_probe_that_asked_for_health_first_keeps_the_distance_from_its_real_start():
    bench = Bench().opened()
    probe, other = bench.ask(0), bench.ask(0)
    bench.turn(60)
    bench.admission.start(bench.granted[probe].lease, ns(64))
    assert bench.finish(probe, 65) == []
    assert bench.turn(67) == [other]


def test_a_probe_hangs_five_seconds_after_its_attempt_should_have_ended():
    bench = Bench().opened()
    bench.ask(0, attempt_seconds=30)
    bench.turn(60)
    bench.turn(94.999)
    assert bench.breaker.state is CircuitState.HALF_OPEN
    bench.turn(95)
    assert bench.breaker.state is CircuitState.OPEN
    assert isinstance(bench.events[-1], CircuitOpened)


def test_the_time_that_a_probe_asks_for_health_is_none_of_its_attempts():
    bench = Bench().opened()
    probe = bench.ask(0, attempt_seconds=30)
    bench.turn(60)
    bench.admission.start(bench.granted[probe].lease, ns(64))
    bench.turn(98.999)
    assert bench.breaker.state is CircuitState.HALF_OPEN
    bench.turn(99)
    assert bench.breaker.state is CircuitState.OPEN


def test_late_results_from_before_the_circuit_opened_do_not_matter():
    bench = Bench(limit=2, threshold=1)
    slow, failing = bench.ask(0), bench.ask(3)
    bench.turn(3)
    bench.finish(failing, 4, FAILED)
    bench.finish(slow, 30, FAILED)
    waiting = bench.ask(31)
    assert bench.turn(63.999) == []
    assert bench.turn(64) == [waiting]


# pauses


def test_a_pause_holds_everybody_and_only_grows(bench):
    bench.admission.pause(10, 0, reason="429 with Retry-After")
    bench.admission.pause(4, ns(1), reason="429 with Retry-After")
    waiting = bench.ask(1)
    assert bench.turn(9.999) == []
    assert bench.turn(10) == [waiting]
    assert bench.events == [EndpointPaused(10, "429 with Retry-After")]


def test_a_pause_can_be_ended(bench):
    bench.admission.pause(1000, 0, reason="maintenance")
    waiting = bench.ask(1)
    bench.admission.resume(ns(2))
    assert bench.turn(2) == [waiting]


def test_a_hint_pauses_others_too(bench):
    bench.finish(bench.ask(0), 1, Verdict(Ending.TOO_MANY, pause_seconds=20))
    other = bench.ask(2)
    assert bench.turn(20.999) == []
    assert bench.turn(21) == [other]


# wrong settings


def misconfigured(bench):
    bench.finish(bench.ask(0), 1, Verdict(Ending.MISCONFIGURED, misconfiguration=WRONG_KEY))
    return bench


def test_a_wrong_setting_is_named_and_holds_everybody_until_the_check(bench):
    misconfigured(bench)
    first, second = bench.ask(2), bench.ask(2)
    assert bench.events == [EndpointMisconfigured(401, "VLLM_API_KEY", "set the right one", 30.0)]
    assert bench.turn(30.999) == []
    assert bench.turn(31) == [first]
    assert bench.granted[first].check
    assert bench.turn(40) == []
    assert bench.finish(first, 41) == [second]
    assert not bench.granted[second].check


def test_a_check_that_finds_it_still_wrong_holds_for_another_thirty_seconds(bench):
    misconfigured(bench)
    first, second = bench.ask(2), bench.ask(2)
    bench.turn(31)
    assert bench.finish(first, 32, Verdict(Ending.UNSENT, misconfiguration=WRONG_KEY)) == []
    assert len(bench.events) == 2
    assert bench.turn(61.999) == []
    assert bench.turn(62) == [second]


def test_a_checker_that_leaves_hands_the_check_on(bench):
    misconfigured(bench)
    first, second = bench.ask(2), bench.ask(2)
    bench.turn(31)
    bench.finish(first, 32, CANCELLED)
    assert bench.turn(34) == [second]
    assert bench.granted[second].check


def test_several_who_find_it_out_together_tell_it_once(bench):
    first, second = bench.ask(0), bench.ask(3)
    bench.finish(first, 4, Verdict(Ending.MISCONFIGURED, misconfiguration=WRONG_KEY))
    bench.finish(second, 5, Verdict(Ending.MISCONFIGURED, misconfiguration=WRONG_KEY))
    assert len(bench.events) == 1


def test_an_answer_proves_the_settings_right(bench):
    first, second = bench.ask(0), bench.ask(3)
    bench.finish(first, 4, Verdict(Ending.MISCONFIGURED, misconfiguration=WRONG_KEY))
    bench.finish(second, 5, ANSWERED)
    third = bench.ask(6)
    assert third in bench.granted


# what a wait was spent on


def test_a_wait_is_split_by_what_caused_it():
    bench = Bench(limit=1)
    first = bench.ask(0)
    waiter = bench.ask(0)
    bench.turn(3)
    bench.finish(first, 10, Verdict(Ending.TOO_MANY, pause_seconds=20))
    bench.turn(30)
    waited = bench.granted[waiter].waited
    assert (waited.slot, waited.rate, waited.circuit, waited.server_pause) == (10, 0, 0, 20)


def test_where_slot_and_pace_both_block_the_last_to_give_way_is_to_blame():
    bench = Bench(limit=1)
    first, second = bench.ask(0), bench.ask(1)
    bench.finish(first, 2)
    bench.turn(3)
    assert bench.granted[second].waited.rate == 2
    third = bench.ask(3)
    bench.turn(6)
    bench.finish(second, 8)
    assert (bench.granted[third].waited.slot, bench.granted[third].waited.rate) == (5, 0)


def test_who_came_in_the_middle_of_it_is_charged_only_its_own_part():
    bench = Bench(limit=1)
    first = bench.ask(0)
    early, late = bench.ask(0), bench.ask(2)
    bench.turn(3)
    bench.finish(first, 8)
    assert bench.granted[early].waited.slot == 8
    bench.finish(early, 9)
    bench.turn(11)
    waited = bench.granted[late].waited
    assert (waited.slot, waited.rate) == (6, 3)


def test_a_late_turn_books_each_piece_to_its_reason():
    bench = Bench().opened()
    waiter = bench.ask(0)
    bench.admission.pause(90, 0, reason="x")
    bench.turn(95)
    waited = bench.granted[waiter].waited
    assert (waited.circuit, waited.server_pause, waited.rate) == (60, 30, 5)


# where one stands


def test_standing_names_reason_position_and_estimate(bench):
    bench.ask(0)
    bench.ask(0)
    third = bench.ask(0)
    standing = bench.admission.standing(third, ns(1))
    assert (standing.reason, standing.position, standing.estimated_wait_seconds) == ("rate", 2, 5)


def test_where_slots_are_scarce_the_estimate_learns_from_attempts():
    bench = Bench(limit=1, rpm=600)
    bench.finish(bench.ask(0), 10)
    bench.ask(20)
    waiting = bench.ask(20)
    assert bench.admission.standing(waiting, ns(21)).estimated_wait_seconds == 10


def test_who_waits_no_more_stands_nowhere(bench):
    assert bench.admission.standing(bench.ask(0), 0) is None


# outliving its host


def test_it_goes_on_from_a_snapshot_that_went_through_json():
    bench = Bench(limit=2)
    first = bench.ask(0, owner="1234:567")
    for at in (3, 6, 9):
        bench.finish(bench.ask(at), at + 1, FAILED)
    bench.admission.pause(5, ns(10), reason="x")
    snapshot = json.loads(json.dumps(bench.admission.snapshot()))
    other = Bench(limit=9, rpm=999)
    other.admission.restore(snapshot)
    assert other.admission.snapshot() == bench.admission.snapshot()
    assert [lease.owner for lease in other.admission.leases().values()] == ["1234:567"]
    waiting = other.ask(11)
    assert other.turn(14.999) == []
    assert other.turn(15) == [waiting]
    assert other.admission.finish(bench.granted[first].lease, FAILED, ns(16))
    assert other.breaker.failures == 4


def test_what_was_started_before_a_takeover_is_never_refunded():
    bench = Bench(limit=2)
    first = bench.ask(10)
    other = Bench()
    other.admission.restore(json.loads(json.dumps(bench.admission.snapshot())))
    other.admission.finish(bench.granted[first].lease, UNSENT, ns(10))
    waiting = other.ask(11)
    assert other.turn(12.999) == []
    assert other.turn(13) == [waiting]


# cost


def test_memory_stays_flat_over_a_hundred_thousand_refusals():
    admission = Admission()
    admission.breaker.open(0)

    def refused(count):
        for _ in range(count):
            admission.ask(1, hold_seconds=0)
            assert len(admission.turn(1).refusals) == 1

    refused(1000)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    refused(100_000)
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000
    assert peak - before < 100_000


def test_a_thousand_waiters_who_come_and_go_leave_nothing_behind():
    rng, bench = random.Random(7), Bench(limit=1)
    bench.ask(0)
    waiting = [bench.ask(1, hold_seconds=10_000) for _ in range(1000)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(20_000):
        leaving = rng.randrange(len(waiting))
        bench.admission.cancel(waiting[leaving], ns(1))
        waiting[leaving] = bench.admission.ask(ns(1), hold_seconds=10_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2_000_000
    assert bench.admission.waiting == 1000


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match="max_concurrent"):
        Admission(max_concurrent=limit)


@pytest.mark.parametrize(
    ("per_minute", "seconds"), [(20, 1.0), (60, 0.5), (600, 0.05), (3_000, 0.01), (6_000, 0.01), (60_000, 0.01)]
)
def test_a_grant_is_good_for_half_the_distance_within_what_a_loop_can_do(per_minute, seconds):
    bench = Bench(rpm=per_minute)
    grant = bench.granted[bench.ask(7.0)]
    assert grant.write_by - grant.at == ns(seconds)
