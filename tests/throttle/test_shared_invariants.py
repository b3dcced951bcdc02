"""The promises of the throttle over many processes, checked after every step of whatever hypothesis does to them.

Members are killed, stopped, cut off and come back, their coordinator is replaced from what it wrote down, also in the
moment between writing and telling. The members here follow the protocol as `SharedRateLimiter` does; what must be true
is counted beside the machine, from what members were told and what they really run. (8, how often a call tries, is the
client's: tests/test_llm_client.py.)
"""

import json
import time
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scraper import host
from scraper.events import LeaseReaped
from scraper.host import Process
from scraper.throttle.nanoseconds import SECOND, ns
from scraper.throttle.protocol import (
    Ask,
    Brings,
    Cancel,
    Command,
    Finish,
    Granted,
    Holds,
    Ready,
    Refused,
    Revoked,
    Standing,
    Start,
)
from scraper.throttle.shared_admission import GATHER_SECONDS, REAP_AFTER_SECONDS, SharedAdmission
from scraper.throttle.verdict import UNSENT, Effect, Ending, Misconfiguration, Verdict
from scraper.throttle.verdict_message import finish_of, verdict_of

STARTED = 7
THRESHOLD, TIMEOUT, ATTEMPT = 3, 60.0, 20.0
WRONG_KEY = Misconfiguration(401, "VLLM_API_KEY", "set it")
ENDINGS = [ending for ending in Ending if ending not in {Ending.UNSENT, Ending.UNHEALTHY}]
ENDINGS += [Ending.NO_ANSWER] * len(ENDINGS)  # a circuit that never opens proves nothing


@dataclass
class Call:
    """One that waits, as its process knows it."""

    order: int  # of its first asking, as far as its coordinator can know
    asked: int
    hold: float
    place: int | None = None


@dataclass
class Request:
    """One that was granted."""

    granted: Granted
    at: int
    told: bool = True  # its process knows of it


@dataclass
class Client:
    token: str
    process: Process
    brings: Brings
    asking: dict[int, Call] = field(default_factory=dict)
    running: dict[int, Request] = field(default_factory=dict)
    unsettled: dict[int, Finish] = field(default_factory=dict)
    started_late: dict[int, Holds] = field(default_factory=dict)  # of those unsettled
    settled: int = 0  # of those said on the present connection
    sleeping: list[Call] = field(default_factory=list)  # between two attempts
    unread: list = field(default_factory=list)
    connected: bool = False
    stopped: bool = False
    count: int = 0


class SharedThrottle(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.alive = {}
        self.wall = 1_700_000_000.0
        self._kept = host._start_of, host._answers, time.time
        host._start_of = self.alive.get
        host._answers = self.alive.__contains__
        time.time = lambda: self.wall

    def teardown(self):
        host._start_of, host._answers, time.time = self._kept

    @initialize(limit=st.integers(1, 4), rpm=st.sampled_from([20, 60, 600]), members=st.integers(1, 4))
    def begin(self, limit, rpm, members):
        self.now = 1000 * SECOND
        self.shared = SharedAdmission(reap_after_seconds=REAP_AFTER_SECONDS)
        self.shared.restore(SharedAdmission().snapshot(), self.now, same_pids=True)
        self.written = json.dumps(self.shared.snapshot())
        self.default = Brings(limit, rpm, THRESHOLD, TIMEOUT)
        self.clients = {}
        self.order = 0
        self.born = 0
        self.order_of = {}  # lease → its call's
        self.generation_of = {}  # lease → the circuit's when it was granted
        self.starts = []  # of everything granted and not handed back unsent
        self.given = {}  # lease → token: what counts as in flight, by our own count
        self.since = {}  # lease → whose, and when its request began, as far as its coordinator knows
        self.reaped = set()
        self.ordered = False  # limits by an operator, perhaps
        self.circuit = ("closed", 0)
        self.opened_at = None
        self.gather_until = self.now + ns(GATHER_SECONDS)
        self.wake_at = None
        self.silent = False  # the coordinator dies between writing and telling
        for _ in range(members):
            self.a_process_joins(limit, rpm)

    # what can happen to processes

    @precondition(lambda self: len(self.clients) < 5)
    @rule(limit=st.integers(1, 4), rpm=st.sampled_from([20, 60, 600]))
    def a_process_joins(self, limit, rpm):
        self.born += 1
        pid = 100 + self.born
        self.alive[pid] = STARTED
        client = Client(f"{pid:016}", Process(pid, STARTED), self.default._replace(max_concurrent=limit))
        self.clients[client.token] = client
        self.join(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def a_process_is_killed(self, data):
        client = self.one_of(data, self.clients.values())
        before = self.breaker()
        del self.alive[client.process.pid], self.clients[client.token]
        for lease in [lease for lease, token in self.given.items() if token == client.token]:
            del self.given[lease]
        if client.connected:
            self.shared.lose(client.token, self.now)
        self.take_turn()
        self.look_for_the_missing()
        assert self.same_but_for_the_probe(before), "10: a death changed the circuit"

    @precondition(lambda self: any(not client.stopped for client in self.clients.values()))
    @rule(data=st.data())
    def a_process_is_stopped(self, data):
        self.one_of(data, [client for client in self.clients.values() if not client.stopped]).stopped = True

    @precondition(lambda self: any(client.stopped for client in self.clients.values()))
    @rule(data=st.data())
    def a_process_wakes(self, data):
        client = self.one_of(data, [client for client in self.clients.values() if client.stopped])
        client.stopped = False
        unread, client.unread = client.unread, []
        for message in unread:
            self.read(client, message, late=True)
        self.take_turn()

    @precondition(lambda self: any(client.connected for client in self.clients.values()))
    @rule(data=st.data())
    def a_connection_is_lost(self, data):
        client = self.one_of(data, [client for client in self.clients.values() if client.connected])
        client.connected = False
        self.shared.lose(client.token, self.now)
        self.take_turn()

    @precondition(lambda self: any(not c.connected and not c.stopped for c in self.clients.values()))
    @rule(data=st.data())
    def a_process_comes_back(self, data):
        self.join(self.one_of(data, [c for c in self.clients.values() if not c.connected and not c.stopped]))

    @rule(data=st.data())
    def the_coordinator_is_replaced(self, data):
        self.replace()
        for client in self.clients.values():
            if not client.stopped and data.draw(st.booleans()):
                self.join(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def the_coordinator_dies_between_writing_and_telling(self, data):
        self.silent = True
        client = self.one_of(data, self.clients.values())
        if client.connected and not client.stopped:
            self.ask(client, Call(self.next_order(), self.now, float("inf")))
        self.time_passes(1.0)
        self.silent = False
        self.replace()
        for client in self.clients.values():
            if not client.stopped:
                self.join(client)

    # what processes do

    @precondition(lambda self: self.talkers())
    @rule(data=st.data(), hold=st.sampled_from([float("inf"), float("inf"), 0.0, 5.0, 100.0]))
    def a_call_asks(self, data, hold):
        self.ask(self.one_of(data, self.talkers()), Call(self.next_order(), self.now, hold))

    @precondition(lambda self: any(client.sleeping for client in self.talkers()))
    @rule(data=st.data())
    def a_call_asks_again(self, data):
        client = self.one_of(data, [client for client in self.talkers() if client.sleeping])
        call = client.sleeping.pop(data.draw(st.integers(0, len(client.sleeping) - 1)))
        call.asked = self.now
        self.ask(client, call)

    @precondition(lambda self: any(client.asking for client in self.talkers()))
    @rule(data=st.data())
    def a_call_is_cancelled_in_line(self, data):
        client = self.one_of(data, [client for client in self.talkers() if client.asking])
        number = data.draw(st.sampled_from(sorted(client.asking)))
        before = self.breaker()
        del client.asking[number]
        self.say(client, Cancel(number))
        assert self.breaker() == before, "10: a cancellation changed the circuit"
        self.take_turn()

    @precondition(lambda self: self.talkers())
    @rule(data=st.data())
    def a_call_is_cancelled_in_the_tick_of_its_grant(self, data):
        client = self.one_of(data, self.talkers())
        number = self.ask(client, Call(self.next_order(), self.now, float("inf")))
        if number in client.asking:
            del client.asking[number]
            self.say(client, Cancel(number))
        else:
            lease = next(lease for lease, request in client.running.items() if request.granted.id == number)
            self.finish(client, lease, UNSENT)
        self.take_turn()

    @precondition(lambda self: any(client.running for client in self.awake()))
    @rule(data=st.data(), ending=st.sampled_from(ENDINGS), pause=st.sampled_from([0.0, 0.0, 0.0, 2.0, 90.0]))
    def a_request_ends(self, data, ending, pause):
        client = self.one_of(data, [client for client in self.awake() if client.running])
        lease = data.draw(st.sampled_from(sorted(client.running)))
        request = client.running[lease]
        if (request.granted.probe or request.granted.check) and ending.effect is not Effect.NONE:
            self.start(client, lease)
        wrong = WRONG_KEY if ending is Ending.MISCONFIGURED else None
        pause = pause if ending in {Ending.TOO_MANY, Ending.SERVER_ERROR} else 0.0
        self.finish(client, lease, Verdict(ending, pause_seconds=pause, misconfiguration=wrong))
        self.take_turn()

    @precondition(lambda self: self.talkers())
    @rule(
        ending=st.sampled_from([Ending.ANSWERED, Ending.NO_ANSWER, Ending.SERVER_ERROR, Ending.MISCONFIGURED]),
        rounds=st.integers(1, 4),
    )
    def everybody_works_for_a_while(self, ending, rounds):
        wrong = WRONG_KEY if ending is Ending.MISCONFIGURED else None
        for _ in range(rounds):
            for client in self.talkers():
                self.ask(client, Call(self.next_order(), self.now, float("inf")))
            self.time_passes(3.0)
            for client in self.awake():
                for lease in sorted(client.running):
                    if (
                        lease in client.running
                        and client.running[lease].granted.probe | client.running[lease].granted.check
                    ):
                        self.start(client, lease)
                    self.finish(client, lease, Verdict(ending, misconfiguration=wrong))
                    self.take_turn()

    @precondition(lambda self: any(client.running for client in self.awake()))
    @rule(data=st.data())
    def a_probe_or_checker_finds_nobody_well(self, data):
        client = self.one_of(data, [client for client in self.awake() if client.running])
        lease = data.draw(st.sampled_from(sorted(client.running)))
        granted = client.running[lease].granted
        if granted.check:
            self.finish(client, lease, Verdict(Ending.UNSENT, misconfiguration=WRONG_KEY))
        elif granted.probe:
            self.finish(client, lease, Verdict(Ending.UNHEALTHY))
        self.take_turn()

    @precondition(lambda self: any(client.connected for client in self.clients.values()))
    @rule(data=st.data(), limit=st.integers(1, 4), rpm=st.sampled_from([20, 60, 600]))
    def a_process_changes_what_it_brings(self, data, limit, rpm):
        client = self.one_of(data, self.talkers() or [None])
        if client is not None:
            client.brings = client.brings._replace(max_concurrent=limit, requests_per_minute=rpm)
            self.say(client, client.brings)
            self.take_turn()

    @rule(
        command=st.sampled_from(
            [
                Command("set", 1, None, None),
                Command("set", None, 20, None),
                Command("reset", None, None, None),
                Command("pause", None, None, 5.0),
                Command("resume", None, None, None),
                Command("open", None, None, None),
                Command("close", None, None, None),
            ]
        )
    )
    def an_operator_orders(self, command):
        self.shared.obey(command, self.now)
        self.ordered = command.verb == "set" or (self.ordered and command.verb != "reset")
        self.watch_circuit(closed_by_hand=command.verb == "close")
        self.take_turn()

    # time

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 7.5, 31.0, 61.0, 200.0]))
    def time_passes(self, seconds):
        """As a host does it: a turn whenever the machine asked for one."""
        until = self.now + ns(seconds)
        while self.wake_at is not None and self.wake_at <= until:
            assert self.wake_at > self.now, "asks to be woken in the past: a host would spin"
            self.now = self.wake_at
            self.take_turn()
        self.now = until
        self.look_for_the_missing()

    @rule(seconds=st.sampled_from([0.5, 2.0, 70.0]))
    def the_host_stalls(self, seconds):
        self.now += ns(seconds)
        self.take_turn()

    @rule(days=st.sampled_from([-1, 1]))
    def the_wall_clock_jumps(self, days):
        before, wake_at = self.shared.snapshot(), self.wake_at
        self.wall += days * 86_400
        self.take_turn()
        assert (self.shared.snapshot(), self.wake_at) == (before, wake_at)

    # how members behave

    def join(self, client):
        """As `Conversation.introduce`."""
        client.connected = True
        self.shared.join(client.token, client.process, self.now)
        self.say(client, client.brings)
        client.settled = 0
        for lease, request in client.running.items():
            self.since[lease] = client.token, request.at
            self.say(client, self.holds(request))
        for lease, finish in client.unsettled.items():
            if lease in client.started_late:
                self.say(client, client.started_late[lease])
            self.judge(client, finish)
        self.say(client, Ready())
        for lease in [lease for lease, token in self.given.items() if token == client.token]:
            if lease not in client.running:
                self.forget(lease)  # a grant that it never received: back, and its pace with it
        for number, call in list(client.asking.items()):
            if (self.now - call.asked) / SECOND > call.hold:
                del client.asking[number]  # refused by its own process
                continue
            if call.place is None:
                call.order = self.next_order()
            self.say(client, self.asked(number, call))
        self.take_turn()

    def holds(self, request):
        granted = request.granted
        return Holds(granted.lease, request.at, granted.probe, granted.check, ATTEMPT)

    def ask(self, client, call):
        client.count += 1
        client.asking[client.count] = call
        self.say(client, self.asked(client.count, call))
        self.take_turn()
        return client.count

    def asked(self, number, call):
        hold = None if call.hold == float("inf") else call.hold - (self.now - call.asked) / SECOND
        return Ask(number, call.place, hold, None, ATTEMPT)

    def start(self, client, lease):
        request = client.running[lease]
        if request.at in self.starts:
            self.starts.remove(request.at)
        request.at = self.now
        if client.connected:
            self.since[lease] = client.token, self.now
        self.starts.append(self.now)
        self.say(client, Start(lease))
        self.take_turn()

    def finish(self, client, lease, verdict):
        request = client.running.pop(lease, None)
        if request is None:
            return  # it was reaped when it began to end
        if not verdict.ending.was_sent and self.starts and self.starts[-1] == request.at:
            self.starts.pop()
        client.sleeping.append(Call(0, self.now, float("inf"), request.granted.place))
        client.sleeping[-1].order = self.order_of.pop(lease)
        finish = client.unsettled[lease] = finish_of(lease, verdict)
        if request.granted.probe or request.granted.check:
            client.started_late[lease] = self.holds(request)
        if client.connected:
            self.judge(client, finish, request)

    def judge(self, client, finish, request=None):
        """Said to a coordinator: invariants 7 and 10, by a count of its own."""
        before, counted = self.breaker(), finish.lease in self.counted()
        self.given.pop(finish.lease, None)
        self.say(client, finish)
        after, effect = self.breaker(), verdict_of(finish).ending.effect
        if not counted:
            assert after == before, "judged twice"
        elif effect is Effect.NONE:
            assert self.same_but_for_the_probe(before), "10: what was never answered changed the circuit"
        elif request is not None and self.generation_of[finish.lease] != before.generation:
            assert after == before, "a result of an older generation changed something"
        elif before.state == "closed" and after.generation - before.generation in {0, 1}:
            expected = {Effect.SUCCESS: 0, Effect.FAILURE: before.failures + 1}.get(effect, before.failures)
            if request is not None or after.failures != before.failures:
                assert after.failures == expected, "7: miscounted"
                assert (after.state == "open") == (expected == THRESHOLD), "7: opened when?"

    def read(self, client, message, *, late=False):
        match message:
            case Granted():
                self.read_grant(client, message, late=late)
            case Refused(id=number):
                client.asking.pop(number, None)
            case Standing(id=number, place=place):
                if number in client.asking:
                    client.asking[number].place = place
            case Revoked(lease=lease):
                client.running.pop(lease, None)

    def read_grant(self, client, granted, *, late):
        for lease in list(client.unsettled)[: granted.settled - client.settled]:
            client.settled += 1
            del client.unsettled[lease]
            client.started_late.pop(lease, None)
        call = client.asking.pop(granted.id, None)
        self.order_of[granted.lease] = self.next_order() if call is None else call.order
        client.running[granted.lease] = Request(granted, granted.at)
        if call is None or (late and self.now > granted.write_by):
            self.finish(client, granted.lease, UNSENT)

    # how the coordinator is hosted

    def say(self, client, message):
        if client.connected:
            self.shared.take(client.token, message, self.now)
            self.watch_circuit()

    def take_turn(self):
        turn = self.shared.turn(self.now)
        self.wake_at = turn.wake_at
        self.watch_circuit()
        self.hear_of_reaping(turn.events)
        if turn.changed:
            self.written = json.dumps(self.shared.snapshot())
        grants = [(token, message) for token, messages in turn.messages.items() for message in messages]
        grants = [(token, message) for token, message in grants if isinstance(message, Granted)]
        assert not grants or turn.changed, "a grant that nobody wrote down"
        for token, messages in turn.messages.items():
            for message in messages:
                if isinstance(message, Refused):
                    self.clients[token].asking.pop(message.id, None)
        for token, granted in sorted(grants, key=lambda found: found[1].at):
            self.check_grant(self.clients[token], granted)
        if self.silent:
            return
        for token, messages in turn.messages.items():
            client = self.clients[token]
            for message in messages:
                if client.stopped:
                    client.unread.append(message)
                else:
                    self.read(client, message)

    def look_for_the_missing(self):
        for member in self.shared.missing():
            if member.process.is_gone():
                self.shared.dismiss(member.token, self.now)
        self.take_turn()

    def replace(self):
        """Another process takes over from what was written down."""
        self.shared = SharedAdmission(reap_after_seconds=REAP_AFTER_SECONDS)
        self.shared.restore(json.loads(self.written), self.now, same_pids=True)
        self.gather_until = self.now + ns(GATHER_SECONDS)
        for client in self.clients.values():
            client.connected = False
        self.take_turn()

    # what is checked as it happens

    def check_grant(self, client, granted):
        assert granted.at == self.now
        assert granted.lease not in self.given
        call = client.asking.get(granted.id)
        limit, rpm = self.limits()
        if not self.ordered:
            brought = [each.brings for each in self.clients.values() if each.connected]
            assert limit <= min(brings.max_concurrent for brings in brought), "not the strictest"
            assert rpm <= min(brings.requests_per_minute for brings in brought), "not the strictest"
        assert len(self.given) < limit, "1: more in flight than allowed"
        if self.starts:
            assert self.now - max(self.starts) >= 60 * SECOND / rpm, "2: too soon after the last start"
        if call is not None and not self.silent:
            for other in self.clients.values():
                if other.connected and not other.stopped and not client.stopped:
                    assert all(call.order <= each.order for each in other.asking.values()), "4: overtaken"
            assert (self.now - call.asked) / SECOND <= call.hold, "9: a start after the deadline"
        assert self.opened_at is None, "6: a start while the circuit is open"
        if granted.probe:
            assert not self.probes(), "6: two probes"
        self.given[granted.lease] = client.token
        self.generation_of[granted.lease] = self.breaker().generation
        self.since[granted.lease] = client.token, self.now
        self.starts.append(self.now)

    def hear_of_reaping(self, events):
        """Only what is overdue, as far as this coordinator could know, and is counted no more."""
        pids = [event.pid for event in events if isinstance(event, LeaseReaped)]
        gone = {
            lease: int(token)
            for lease, (token, since) in self.since.items()
            if self.now - since >= ns(ATTEMPT + REAP_AFTER_SECONDS) and lease not in self.counted() | self.reaped
        }
        for pid in set(pids):
            overdue = {lease for lease, owner in gone.items() if owner == pid}
            assert len(overdue) >= pids.count(pid), "reaped too soon"
            self.reaped |= overdue
            for lease in overdue:
                self.given.pop(lease, None)

    def watch_circuit(self, *, closed_by_hand=False):
        """Invariant 6: how long it is open, from when; events of it wait while a new coordinator gathers its members."""
        state, generation = self.breaker().state, self.breaker().generation
        if (state, generation) == self.circuit:
            return
        before, self.circuit = self.circuit[0], (state, generation)
        if before == "open" and state != "open" and not closed_by_hand:
            assert self.now >= self.opened_at + TIMEOUT * SECOND, "6: not the whole open time"
        self.opened_at = self.now if state == "open" else None

    # what is true after every step

    @invariant()
    def no_more_run_than_are_counted(self):
        assert self.given.keys() <= self.counted(), "1: somebody runs who is not counted"
        assert len(self.counted()) == self.shared.status(self.now)["in_flight"]

    @invariant()
    def nothing_is_counted_that_nobody_holds(self):
        """3: what is counted was given and not given back, or its owner was not yet there to say so again."""
        away = {lease for client in self.clients.values() if not client.connected for lease in client.unsettled}
        assert self.counted() <= self.given.keys() | away, "3: a lease leaked"

    @invariant()
    def the_circuit_is_open_for_exactly_its_time(self):
        if self.opened_at is not None:
            assert self.breaker().state == "open"
            assert self.now < self.opened_at + TIMEOUT * SECOND or self.now < self.gather_until

    @invariant()
    def whoever_may_start_has_started(self):
        status = self.shared.status(self.now)
        gathering = self.now < self.gather_until and any(not client.connected for client in self.clients.values())
        if status["blocked_by"] is None and not gathering:
            assert status["waiting"] == 0, "5: a grant is missing"

    # what the checks lean on

    def next_order(self):
        self.order += 1
        return self.order

    def forget(self, lease):
        self.given.pop(lease)

    def counted(self):
        """What the machine says is in flight."""
        return set(self.shared.snapshot()["admission"]["leases"])

    def probes(self):
        return [
            (lease, request)
            for client in self.clients.values()
            for lease, request in client.running.items()
            if request.granted.probe and lease in self.given
            if self.generation_of[lease] == self.breaker().generation
        ]

    def limits(self):
        status = self.shared.status(self.now)
        return status["max_concurrent"], status["requests_per_minute"]

    def breaker(self):
        return self.shared.snapshot()["admission"]["breaker"]

    def same_but_for_the_probe(self, before):
        return self.breaker()._replace(probe_until=None) == before._replace(probe_until=None)

    def awake(self):
        return [client for client in self.clients.values() if not client.stopped]

    def talkers(self):
        return [client for client in self.awake() if client.connected]

    def one_of(self, data, these):
        these = list(these)
        return these[data.draw(st.integers(0, len(these) - 1))]


TestSharedThrottle = SharedThrottle.TestCase
TestSharedThrottle.settings = settings(
    max_examples=300,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
