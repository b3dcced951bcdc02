"""`submit` as its owner types it, over a real embedded queue."""

import pytest
from click.testing import CliRunner

from scraper.main import main


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'scraper.db'}")


def submitted(tmp_path, text, *options, name="urls.txt"):
    (tmp_path / name).write_text(text)
    return CliRunner().invoke(main, ["submit", *options, name])


def test_addresses_that_can_never_be_fetched_are_refused_with_their_line(tmp_path):
    said = submitted(tmp_path, "http://\nhttps://a.com/1\nftp://a.com/x\n", "--schema", "product")
    assert said.exit_code == 1
    assert said.output.splitlines() == [
        "urls.txt line 1: the address names no valid host",
        "urls.txt line 3: only http: and https: addresses are fetched, this one has ftp:",
        "1 queued, 0 skipped (done or waiting already), 2 refused",
    ]
