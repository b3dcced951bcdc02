"""What `check` makes of what it looks at."""

import pytest

from scraper.check import look, throttled_elsewhere
from scraper.errors import Misconfigured, Unavailable


async def test_what_does_not_answer_in_time_is_a_finding_and_no_crash():
    async def at():
        raise TimeoutError

    finding = await look("BROKER_URL", at)
    assert (finding.what, finding.verdict) == ("BROKER_URL", "failed")
    assert finding.message


async def test_what_is_away_is_said_in_its_own_words():
    async def at():
        raise Unavailable("127.0.0.1:5672: connection refused")

    assert (await look("BROKER_URL", at)).message == "127.0.0.1:5672: connection refused"


def test_only_consumers_that_the_throttle_does_not_know_are_worth_a_word():
    assert throttled_elsewhere("shop", counted=6, known=6) is None
    assert throttled_elsewhere("shop", counted=0, known=None) is None
    assert throttled_elsewhere("shop", counted=None, known=3) is None
    assert "2 of 6 consumers of shop" in throttled_elsewhere("shop", counted=6, known=4).message


@pytest.mark.parametrize(
    ("message", "shown"),
    [("RUN_DIR=/x: is full", "/x: is full"), ("RUN_DIR: is full", "is full"), ("HOME is full", "HOME is full")],
)
async def test_a_finding_names_its_setting_once(message, shown):
    async def at():
        raise Misconfigured(message)

    assert (await look("RUN_DIR", at)).message == shown
