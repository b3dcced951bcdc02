"""What can go wrong, grouped by what to do about it.

ScraperError
  Transient         try the task again later; costs it an attempt
    ModelFailed     the model call spent its retries; an outage costs no attempt
  Held              nothing is wrong with the task: again later, no attempt spent
  Permanent         no attempt can help: park with this reason
  Misconfigured     a setting, file or dependency is wrong: stop and say which
  DeliveryLost      the broker took a delivery back; it will come again
  Unavailable       broker or store cannot be reached now: keep what is in hand, retry with backoff
"""

from __future__ import annotations

from scraper.models import ParkReason


class ScraperError(Exception):
    """Anything this service raises on purpose. The message is fit for a log: no page text, prompt or secret."""


class Transient(ScraperError):
    """Another attempt may succeed, no sooner than `after_seconds` from now."""

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class ModelFailed(Transient):
    """A model call spent its retries.

    `outage` is true where no call at all has succeeded on the endpoint since this one's first attempt: then the
    server is to blame and not the task.
    """

    def __init__(self, message: str, *, outage: bool, after_seconds: float = 0.0) -> None:
        super().__init__(message, after_seconds=after_seconds)
        self.outage = outage


class Held(ScraperError):
    """The task waits for something that is not its fault: a host's turn, an open circuit, a full throttle."""

    def __init__(self, message: str, *, after_seconds: float) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Permanent(ScraperError):
    """No attempt can help; the task is parked with `reason`."""

    def __init__(self, reason: ParkReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Misconfigured(ScraperError):
    """A setting, file or dependency is wrong. The message names it and the fix; start-up stops."""


class DeliveryLost(ScraperError):
    """The broker has taken a delivery back; settling it changes nothing, it is delivered again."""


class Unavailable(ScraperError):
    """The broker or the store cannot be reached at the moment."""
