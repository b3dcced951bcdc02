"""What `check` makes of what it looks at."""

from scraper.check import look
from scraper.errors import Unavailable


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
