"""What a turn said, on its way to a client, and back from its message."""

from __future__ import annotations

from scraper.throttle import turn
from scraper.throttle.blocked_time import Waited
from scraper.throttle.protocol import Granted, Refused, Standing


def granted_of(number: int, grant: turn.Grant, *, settled: int) -> Granted:
    """`number`: which of the client's askings it answers; `settled`: how many of its verdicts were judged before."""
    waited = grant.waited
    return Granted(
        number,
        grant.lease,
        grant.place,
        grant.at,
        grant.write_by,
        grant.generation,
        grant.probe,
        grant.check,
        waited.slot,
        waited.rate,
        waited.circuit,
        waited.server_pause,
        settled,
    )


def grant_of(granted: Granted, *, booked: Waited) -> turn.Grant:
    """`booked`: what the client has waited besides."""
    return turn.Grant(
        ticket=granted.id,
        lease=granted.lease,
        place=granted.place,
        at=granted.at,
        write_by=granted.write_by,
        generation=granted.generation,
        probe=granted.probe,
        check=granted.check,
        waited=_added(booked, granted),
    )


def refused_of(number: int, refusal: turn.Refusal) -> Refused:
    waited = refusal.waited
    return Refused(
        number, refusal.out_of, refusal.reason, waited.slot, waited.rate, waited.circuit, waited.server_pause
    )


def refusal_of(refused: Refused, *, booked: Waited) -> turn.Refusal:
    return turn.Refusal(refused.id, refused.out_of, refused.reason, _added(booked, refused))


def standing_of(number: int, place: int, standing: turn.Standing, *, in_flight: int, limit: int) -> Standing:
    return Standing(
        number, place, standing.reason, standing.position, standing.estimated_wait_seconds, in_flight, limit
    )


def _added(booked: Waited, told: Granted | Refused) -> Waited:
    return Waited(
        slot=booked.slot + told.slot,
        rate=booked.rate + told.rate,
        circuit=booked.circuit + told.circuit,
        server_pause=booked.server_pause + told.server_pause,
    )
