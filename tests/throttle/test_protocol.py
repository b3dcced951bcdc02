"""Lines between clients and the coordinator: what is right comes through, all else is a BadLine."""

import random

import pytest

from scraper.throttle.protocol import (
    LONGEST_LINE,
    Ask,
    BadLine,
    Brings,
    Bye,
    Command,
    Finds,
    Granted,
    Hello,
    Holds,
    Report,
    Standing,
    State,
    Takes,
    decode,
    encode,
)
from scraper.throttle.verdict import Ending, Misconfiguration, Verdict
from scraper.throttle.verdict_message import finish_of, verdict_of

MESSAGES = [
    Hello(1, "00ff", 12345678901234),
    Brings(2, 20.0, 5, 60),
    Takes("scraper", 3, None),
    Finds("VLLM_MODEL: no such model"),
    Takes("scraper", 3, 12),
    Holds(7, 10**17, True, False, 120.0),  # noqa: FBT003 - a message
    Ask(1, None, None, 900.0, 120.0),
    Ask(1, 5, 600, None, 120),
    Bye(),
    Command("set", None, 30.0, None),
    Granted(1, 2, 3, 4, 5, False, True, 0.5, 1, 0.0, 2.25, 7),  # noqa: FBT003 - a message
    Standing(1, 2, "server_pause", 3, 4.5, 1, 2),
    State(0, 1, 2, 20.0, None, "closed", None),
    Report({"circuit": {"state": "open"}, "processes": [1, 2]}),
]


def test_every_message_arrives_as_it_was_sent():
    line = encode(MESSAGES)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == MESSAGES


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"{}",
        b"[[]]",
        b"[1]",
        b"[[1]]",
        b'[["ask"]]',
        b'[["nonsense",1]]',
        b'[["ask",1,null,null,null,120,1]]',
        b'[["ask","1",null,null,null,120]]',
        b'[["ask",true,null,null,null,120]]',
        b'[["ask",1.0,null,null,null,120]]',
        b'[["ask",1,null,null,null,null]]',
        b'[["ask",1,null,NaN,null,120]]',
        b'[["ask",1,null,null,null,Infinity]]',
        b'[["ask",1,null,null,null,1e999]]',
        b'[["ask",99999999999999999999999,null,null,null,120]]',
        b'[["ask",' + b"9" * 5000 + b",null,null,null,120]]",
        b'[["hello",1,["00"],5]]',
        b'[["report",[]]]',
        b"[" * 100_000,
        b"[" + b'["bye"],' * 1000 + b'["bye"]]',
    ],
)
def test_anything_else_is_refused(line):
    with pytest.raises(BadLine):
        decode(line)


def test_random_damage_never_does_more_than_be_refused():
    draw = random.Random(7)
    whole = encode(MESSAGES)[:-1]
    refused = 0
    for _ in range(2000):
        spoilt = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
        try:
            decode(bytes(spoilt))
        except BadLine:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(Ending.CANCELLED),
        Verdict(Ending.TOO_MANY, pause_seconds=2.5, pause_reason="retry-after"),
        Verdict(Ending.MISCONFIGURED, misconfiguration=Misconfiguration(401, "VLLM_API_KEY", "check it «»")),
        Verdict(Ending.ANSWERED),
    ],
)
def test_what_decides_of_a_verdict_travels_whole(verdict):
    (finish,) = decode(encode([finish_of(7, verdict)])[:-1])
    assert (finish.lease, verdict_of(finish)) == (7, verdict)


def test_a_thousand_messages_fit_into_one_line():
    verdict = Verdict(Ending.MISCONFIGURED, misconfiguration=Misconfiguration(401, "VLLM_API_KEY", "x" * 500))
    assert len(encode([finish_of(10**15, verdict)] * 1000)) < LONGEST_LINE
