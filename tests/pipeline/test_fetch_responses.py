from datetime import UTC, datetime

import pytest

from scraper.errors import Permanent, Transient
from scraper.models import ParkReason
from scraper.pipeline.responses import (
    MAX_RETRY_AFTER_SECONDS,
    UNSAID_PAUSE_SECONDS,
    concerns_the_host,
    location_of,
    pause_of,
)

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 203, 206, 299])
def test_success_is_the_page(status):
    assert location_of(status, "/ignored", host="a.com") is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_lead_elsewhere(status):
    assert location_of(status, "/there", host="a.com") == "/there"
    with pytest.raises(Permanent, match=f"answered {status} without saying where to"):
        location_of(status, None, host="a.com")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "page_gone"), (401, "page_gone"), (403, "page_gone"), (404, "page_gone"), (410, "page_gone"), (451, "page_gone"), (999, "page_gone"),
     (204, "page_gone"), (205, "page_gone"), (101, "page_gone"), (300, "redirects"), (304, "redirects")],
)  # fmt: skip
def test_an_answer_that_no_attempt_can_change_is_permanent(status, reason):
    with pytest.raises(Permanent, match=str(status)) as error:
        location_of(status, None, host="a.com")
    assert error.value.reason is ParkReason(reason)


@pytest.mark.parametrize("status", [408, 425])
def test_an_answer_about_this_one_request_is_worth_another(status):
    with pytest.raises(Transient):
        location_of(status, None, host="a.com")


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [(429, "120", 120), (503, " 7 ", 7), (500, "1.5", 1.5), (503, "Tue, 01 Jan 2030 12:05:00 GMT", 300), (503, "Tue, 01 Jan 2030 11:00:00 GMT", 0),
     (503, "Tuesday, 01-Jan-30 12:00:10 GMT", 10), (503, None, 0), (429, None, UNSAID_PAUSE_SECONDS), (429, "soon", UNSAID_PAUSE_SECONDS),
     (429, "-5", UNSAID_PAUSE_SECONDS), (503, "999999999", MAX_RETRY_AFTER_SECONDS), (503, "9" * 5000, 0), (503, "٣", 0), (503, "nan", 0),
     (503, "Tue, 99 Jan 2030 99:99:99 GMT", 0), (502, "", 0), (599, None, 0)],
)  # fmt: skip
def test_a_site_is_given_the_rest_it_asks_for(status, retry_after, seconds):
    assert pause_of(status, retry_after, now=NOW) == seconds


@pytest.mark.parametrize("status", [200, 301, 404, 408, 600, 999])
def test_other_answers_ask_for_no_rest(status):
    assert pause_of(status, "60", now=NOW) is None


def test_too_many_requests_and_unavailable_are_meant_for_the_whole_host():
    assert [status for status in (200, 429, 500, 502, 503, 504) if concerns_the_host(status)] == [429, 503]
