"""Members that say anything at all, in any order, with numbers nobody means: refused or borne, never an error."""

import json
import random
from types import NoneType
from typing import get_args, get_type_hints

import pytest
from pydantic_core import to_json

from scraper.host import this_process
from scraper.throttle import protocol
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import BadLine, Brings, Command, Ready, decode, encode
from scraper.throttle.shared_admission import SharedAdmission

STEPS = 120
KINDS = [
    getattr(protocol, name)
    for name in [
        "Brings",
        "Takes",
        "Finds",
        "Holds",
        "Ready",
        "Ask",
        "Where",
        "Cancel",
        "Start",
        "Finish",
        "Ping",
        "Command",
    ]
]
INTEGERS = [0, 1, -1, 2, 3, 4, 5, 1000, 10**9, 10**15, 2**62, -(2**62), 2**63 - 1, 1 - 2**63]
FLOATS = [0.0, 1.0, -1.0, 0.5, 20.0, 60.0, 1e-9, 1e-300, 5e-324, 1e15, 9.2e18, -9.2e18]
TEXTS = ["", "x", "«»", "x" * 100_000, "answered", "no_answer", "too_many", "misconfigured", "unhealthy", "unsent"]
VERBS = ["set", "reset", "pause", "resume", "open", "close", "show", "x"]
PASSES = [0, 0.001, 1, 60, 1000, 1e6]
EXAMPLES = {int: INTEGERS, float: FLOATS, str: TEXTS, bool: [True, False], NoneType: [None]}


class Liars:
    """A coordinator's state, and three members who say whatever `chance` has them say."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.now = ns(1000)
        self.shared = SharedAdmission()
        self.shared.begin(self.now)
        self.connected = set()
        self.leases = []
        self.refused = self.taken = 0

    def step(self):
        what = self.chance.random()
        if what < 0.07 or not self.connected:
            self.come(self.chance.choice("abc"))
        elif what < 0.1:
            token = self.chance.choice(sorted(self.connected))
            self.connected.discard(token)
            self.chance.choice([self.shared.lose, self.shared.dismiss])(token, self.now)
        elif what < 0.16:
            self.now += ns(self.chance.choice(PASSES))
        elif what < 0.17:
            self.take_over()
        else:
            self.lie()
        self.take_turn()

    def come(self, token):
        self.shared.join(token, this_process(), self.now)
        self.connected.add(token)
        if self.chance.random() < 0.8:
            self.shared.take(token, Brings(2, 20.0, 5, 60.0), self.now)
            self.shared.take(token, Ready(), self.now)

    def lie(self):
        kind = self.chance.choice(KINDS)
        said = kind(*(self.value(hint) for hint in get_type_hints(kind).values()))
        try:
            (said,) = decode(encode([said])[:-1])
            if isinstance(said, Command):
                self.shared.obey(said._replace(verb=self.chance.choice(VERBS)), self.now)
            else:
                self.shared.take(self.chance.choice(sorted(self.connected)), said, self.now)
            self.taken += 1
        except BadLine:
            self.refused += 1

    def value(self, hint):
        kind = self.chance.choice(get_args(hint) or (hint,))
        if kind is int and self.leases and self.chance.random() < 0.4:
            return self.chance.choice(self.leases)
        return self.chance.choice(EXAMPLES[kind])

    def take_over(self):
        written = json.loads(to_json(self.shared.snapshot()))
        self.shared = SharedAdmission()
        self.shared.restore(written, self.now, same_pids=True)
        self.connected.clear()

    def take_turn(self):
        for _ in range(20):
            turn = self.shared.turn(self.now)
            for messages in turn.messages.values():
                said = decode(encode(messages)[:-1])
                self.leases += [each.lease for each in said if isinstance(each, protocol.Granted)]
            if turn.wake_at is None or turn.wake_at > self.now:
                break
        else:
            pytest.fail("it asks to be woken at once, again and again")
        json.dumps(self.shared.status(self.now))
        assert len(to_json(self.shared.snapshot())) < 100_000, "a member fills the snapshot"


@pytest.mark.parametrize("seed", range(40))
def test_whatever_members_say_is_refused_or_borne(seed):
    liars = Liars(seed)
    for _ in range(STEPS):
        liars.step()
    assert liars.refused >= STEPS / 20
    assert liars.taken >= STEPS / 20
