"""On which terms an answer is asked for, and how they change when one did not come to its end.

An answer that ran away or was cut off is never asked for again on the same terms: that would only cost the same again.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from scraper.models import Json

LONGER: Final = 4  # times VLLM_MAX_TOKENS that an answer may have at most, once one was cut off
WORTHWHILE: Final = 1.25  # times as long, or asking again will not help
TIME_SHARE: Final = 0.8  # of an attempt's time that a longer answer may need, at the speed of the one before

_TEMPERATURES: Final = (0.4, 0.8)  # out of a loop: a little at first
_FREQUENCY_PENALTY: Final = 0.2  # more makes a list's own words too dear
_COMPACT: Final = (
    "Write the JSON on one line, without line breaks or indentation, and end it as soon as it is complete."
)


@dataclass(frozen=True, slots=True)
class Terms:
    """Tokens of the answer now and at most ever, what is asked of the sampling, what the model is reminded of."""

    max_tokens: int
    ceiling: int
    sampling: Mapping[str, Json] = field(default_factory=dict)
    reminder: str = ""

    def after_runaway(self, times: int) -> Terms:
        """After an answer that went on without end, for the `times`-th time: sampled otherwise, told to be brief."""
        sampling = {
            "temperature": _TEMPERATURES[min(times, len(_TEMPERATURES)) - 1],
            "frequency_penalty": _FREQUENCY_PENALTY,
            "seed": times,
        }
        return replace(self, sampling=sampling, reminder=_COMPACT)

    def after_cut(self, answer: str, *, room: int) -> Terms | None:
        """After `answer`, cut off at `max_tokens`: longer as far as there is `room`, and without what only fills space.

        None where neither would help.
        """
        longer = max(self.max_tokens, min(self.ceiling, room))
        if longer < WORTHWHILE * self.max_tokens and (self.reminder or not _is_spaced_out(answer)):
            return None
        return replace(self, max_tokens=longer, reminder=_COMPACT)


def first_terms(max_tokens: int) -> Terms:
    return Terms(max_tokens, ceiling=LONGER * max_tokens)


def tokens_in_time(tokens: int, *, took_seconds: float, attempt_seconds: float) -> int:
    """Tokens that one attempt can bring, when `tokens` took `took_seconds`."""
    if took_seconds <= 0:
        return LONGER * tokens
    return int(tokens * TIME_SHARE * attempt_seconds / took_seconds)


def _is_spaced_out(answer: str) -> bool:
    """Whether a fifth or more of it only fills space."""
    return 5 * len(" ".join(answer.split())) <= 4 * len(answer)
