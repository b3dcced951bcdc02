"""A verdict on its way to the coordinator, and back from its message."""

from __future__ import annotations

from scraper.throttle.protocol import Finish
from scraper.throttle.verdict import Ending, Misconfiguration, Verdict

LONGEST = 2000
"""Characters of a text that a coordinator keeps: a server may have written it, and a snapshot must hold it."""

_ENDINGS = {ending.value: ending for ending in Ending}


def finish_of(lease: int, verdict: Verdict) -> Finish:
    """Without its usage and timings: nothing is decided by them, so they stay with the client."""
    wrong = verdict.misconfiguration
    return Finish(
        lease,
        verdict.ending.value,
        verdict.pause_seconds,
        verdict.pause_reason,
        None if wrong is None else wrong.status,
        "" if wrong is None else wrong.setting,
        "" if wrong is None else wrong.advice,
    )


def verdict_of(finish: Finish) -> Verdict:
    """Raises ValueError for an ending that does not exist."""
    ending, wrong = _ENDINGS.get(finish.ending), None
    if ending is None:
        raise ValueError(f"no such ending: {finish.ending}")
    if finish.wrong_status is not None:
        wrong = Misconfiguration(finish.wrong_status, finish.wrong_setting[:LONGEST], finish.wrong_advice[:LONGEST])
    return Verdict(ending, finish.pause_seconds, finish.pause_reason[:LONGEST], wrong)
