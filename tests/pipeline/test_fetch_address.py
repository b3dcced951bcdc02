import pytest

from scraper.errors import Permanent
from scraper.pipeline.fetch_address import refuse_hopeless


@pytest.mark.parametrize(
    "url",
    ["http://", "ftp://a.com/x", "mailto:me@a.com", "http://user:pw@a.com/", "http://a.com:22/", "http://a..com/"],
)
def test_what_no_worker_would_fetch_is_hopeless(url):
    with pytest.raises(Permanent) as refused:
        refuse_hopeless(url)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://a.com/x?y#z", "http://bücher.example/", "http://localhost:8080/", "http://10.0.0.1/"]
)
def test_what_a_worker_may_fetch_under_some_setting_is_not_hopeless(url):
    refuse_hopeless(url)
