"""A verdict on its way to the coordinator, and back from its message."""

from __future__ import annotations

from scraper.models import Usage
from scraper.throttle.protocol import Finish
from scraper.throttle.verdict import Ending, Misconfiguration, Verdict

_ENDINGS = {ending.value: ending for ending in Ending}


def finish_of(lease: int, verdict: Verdict) -> Finish:
    wrong, usage = verdict.misconfiguration, verdict.usage
    return Finish(
        lease=lease,
        ending=verdict.ending.value,
        pause_seconds=verdict.pause_seconds,
        pause_reason=verdict.pause_reason,
        wrong_status=None if wrong is None else wrong.status,
        wrong_setting="" if wrong is None else wrong.setting,
        wrong_advice="" if wrong is None else wrong.advice,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        first_token_seconds=verdict.first_token_seconds,
        total_seconds=verdict.total_seconds,
    )


def verdict_of(finish: Finish) -> Verdict:
    """Raises ValueError for an ending that does not exist."""
    ending, wrong = _ENDINGS.get(finish.ending), None
    if ending is None:
        raise ValueError(f"no such ending: {finish.ending}")
    if finish.wrong_status is not None:
        wrong = Misconfiguration(finish.wrong_status, finish.wrong_setting, finish.wrong_advice)
    return Verdict(
        ending,
        pause_seconds=finish.pause_seconds,
        pause_reason=finish.pause_reason,
        misconfiguration=wrong,
        usage=Usage(finish.prompt_tokens, finish.completion_tokens, finish.cached_tokens),
        first_token_seconds=finish.first_token_seconds,
        total_seconds=finish.total_seconds,
    )
