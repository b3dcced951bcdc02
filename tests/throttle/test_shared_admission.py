"""One admission for many processes: who is told what, and what becomes of what they hold. Pure; times in seconds."""

import gc
import json
import sys

import pytest

from scraper.events import (
    CircuitOpened,
    EndpointPaused,
    LeaseReaped,
    ThrottleLimitsDiffer,
    ThrottleOrdered,
    ThrottleScopeExceeded,
    ThrottleSettingsOverruled,
)
from scraper.host import Process, this_process
from scraper.throttle.brought_limits import DIFFER_SECONDS
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import (
    Ask,
    BadLine,
    Brings,
    Cancel,
    Command,
    Finds,
    Granted,
    Holds,
    Ping,
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
from scraper.throttle.scope import CONFIRM_SECONDS
from scraper.throttle.shared_admission import GATHER_SECONDS, SharedAdmission
from scraper.throttle.snapshot_file import Unusable
from scraper.throttle.verdict import UNSENT, Ending, Misconfiguration, Verdict
from scraper.throttle.verdict_message import finish_of

HERE = this_process()
DEAD = Process(HERE.pid, HERE.started + 1)  # its pid was used again
UNSEEN = Process(0, 0)
LIMITS = Brings(max_concurrent=2, requests_per_minute=60, threshold=5, timeout_seconds=60)
T = 1.0


class Host:
    """A shared admission with its members' mailboxes."""

    def __init__(self, shared=None, *, fresh=True):
        self.shared = shared or SharedAdmission()
        self.boxes = {}
        self.events = []
        self.turn = None
        if fresh:
            self.shared.restore(
                SharedAdmission().snapshot(), 0, same_pids=True
            )  # not the first host ever: no first wait

    def join(self, token, *, at=0.0, brings=LIMITS, process=HERE, holds=(), finishes=()):
        self.shared.join(token, process, ns(at))
        self.say(token, brings, *holds, *finishes, Ready(), at=at)

    def say(self, token, *messages, at):
        for message in messages:
            self.shared.take(token, message, ns(at))
        return self.pass_to(at)

    def pass_to(self, at):
        self.turn = self.shared.turn(ns(at))
        for token, messages in self.turn.messages.items():
            self.boxes.setdefault(token, []).extend(messages)
        self.events += self.turn.events
        return self.turn

    def told(self, token, kind):
        return [message for message in self.boxes.get(token, []) if isinstance(message, kind)]

    def granted(self, token):
        return [message.id for message in self.told(token, Granted)]

    def lease(self, token, number):
        return next(message.lease for message in self.told(token, Granted) if message.id == number)

    def successor(self, at, *, same_pids=True):
        """Whoever takes over from what was written down; through JSON, as on disk."""
        shared = SharedAdmission()
        shared.restore(json.loads(json.dumps(self.shared.snapshot())), ns(at), same_pids=same_pids)
        return Host(shared, fresh=False)

    def status(self, at):
        return self.shared.status(ns(at))


def ask(number, *, place=None, hold=None, work=None, attempt=10.0):
    return Ask(number, place, hold, work, attempt)


def finish(lease, ending=Ending.ANSWERED):
    return finish_of(lease, Verdict(ending))


@pytest.fixture
def host():
    host = Host()
    host.join("a")
    host.join("b")
    return host


# --- one line for all ----------------------------------------------------------------------------------------------


def test_members_are_served_in_the_order_of_their_asking_at_the_pace_of_one(host):
    host.say("a", ask(1), at=0)
    host.say("b", ask(1), at=0)
    host.say("a", ask(2), at=0)
    grants = []
    for second in range(4):
        host.say("b", Ping(), at=second * T)
        for token in ("a", "b"):
            for granted in host.told(token, Granted):
                if (token, granted.id) not in grants:
                    grants.append((token, granted.id))
                    host.say(token, finish(granted.lease), at=second * T)
    assert grants == [("a", 1), ("b", 1), ("a", 2)]


def test_the_slots_are_those_of_all_members_together(host):
    host.say("a", ask(1), ask(2), at=0)
    host.say("b", ask(1), at=0)
    host.pass_to(T)
    host.pass_to(2 * T)
    assert (host.granted("a"), host.granted("b")) == ([1, 2], [])
    host.say("a", finish(host.lease("a", 1)), at=2.5 * T)
    assert host.granted("b") == [1]


def test_five_failures_of_different_members_open_the_circuit_for_all(host):
    for number in range(5):
        token = "ab"[number % 2]
        host.say(token, ask(number), at=number * T)
        host.say(token, finish(host.lease(token, number), Ending.NO_ANSWER), at=number * T)
    assert [type(event) for event in host.events] == [CircuitOpened]
    assert {host.told(token, State)[-1].blocked_by for token in "ab"} == {"circuit"}


def test_a_refusal_says_what_it_ran_out_of(host):
    host.say("a", ask(1), at=0)
    host.say("b", ask(1, hold=0.5), at=0)
    host.pass_to(0.5)
    (refused,) = host.told("b", Refused)
    assert (refused.out_of, refused.reason) == ("hold", "rate")


def test_who_waits_is_told_its_place_and_estimate_a_little_later(host):
    host.say("a", ask(1), at=0)
    host.say("b", ask(1), at=0)
    assert host.told("b", Standing) == []
    host.pass_to(0.06)
    (standing,) = host.told("b", Standing)
    assert (standing.id, standing.position, standing.reason, standing.in_flight) == (1, 1, "rate", 1)


def test_where_one_stands_can_be_asked_again(host):
    host.say("a", ask(1), ask(2), at=0)
    host.pass_to(0.1)
    host.say("a", Where(2), at=0.2)
    host.pass_to(0.3)
    assert [standing.position for standing in host.told("a", Standing)] == [2, 1]  # before and after the first went


def test_who_left_the_line_is_not_granted(host):
    host.say("a", ask(1), at=0)
    host.say("b", ask(1), ask(2), at=0)
    host.say("b", Cancel(1), at=0.5)
    host.pass_to(T)
    assert host.granted("b") == [2]


def test_a_grant_handed_back_refunds_its_pace(host):
    host.say("a", ask(1), at=0)
    host.say("a", finish_of(host.lease("a", 1), UNSENT), at=0.2)
    host.say("b", ask(1), at=0.3)
    assert host.granted("b") == [1]


def test_a_ping_is_answered(host):
    host.say("a", Ping(), at=0)
    assert host.told("a", Pong) == [Pong()]


def test_nobody_gives_back_what_is_anothers(host):
    host.say("a", ask(1), at=0)
    host.say("b", finish(host.lease("a", 1)), at=0.1)
    assert host.status(0.1)["in_flight"] == 1


def test_giving_back_twice_counts_once(host):
    host.say("a", ask(1), at=0)
    lease = host.lease("a", 1)
    host.say("a", finish(lease, Ending.NO_ANSWER), finish(lease, Ending.NO_ANSWER), at=0.1)
    assert host.status(0.1)["circuit"]["failures"] == 1


# --- members that go ----------------------------------------------------------------------------------------------


def test_a_dead_members_slots_and_waiters_are_back_at_once():
    host = Host()
    host.join("a", process=DEAD)
    host.join("b")
    host.say("a", ask(1), ask(2), ask(3), at=0)
    host.pass_to(T)
    host.shared.lose("a", ns(1.5))
    host.say("b", ask(1), at=1.5)
    host.pass_to(2 * T)
    assert host.granted("b") == [1]
    assert (host.status(2)["waiting"], host.status(2)["in_flight"]) == (0, 1)


def test_a_member_that_only_lost_its_connection_keeps_its_leases_until_it_is_back(host):
    host.say("a", ask(1), at=0)
    lease = host.lease("a", 1)
    host.shared.lose("a", ns(1))
    assert host.status(1)["in_flight"] == 1
    host.join("a", at=2, holds=[Holds(lease, 0, False, False, 10.0)])  # noqa: FBT003 - a message
    assert host.status(2)["in_flight"] == 1
    assert host.told("a", Revoked) == []
    host.say("a", finish(lease), at=3)
    assert host.status(3)["in_flight"] == 0


def test_a_member_without_a_visible_process_lives_as_long_as_its_connection():
    host = Host()
    host.join("a", process=UNSEEN)
    host.say("a", ask(1), at=0)
    host.shared.lose("a", ns(1))
    assert host.status(1)["in_flight"] == 0


def test_what_a_returning_member_does_not_tell_of_it_never_received(host):
    host.say("a", ask(1), at=0)
    host.shared.lose("a", ns(0.5))
    host.join("a", at=0.6)
    assert host.status(0.6)["in_flight"] == 0


def test_a_member_that_connects_anew_waits_no_more_where_it_waited(host):
    host.say("a", ask(1), ask(2), at=0)
    host.join("a", at=0.5)
    assert host.status(0.5)["waiting"] == 0


def test_a_dead_probes_place_passes_to_the_next():
    host = Host()
    host.join("a", process=DEAD)
    host.join("b")
    host.shared.obey(Command("open", None, None, None), 0)
    host.say("a", ask(1), at=0)
    host.say("b", ask(1), at=0)
    host.pass_to(60)
    assert host.told("a", Granted)[0].probe
    host.shared.lose("a", ns(62))
    host.pass_to(62)
    assert host.told("b", Granted)[0].probe


# --- leases that are not given back --------------------------------------------------------------------------------


def test_a_lease_older_than_its_attempt_and_thirty_seconds_is_reaped_and_its_holder_told(host):
    host.say("a", ask(1, attempt=10), at=0)
    host.pass_to(39.9)
    assert host.status(39.9)["in_flight"] == 1
    host.pass_to(40)
    assert host.status(40)["in_flight"] == 0
    assert host.told("a", Revoked) == [Revoked(host.lease("a", 1))]
    assert host.events == [LeaseReaped(HERE.pid, 40.0)]


def test_the_host_is_told_to_look_again_when_a_lease_is_due(host):
    turn = host.say("a", ask(1, attempt=10), at=0)
    assert turn.wake_at == ns(40)


def test_who_comes_back_with_a_reaped_lease_is_told_to_stop(host):
    host.say("a", ask(1, attempt=10), at=0)
    lease = host.lease("a", 1)
    host.shared.lose("a", ns(1))
    host.pass_to(40)
    host.join("a", at=50, holds=[Holds(lease, 0, False, False, 10.0)])  # noqa: FBT003 - a message
    assert host.told("a", Revoked) == [Revoked(lease)]


# --- takeover -----------------------------------------------------------------------------------------------------


def test_a_successor_keeps_pace_slots_and_place(host):
    host.say("a", ask(1), at=0)
    host.say("b", ask(1), ask(2), at=0.1)
    host.pass_to(0.2)
    places = {standing.id: standing.place for standing in host.told("b", Standing)}
    after = host.successor(0.3)
    after.join("b", at=0.3)
    after.say("b", ask(2, place=places[2]), ask(1, place=places[1]), at=0.3)
    after.join("a", at=0.3, holds=[Holds(host.lease("a", 1), 0, False, False, 10.0)])  # noqa: FBT003 - a message
    after.say("a", ask(2), at=0.3)
    after.pass_to(0.99)
    assert after.granted("b") == []
    after.pass_to(T)
    after.pass_to(2 * T)
    assert (after.granted("b"), after.granted("a")) == ([1], [])  # two slots: a's of old, and this
    after.say("a", finish(host.lease("a", 1)), at=2.5)
    assert (after.granted("b"), after.granted("a")) == ([1, 2], [])


def test_a_successor_grants_nothing_before_the_others_are_back(host):
    host.say("a", ask(1), at=0)
    after = host.successor(5)
    after.join("b", at=5)
    after.say("b", ask(1), at=5)
    assert after.granted("b") == []
    after.join("a", at=5.2)
    assert after.granted("b") == [1]


def test_a_successor_waits_no_longer_than_a_moment_for_those_who_do_not_come(host):
    after = host.successor(5)
    after.join("b", at=5)
    after.say("b", ask(1), at=5)
    turn = after.pass_to(5 + GATHER_SECONDS / 2)
    assert (after.granted("b"), turn.wake_at) == ([], ns(5 + GATHER_SECONDS))
    after.pass_to(5 + GATHER_SECONDS)
    assert after.granted("b") == [1]


def test_a_lease_counts_until_its_owner_is_back_gone_or_overdue(host):
    host.say("a", ask(1, attempt=10), at=0)
    after = host.successor(2)
    after.join("b", at=2)
    after.say("b", ask(1), ask(2), at=2)
    after.pass_to(4)
    after.pass_to(5)
    assert after.granted("b") == [1]
    after.pass_to(40)
    assert after.granted("b") == [1, 2]
    assert isinstance(after.events[-1], LeaseReaped)


def test_leases_of_processes_that_are_gone_are_free_at_the_takeover():
    host = Host()
    host.join("a", process=DEAD)
    host.say("a", ask(1), at=0)
    assert host.successor(2).status(2)["in_flight"] == 0


def test_pids_of_another_container_say_nothing_about_who_is_gone():
    host = Host()
    host.join("a", process=DEAD)
    host.say("a", ask(1), at=0)
    assert host.successor(2, same_pids=False).status(2)["in_flight"] == 1


def test_the_circuit_stays_open_over_a_takeover_and_for_exactly_its_time(host):
    host.shared.obey(Command("open", None, None, None), ns(1))
    host.pass_to(1)
    after = host.successor(30)
    after.join("a", at=30)
    after.join("b", at=30)
    after.say("a", ask(1), at=30)
    after.pass_to(60.9)
    assert after.granted("a") == []
    after.pass_to(61)
    assert after.told("a", Granted)[0].probe


def test_a_verdict_told_twice_over_a_takeover_is_judged_once(host):
    host.say("a", ask(1), at=0)
    verdict = finish(host.lease("a", 1), Ending.NO_ANSWER)
    host.say("a", verdict, at=0.5)
    after = host.successor(1)
    after.join("a", at=1, finishes=[verdict])
    assert after.status(1)["circuit"]["failures"] == 1
    assert after.status(1)["in_flight"] == 0


def test_a_verdict_that_was_not_written_down_is_told_again_and_counts(host):
    host.say("a", ask(1), at=0)
    after = host.successor(0.5)
    after.join("a", at=0.5, finishes=[finish(host.lease("a", 1), Ending.NO_ANSWER)])
    assert after.status(0.5)["circuit"]["failures"] == 1


def test_a_verdict_is_settled_with_the_next_grant_to_the_same_member_which_is_written_down(host):
    """A message and a wake of its own would cost more than it tells."""
    host.say("a", ask(1), at=0)
    turn = host.say("a", finish(host.lease("a", 1)), ask(2), at=0.5)
    assert (turn.changed, settled(host, "a")) == (False, [0])
    turn = host.pass_to(T)
    assert (turn.changed, settled(host, "a")) == (True, [0, 1])


def test_verdicts_told_again_to_a_successor_are_counted_afresh(host):
    host.say("a", ask(1), at=0)
    host.say("a", finish(host.lease("a", 1)), ask(2), at=0.5)
    host.pass_to(T)
    last = finish(host.lease("a", 2))
    after = host.successor(T)
    after.join("a", at=T, finishes=[last])
    after.say("a", ask(3), at=T)
    after.pass_to(2 * T)
    assert settled(after, "a") == [1]


def settled(host, token):
    return [granted.settled for granted in host.told(token, Granted)]


def test_every_turn_that_grants_is_to_be_written_down_first(host):
    assert host.say("a", ask(1), at=0).changed


def test_a_probes_late_start_is_kept_over_a_takeover(host):
    host.shared.obey(Command("open", None, None, None), 0)
    host.say("a", ask(1), at=0)
    host.pass_to(60)
    written = host.successor(60)  # before the start was heard
    lease = host.lease("a", 1)
    host.say("a", Start(lease), at=60.7)
    written.join("b", at=61)
    written.join("a", at=61, holds=[Holds(lease, ns(60.7), True, False, 10.0)])  # noqa: FBT003 - a message
    written.say("a", finish(lease), at=61.1)
    written.say("b", ask(1), at=61.1)
    written.pass_to(61.69)
    assert written.granted("b") == []
    written.pass_to(61.7)
    assert written.granted("b") == [1]


def test_limits_of_those_who_are_not_back_yet_still_hold(host):
    host.join("c", brings=LIMITS._replace(max_concurrent=1))
    after = host.successor(1)
    after.join("a", at=1)
    assert after.status(1)["max_concurrent"] == 1


# --- nothing known ------------------------------------------------------------------------------------------------


def test_without_a_snapshot_nothing_starts_for_one_interval():
    host = Host(fresh=False)
    host.shared.begin(ns(100))
    host.join("a", at=100, brings=LIMITS._replace(requests_per_minute=20))
    host.say("a", ask(1), at=100)
    host.pass_to(102.9)
    assert host.granted("a") == []
    host.pass_to(103)
    assert host.granted("a") == [1]


def test_without_a_snapshot_members_are_believed_what_they_hold():
    host = Host(fresh=False)
    host.shared.begin(ns(100))
    host.join("a", at=100, brings=LIMITS._replace(max_concurrent=1), holds=[Holds(7, ns(99), False, False, 10.0)])  # noqa: FBT003 - a message
    host.say("a", ask(1), at=100)
    host.pass_to(110)
    assert host.granted("a") == []
    host.say("a", finish(7), at=110)
    assert host.granted("a") == [1]


def test_without_a_snapshot_nobody_is_believed_a_lease_of_the_time_since():
    host = Host(fresh=False)
    host.shared.begin(ns(100))
    host.join("a", at=101, holds=[Holds(7, ns(100.5), False, False, 10.0)])  # noqa: FBT003 - a message
    assert host.told("a", Revoked) == [Revoked(7)]
    assert host.status(101)["in_flight"] == 0


def test_a_successor_with_a_snapshot_believes_nobody_a_lease_that_is_not_in_it(host):
    after = host.successor(5)
    after.join("a", at=5, holds=[Holds(77, ns(4), False, False, 10.0)])  # noqa: FBT003 - a message
    assert after.told("a", Revoked) == [Revoked(77)]
    assert after.status(5)["in_flight"] == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plain: plain.pop("admission"),
        lambda plain: plain["admission"].pop("limit"),
        lambda plain: plain["admission"].update(requests_per_minute=-1),
        lambda plain: plain["admission"]["breaker"].__setitem__(0, "ajar"),
        lambda plain: plain["admission"]["breaker"].append(0),
        lambda plain: plain["admission"]["pause"].append(0),
        lambda plain: plain["admission"].update(leases={"x": []}),
        lambda plain: plain.update(members=[]),
        lambda plain: plain["members"].update(a=[1]),
        lambda plain: plain["override"].append("colour"),
        lambda plain: plain["admission"].update(last_start=ns(1e6)),
    ],
)
def test_a_snapshot_that_makes_no_sense_is_refused_and_changes_nothing(host, spoil):
    plain = json.loads(json.dumps(host.shared.snapshot()))
    spoil(plain)
    with pytest.raises(Unusable):
        SharedAdmission().restore(plain, ns(10), same_pids=True)


# --- limits -------------------------------------------------------------------------------------------------------


def test_the_strictest_limits_of_those_connected_hold_and_both_are_named(host):
    host.join("c", brings=Brings(1, 30, 3, 90), process=UNSEEN)
    status = host.status(0)
    assert (status["max_concurrent"], status["requests_per_minute"], status["circuit"]["threshold"]) == (1, 30, 3)
    host.pass_to(DIFFER_SECONDS)
    (event,) = host.events
    assert event == ThrottleLimitsDiffer(
        0, "1 in flight, 30/min", HERE.pid, "2 in flight, 60/min", "1 in flight, 30/min"
    )


def test_limits_that_all_change_one_after_the_other_are_no_difference_worth_a_word(host):
    slower = LIMITS._replace(requests_per_minute=10)
    assert host.say("a", slower, at=0).wake_at == ns(DIFFER_SECONDS)
    host.say("b", slower, at=DIFFER_SECONDS / 2)
    host.pass_to(DIFFER_SECONDS)
    assert host.events == []
    assert host.status(2)["requests_per_minute"] == 10


def test_more_consumers_than_the_members_run_are_said_once_it_is_no_passing_moment(host):
    host.say("a", Takes("shop", 3, None), Takes("shop", 3, 8), at=0)
    host.say("b", Takes("shop", 3, 8), at=1)
    assert host.events == []
    host.say("a", Takes("shop", 3, 8), at=CONFIRM_SECONDS)
    assert host.events == [ThrottleScopeExceeded("shop", 8, 6)]
    assert host.status(20)["queues"] == [{"queue": "shop", "known": 6, "counted": 8}]


def test_members_that_leave_take_their_consumers_along(host):
    host.say("a", Takes("shop", 3, 6), at=0)
    host.say("b", Takes("shop", 3, 6), at=0)
    host.shared.dismiss("b", ns(1))
    assert host.status(2)["queues"] == [{"queue": "shop", "known": 3, "counted": None}]
    assert [process["consumers"] for process in host.status(2)["processes"]] == [3]


def test_when_the_strictest_has_left_the_next_strictest_hold(host):
    host.join("c", brings=LIMITS._replace(max_concurrent=1))
    host.shared.dismiss("c", 0)
    assert host.status(0)["max_concurrent"] == 2


def test_what_the_server_refuses_a_member_at_first_contact_is_shown_until_it_does_no_more(host):
    def wrong():
        return [process["wrong"] for process in host.status(1)["processes"]]

    host.say("a", Finds("VLLM_API_KEY: give the right one"), at=0)
    assert wrong() == ["VLLM_API_KEY: give the right one", ""]
    host.join("a")
    assert wrong() == ["", ""]  # who is back tells again
    host.say("b", Finds("VLLM_MODEL: no such model"), at=0)
    host.say("b", Finds(""), at=0)
    assert wrong() == ["", ""]


def test_a_limit_set_by_command_holds_until_it_is_reset(host):
    host.shared.obey(Command("set", 7, None, None), 0)
    host.join("c")
    assert host.status(0)["max_concurrent"] == 7
    host.shared.obey(Command("reset", None, None, None), 0)
    assert host.status(0)["max_concurrent"] == 2


def test_a_limit_set_by_command_outlives_its_host_but_not_all_members(host):
    host.shared.obey(Command("set", None, 6, None), 0)
    after = host.successor(1)
    after.join("a", at=1)
    assert after.status(1)["requests_per_minute"] == 6
    after.shared.dismiss("a", ns(2))
    after.shared.dismiss("b", ns(2))
    after.join("a", at=3)
    assert after.status(3)["requests_per_minute"] == 60


def test_a_limit_set_by_command_ends_with_the_processes_it_was_set_for():
    host = Host()
    host.join("a", process=DEAD)
    host.shared.obey(Command("set", 7, None, None), 0)
    after = host.successor(1)
    after.join("b", at=1)
    assert after.status(1)["max_concurrent"] == 2


def test_settings_that_change_while_a_command_holds_others_are_said_to_have_no_effect_once(host):
    host.shared.obey(Command("set", 1, None, None), 0)
    changed = LIMITS._replace(max_concurrent=3, requests_per_minute=30)
    host.say("a", changed, at=60)  # more slots take effect when all say so, the lower pace at once
    host.say("b", changed, at=61)
    for at in (61 + DIFFER_SECONDS, 100):
        host.pass_to(at)
    overruled = [event for event in host.events if isinstance(event, ThrottleSettingsOverruled)]
    assert overruled == [ThrottleSettingsOverruled("3 in flight, 30/min", "1 in flight, 30/min", 63.0)]
    status = host.status(100)
    assert (status["max_concurrent"], status["requests_per_minute"], status["set_ago_s"]) == (1, 30, 100)
    assert status["settings_say"] == changed._asdict()
    host.shared.obey(Command("reset", None, None, None), ns(100))
    assert (host.status(100)["max_concurrent"], host.status(100)["set_ago_s"]) == (3, None)


@pytest.mark.parametrize(
    ("ordered", "settings"),
    [
        (Command("show", None, None, None), LIMITS._replace(max_concurrent=3)),  # nothing is set by command
        (Command("set", 3, None, None), LIMITS._replace(max_concurrent=3)),  # they say the same now
        (Command("set", 1, None, None), LIMITS),  # they have not changed
    ],
)
def test_settings_that_hold_or_have_not_changed_are_not_said_to_be_overruled(host, ordered, settings):
    host.shared.obey(ordered, 0)
    for token in "ab":
        host.say(token, settings, at=1)
    host.pass_to(1 + DIFFER_SECONDS)
    assert not [event for event in host.events if isinstance(event, ThrottleSettingsOverruled)]


def test_a_pause_by_command_holds_everybody_until_it_is_ended(host):
    host.shared.obey(Command("pause", None, None, None), 0)
    host.say("a", ask(1), at=0)
    assert EndpointPaused(None, "an operator's order") in host.events
    host.pass_to(3600)
    assert host.granted("a") == []
    assert host.told("b", State)[-1].blocked_by == "server_pause"
    host.shared.obey(Command("resume", None, None, None), ns(3600))
    host.pass_to(3600)
    assert host.granted("a") == [1]


@pytest.mark.parametrize(
    ("command", "order"),
    [
        (Command("open", None, None, None), "open"),
        (Command("set", 1, 7.5, None), "set --max-concurrent 1 --requests-per-minute 7.5"),
        (Command("pause", None, None, 600.0), "pause --seconds 600"),
    ],
)
def test_an_order_is_told_with_whose_it_was(host, command, order):
    host.shared.obey(command, 0, by="user 7")
    host.pass_to(0)
    assert ThrottleOrdered(order, "user 7") in host.events


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(
            Ending.MISCONFIGURED, misconfiguration=Misconfiguration(404, "VLLM_MODEL", "name one of: " + "x" * 10**5)
        ),
        Verdict(Ending.TOO_MANY, pause_seconds=60.0, pause_reason="x" * 10**5),
    ],
)
def test_what_a_server_says_at_length_does_not_fill_the_snapshot(host, verdict):
    host.say("a", ask(1), at=0)
    host.say("a", finish_of(host.lease("a", 1), verdict), at=1)
    assert host.status(1)["blocked_by"] == "server_pause"
    assert len(json.dumps(host.shared.snapshot())) < 5000


def test_a_circuit_that_an_operator_opens_is_no_error(host):
    host.shared.obey(Command("open", None, None, None), 0)
    host.pass_to(0)
    assert [event.level for event in host.events if isinstance(event, CircuitOpened)] == ["warning"]


def test_who_only_looks_has_ordered_nothing(host):
    host.shared.obey(Command("show", None, None, None), 0)
    host.pass_to(0)
    assert host.events == []


def test_closing_the_circuit_by_command_lets_go_at_once(host):
    host.shared.obey(Command("open", None, None, None), 0)
    host.say("a", ask(1), at=0)
    host.shared.obey(Command("close", None, None, None), ns(2))
    host.pass_to(2)
    assert host.granted("a") == [1]


@pytest.mark.parametrize(
    "command", [Command("explode", None, None, None), Command("set", 0, None, None), Command("set", None, -1.0, None)]
)
def test_orders_that_make_no_sense_are_refused(host, command):
    with pytest.raises(BadLine):
        host.shared.obey(command, 0)


@pytest.mark.parametrize(
    "message",
    [
        LIMITS._replace(max_concurrent=0),
        LIMITS._replace(requests_per_minute=0),
        LIMITS._replace(threshold=0),
        LIMITS._replace(timeout_seconds=-1),
        Holds(1, 0, False, False, 1.0),  # noqa: FBT003 - a message
        finish_of(1, UNSENT)._replace(ending="exploded"),
        Granted(1, 1, 1, 1, 1, False, False, 0, 0, 0, 0, 0),  # noqa: FBT003 - a message
    ],
)
def test_what_no_client_says_is_refused(host, message):
    with pytest.raises(BadLine):
        host.shared.take("a", message, 0)


def test_who_is_not_ready_cannot_ask(host):
    host.shared.join("c", HERE, 0)
    with pytest.raises(BadLine):
        host.shared.take("c", ask(1), 0)


def test_a_thousand_waiters_of_eight_members_leave_nothing_behind():
    host = Host()
    for number in range(8):
        host.join(f"m{number}", brings=LIMITS._replace(requests_per_minute=60_000))
    for number in range(1000):
        host.say(f"m{number % 8}", ask(number), at=0)
    second, done = 0.0, set()
    while any(host.status(second)[key] for key in ("waiting", "in_flight")):
        second += 0.001
        host.pass_to(second)
        for token in host.boxes:
            for granted in host.told(token, Granted):
                if granted.lease not in done:
                    done.add(granted.lease)
                    host.say(token, finish(granted.lease), at=second)
            host.boxes[token].clear()
        assert second < 3
    assert len(done) == 1000


def test_memory_stays_flat_over_a_hundred_thousand_refusals(host):
    host.shared.obey(Command("open", None, None, None), ns(0))

    def refused(count, first):
        for number in range(first, first + count):
            host.shared.take("a", ask(number, hold=0), ns(1))
            messages = host.shared.turn(ns(1)).messages["a"]
            assert [message.id for message in messages if isinstance(message, Refused)] == [number]

    refused(1000, 1)
    gc.collect()
    before = sys.getallocatedblocks()  # a count that costs nothing to keep
    refused(100_000, 1001)
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
