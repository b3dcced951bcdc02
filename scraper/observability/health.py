"""Is everything there that the workers need? Pure: from what the picture knows."""

from __future__ import annotations

from collections.abc import Iterator

from scraper.observability.view import View, duration

STALLED_SECONDS = 30.0
"""How long tasks may be ready beside idle consumers before a consumer counts as stuck."""


def missing(view: View) -> dict[str, str]:
    """Dependency → what is wrong with it; empty: ready."""
    return dict(_missing(view))


def _missing(view: View) -> Iterator[tuple[str, str]]:
    throttle = view.throttle
    if not view.workers:
        yield "workers", "none is running"
    for what, why in view.away.items():
        yield what.replace(" ", "_"), why
    if throttle.misconfigured:
        yield "model_server", throttle.misconfigured
    elif throttle.circuit == "open":
        when = "" if throttle.retry_in_s is None else f"; next try in {duration(throttle.retry_in_s)}"
        why = " by an operator's order" if throttle.circuit_ordered else ""
        yield "model_server", f"the circuit is open{why}{when}"
    if view.stalled_s >= STALLED_SECONDS and view.queue is not None:
        ready = f"{view.queue.ready} tasks are ready and consumers are idle"
        yield "consumers", f"{ready}, but none was received for {duration(view.stalled_s)}"
