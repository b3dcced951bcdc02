"""The throttle's state as a person reads it: pure, from the plain values of `throttle.operations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scraper.observability.view import duration, number_of, until_resumed

Status = Mapping[str, Any]

_BLOCKERS = {
    "slot": "the slots, VLLM_MAX_CONCURRENT",
    "rate": "the pace, VLLM_REQUESTS_PER_MINUTE",
    "circuit": "the circuit",
    "server_pause": "a pause",
}


def lines(status: Status) -> Iterator[str]:
    """The whole state, one fact a line, then a table of the processes."""
    yield f"{'host':<12}process {status['host_pid']}"
    if supervisors := " ".join(map(str, status.get("supervisors", ()))):
        yield f"{'supervisor':<12}process {supervisors}   (kill -HUP {supervisors} reads .env again)"
    yield f"{'in flight':<12}{status['in_flight']} of {status['max_concurrent']}"
    yield f"{'pace':<12}{_pace(status)}"
    yield f"{'waiting':<12}{_waiting(status)}"
    yield f"{'circuit':<12}{_circuit(status['circuit'])}"
    yield f"{'pause':<12}{_pause(status)}"
    yield from _found_wrong(status["processes"])
    yield f"{'limits':<12}{_limits(status)}"
    for queue in status["queues"]:
        yield f"{'queue':<12}{_queue(queue)}"
    yield from _table(status["processes"])


def surplus(queue: Status) -> int:
    """How many consumers the broker counts that the throttle does not know."""
    return max(0, (queue["counted"] or 0) - int(queue["known"]))


def _pace(status: Status) -> str:
    pace = f"{status['requests_per_minute']:g} a minute"
    soon = status["next_start_in_s"]
    return f"{pace}, the next start in {_seconds(soon)} at the earliest" if soon else pace


def _waiting(status: Status) -> str:
    waiting, blocked_by = status["waiting"], status["blocked_by"]
    return f"{waiting}, held back by {_BLOCKERS[blocked_by]}" if waiting and blocked_by else str(waiting)


def _circuit(circuit: Status) -> str:
    failures = f"{circuit['failures']} of {circuit['threshold']} failures in a row"
    match circuit["state"]:
        case "closed":
            return f"closed: {failures}"
        case "open" if circuit["ordered"]:
            return f"OPEN: an operator's order; one request tries in {_seconds(circuit['retry_in_s'])}"
        case "open":
            failed = number_of("failure", circuit["failures"])
            return f"OPEN: {failed} in a row; one request tries in {_seconds(circuit['retry_in_s'])}"
        case _ if circuit["retry_in_s"] is None:
            return "HALF OPEN: the next request tries whether the model server works again"
        case _:
            return "HALF OPEN: one request is trying whether the model server works again"


def _pause(status: Status) -> str:
    if status["misconfigured"]:
        return f"A SETTING IS WRONG: {status['misconfigured']}"
    left = status["paused_for_s"]
    if not left:
        return "none"
    until = "until scraper throttle resume" if until_resumed(left) else f"{_seconds(left)} left"
    return f"PAUSED, {until}: {status['pause_reason']}"


def _found_wrong(processes: Sequence[Status]) -> Iterator[str]:
    """What the server refuses some processes at first contact: they ask for no turn, so it holds nobody else."""
    found: dict[str, list[str]] = {}
    for process in processes:
        if process["wrong"]:
            found.setdefault(process["wrong"], []).append(str(process["pid"] or "?"))
    for wrong, pids in found.items():
        named = f"process {', '.join(pids)}" if len(pids) == 1 else f"processes {', '.join(pids)}"
        yield f"{'setting':<12}A SETTING IS WRONG for {named}: {wrong}"


def _limits(status: Status) -> str:
    by_command = status["set_by_command"]
    named = [
        f"{by_command[name]:g} {unit}"
        for name, unit in (("max_concurrent", "in flight"), ("requests_per_minute", "a minute"))
        if by_command[name] is not None
    ]
    if named:
        settings = status["settings_say"]
        say = f"; the settings say {_two(settings)}" if settings else ""
        return (
            f"{' and '.join(named)} set by command {duration(status['set_ago_s'] or 0.0)} ago, until scraper throttle "
            f"reset{say}"
        )
    return "the strictest that the processes bring"


def _queue(queue: Status) -> str:
    known = f"{queue['queue']}: {number_of('consumer', queue['known'])} of these processes"
    if not surplus(queue):
        return known
    return (
        f"{known}, but {queue['counted']} at the broker: {surplus(queue)} are NOT throttled here; run them with the "
        "same RUN_DIR, or divide the limits"
    )


def _table(processes: Sequence[Status]) -> Iterator[str]:
    if not processes:
        yield "no process asks for requests at present"
        return
    yield ""
    yield f"{'process':>9} {'in flight':>10} {'waiting':>8} {'consumers':>10}   brings"
    for process in processes:
        away = "" if process["connected"] else "   (not connected)"
        yield (
            f"{process['pid'] or '?':>9} {process['in_flight']:>10} {process['waiting']:>8} "
            f"{process['consumers']:>10}   {_brings(process['brings'])}{away}"
        )


def _brings(brings: Status | None) -> str:
    if brings is None:
        return "nothing yet"
    return f"{_two(brings)}, circuit {brings['threshold']} failures / {brings['timeout_seconds']:g} s"


def _two(limits: Status) -> str:
    return f"{limits['max_concurrent']} in flight, {limits['requests_per_minute']:g} a minute"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
