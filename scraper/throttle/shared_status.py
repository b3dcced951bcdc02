"""The state of a shared throttle as plain values, for an operator's eyes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from scraper.throttle.admission import Admission
from scraper.throttle.brought_limits import BroughtLimits
from scraper.throttle.member import Member
from scraper.throttle.nanoseconds import to_seconds
from scraper.throttle.scope import Scope


def status_of(
    admission: Admission, members: Collection[Member], limits: BroughtLimits, scope: Scope, now: int
) -> dict[str, Any]:
    pause, override, settings = admission.pause_memory, limits.override, limits.settings(members)
    retry_at, pacer = admission.breaker.wakes_at, admission.pacer
    return {
        "max_concurrent": admission.limit,
        "requests_per_minute": admission.pacer.requests_per_minute,
        "next_start_in_s": None if pacer.last_start is None else _seconds_until(pacer.ready_at, now),
        "set_by_command": {
            "max_concurrent": override.max_concurrent,
            "requests_per_minute": override.requests_per_minute,
        },
        "set_ago_s": None if override.set_at is None else _seconds_until(now, override.set_at),
        "settings_say": None if settings is None else settings._asdict(),
        "in_flight": admission.in_flight,
        "waiting": admission.waiting,
        "blocked_by": admission.blocked_by(now),
        "circuit": {
            "state": str(admission.breaker.state),
            "ordered": admission.breaker.ordered,
            "failures": admission.breaker.failures,
            "threshold": admission.breaker.threshold,
            "timeout_s": admission.breaker.timeout_seconds,
            "retry_in_s": None if retry_at is None else _seconds_until(retry_at, now),
            "generation": admission.breaker.generation,
            "probes": admission.probes,
        },
        "starts": admission.starts.plain(to_seconds(now)),
        "paused_for_s": _seconds_until(pause.until, now),
        "pause_reason": pause.reason if now < pause.until else "",
        "misconfigured": pause.wrong if pause.check_at is not None else "",
        "queues": scope.plain(),
        "processes": [
            {
                "pid": member.process.pid,
                "brings": None if member.brings is None else member.brings._asdict(),
                "connected": member.connected,
                "waiting": len(member.waiting),
                "in_flight": len(admission.held_by(member.token)),
                "consumers": scope.consumers_of(member.token),
                "wrong": member.wrong,
            }
            for member in members
        ],
    }


def _seconds_until(moment: int, now: int) -> float:
    return round(max(0.0, to_seconds(moment - now)), 3)
