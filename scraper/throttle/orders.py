"""What an operator's orders do to the throttle of an endpoint."""

from __future__ import annotations

from scraper.throttle.admission import Admission
from scraper.throttle.brought_limits import BroughtLimits, Override
from scraper.throttle.endpoint_pause import UNTIL_RESUMED_SECONDS
from scraper.throttle.protocol import BadLine, Command


def carry_out(command: Command, admission: Admission, limits: BroughtLimits, now: int) -> None:
    """Limits hold once they are applied to the admission. Raises BadLine for an order that does not exist."""
    match command.verb:
        case "set":
            limits.override = limits.override.changed(command, now)
        case "reset":
            limits.override = Override()
        case "pause":
            seconds = UNTIL_RESUMED_SECONDS if command.seconds is None else command.seconds
            admission.pause(seconds, now, reason="an operator's order")
        case "resume":
            admission.resume(now)
        case "open":
            admission.open_circuit(now)
        case "close":
            admission.close_circuit(now)
        case _:
            raise BadLine("no such order")


def in_words(command: Command) -> str:
    """As `scraper throttle` takes it, for a log."""
    limit, rate, seconds = command.max_concurrent, command.requests_per_minute, command.seconds
    options = {"max-concurrent": limit, "requests-per-minute": rate, "seconds": seconds}
    return " ".join([command.verb, *(f"--{name} {each:g}" for name, each in options.items() if each is not None)])
