"""Whose fault it is decides what happens: from an error to the task's outcome.

| error                                              | outcome                                          |
|----------------------------------------------------|--------------------------------------------------|
| Held (host's turn, circuit, pause, full throttle)  | Hold: a wait queue, attempts unchanged           |
| ModelFailed, nothing succeeded since: an outage    | Hold: a wait queue, attempts unchanged           |
| ModelFailed, another call succeeded since          | Retry: a wait queue, one attempt spent           |
| Transient (page 429, 5xx, timeout, connection, DNS)| Retry: a wait queue, one attempt spent           |
| Retry with the last attempt spent                  | Park `attempts`                                  |
| Permanent                                          | Park with its reason                             |
| anything else                                      | Retry: a bug must not stop the rest, nor loop    |

Pure: the same error and the same count of attempts always give the same outcome.
"""

from __future__ import annotations

from typing import Literal

from scraper.errors import Held, ModelFailed, Permanent, Transient
from scraper.models import Hold, Outcome, Park, ParkReason, Retry, Standing
from scraper.trace import Phase

ATTEMPT_WAITS_SECONDS = (5.0, 15.0, 60.0, 300.0)
OUTAGE_WAIT_SECONDS = 60.0


def settle(error: Exception, *, attempts: int, max_attempts: int) -> Outcome:
    """What to do with a task that failed with `error` after `attempts` attempts spent before this one."""
    match error:
        case Permanent(reason=reason):
            return Park(reason, str(error))
        case Held(after_seconds=after_seconds):
            return Hold(after_seconds, str(error))
        case ModelFailed(outage=True):
            return Hold(max(error.after_seconds, OUTAGE_WAIT_SECONDS), str(error))
        case Transient(after_seconds=after_seconds):
            return _again(str(error), after_seconds, attempts=attempts, max_attempts=max_attempts)
        case _:
            story = f"unexpected {type(error).__name__}"  # its text may quote the page
            return _again(story, 0.0, attempts=attempts, max_attempts=max_attempts)


def _again(error: str, after_seconds: float, *, attempts: int, max_attempts: int) -> Outcome:
    if attempts + 1 >= max_attempts:
        return Park(ParkReason.ATTEMPTS, f"{error} (attempt {attempts + 1} of {max_attempts})")
    backoff = ATTEMPT_WAITS_SECONDS[min(attempts, len(ATTEMPT_WAITS_SECONDS) - 1)]
    return Retry(max(backoff, after_seconds), error)


def seen_before(
    standing: Standing | None, *, content_sha256: str, submission: int, unnumbered: bool = False
) -> Literal["new", "stored", "duplicate", "anew"]:
    """What the stored row of the same id means for a task that just arrived.

    A done row of this submission, or of a newer one, makes the delivery a repetition. A done row with other content
    makes the id a mistake, unless the task was submitted anew on purpose. A parked row of the same content makes it a
    repetition if it is of this submission, or this one has no number: a worker died between the row and the
    acknowledgement. Whoever wants such a task run once more submits it under a new number. A stranger's program
    cannot: `unnumbered`, its first delivery is a wish, and gets a number.
    """
    if standing is None or submission > standing.submission:
        return "new"
    if standing.status == "parked":
        if unnumbered:
            return "anew"
        own_end = content_sha256 == standing.content_sha256 and submission in (0, standing.submission)
        return "stored" if own_end else "new"
    if submission == standing.submission and content_sha256 != standing.content_sha256:
        return "duplicate"
    return "stored"


_AT_WORK: frozenset[Phase] = frozenset({"first_token", "generate", "validate", "store"})
"""Where the GPU works for a task, or what came of it is looked at and kept."""


def worth_finishing(phase: Phase, *, answered: bool, model_away: bool, store_away: bool) -> bool:
    """Whether a worker that was told to stop goes on with a task; else it is handed back, its attempts unchanged.

    What the GPU has worked for is not thrown away: a task that is `answered`, in part, may wait for another turn (a
    repair, the next part, a retry) unless nobody gets one, and for a store that is away, which costs no GPU to try
    again. Whatever has cost a page at most is handed back.
    """
    if phase == "store" and store_away:
        return answered
    return phase in _AT_WORK or (phase in {"wait_slot", "backoff"} and answered and not model_away)
