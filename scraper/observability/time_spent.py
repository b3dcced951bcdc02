"""Where the time went, as lines to read: phases with their share, the longest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

WORTH_A_LINE = 0.005
_BAR = 14
"""With the longest words beside it a line fits 80 columns."""

PHASES: Mapping[str, str] = {
    "host_delay": "politeness to the sites (FETCH_DELAY)",
    "fetch": "the sites",
    "clean": "reading pages (CPU)",
    "wait_slot": "a free slot (VLLM_MAX_CONCURRENT)",
    "wait_rate": "the pace (VLLM_REQUESTS_PER_MINUTE)",
    "wait_circuit": "the open circuit",
    "server_pause": "pauses: server, operator, wrong setting",
    "backoff": "retries of failed model calls",
    "first_token": "the model's queue, its reading prompts",
    "generate": "the model's writing",
    "validate": "checking answers (CPU)",
    "store": "the results database and the broker",
}
"""Every phase of a task, in its order, and what it waits for or works on."""

NAMES: Mapping[str, str] = {
    "wait_rate": "pace",
    "wait_slot": "slot",
    "wait_circuit": "circuit",
    "server_pause": "pause",
    "host_delay": "politeness",
    "fetch": "sites",
    "generate": "writing",
    "first_token": "reading",
    "clean": "cleaning",
    "validate": "checking",
}
"""The same in a word, where there is no room; the status page calls them so too."""


def lines(seconds: Mapping[str, float]) -> Iterator[str]:
    """One line for each phase that is worth it."""
    total = sum(seconds.values())
    for phase, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        if total > 0 and spent / total >= WORTH_A_LINE:
            bar = "█" * round(spent / total * _BAR)
            yield f"  {phase:13}{spent / total:>5.0%}  {bar:{_BAR}}  {PHASES.get(phase, phase)}"
