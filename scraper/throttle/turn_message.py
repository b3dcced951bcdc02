"""What a turn said, on its way to a client, and back from its message."""

from __future__ import annotations

from scraper.throttle import turn
from scraper.throttle.blocked_time import Waited
from scraper.throttle.protocol import Granted, Refused


def granted_of(number: int, grant: turn.Grant, *, settled: int) -> Granted:
    """`number`: which of the client's askings it answers; `settled`: how many of its verdicts were judged before."""
    return Granted(
        number,
        grant.lease,
        grant.place,
        grant.at,
        grant.write_by,
        grant.probe,
        grant.check,
        *grant.waited,
        settled,
    )


def grant_of(granted: Granted, *, booked: Waited) -> turn.Grant:
    """`booked`: what the client has waited besides."""
    return turn.Grant(
        granted.id,
        granted.lease,
        granted.place,
        granted.at,
        granted.write_by,
        granted.probe,
        granted.check,
        _added(booked, granted),
    )


def refused_of(number: int, refusal: turn.Refusal) -> Refused:
    return Refused(number, refusal.out_of, refusal.reason, *refusal.waited)


def refusal_of(refused: Refused, *, booked: Waited) -> turn.Refusal:
    return turn.Refusal(refused.id, refused.out_of, refused.reason, _added(booked, refused))


def _added(booked: Waited, told: Granted | Refused) -> Waited:
    return Waited(
        booked.slot + told.slot,
        booked.rate + told.rate,
        booked.circuit + told.circuit,
        booked.server_pause + told.server_pause,
    )
