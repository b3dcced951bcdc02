"""A run whose workers cannot start: what passes is waited for, what does not pass ends it with what to do."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from scraper.app import open_broker
from scraper.commands.run import supervise
from scraper.config import Settings
from scraper.events import ignore
from scraper.ports import Message
from tests.service import Service


def broken(folder):
    """A package of the installation that cannot be imported, as after an update that broke off; the supervisor can."""
    package = folder / "broken" / "selectolax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('lexbor.so: failed to map segment')")
    return str(package.parent)


@pytest.mark.parametrize("until_empty", [True, False], ids=["until empty", "service"])
async def test_a_broken_installation_ends_the_run_with_what_is_wrong_and_the_fix(tmp_path, monkeypatch, until_empty):
    database = f"sqlite:///{tmp_path / 'scraper.db'}"
    settings = Settings(_env_file=None, broker_url=database, results_url=database, run_dir=tmp_path / "run")
    async with open_broker(settings, observe=ignore) as broker:
        await broker.publish([Message(b"{}", "a")])
    monkeypatch.setenv("PYTHONPATH", broken(tmp_path))
    monkeypatch.setattr("scraper.commands.run.started", lambda: None)  # this process goes on to other things
    monkeypatch.setattr("scraper.supervisor._FIRST_BACKOFF_SECONDS", 0.01)
    said = []
    async with asyncio.timeout(300):
        exit_code, last_words = await supervise(settings, until_empty=until_empty, say=said.append)
    assert exit_code == 1
    assert "no worker could be started, 6 times in a row; the last one ended with exit code 1" in last_words
    assert "pip install --force-reinstall" in last_words


def test_a_results_store_that_is_away_at_the_start_is_waited_for(tmp_path):
    results = tmp_path / "results.db"
    service = Service(tmp_path, RESULTS_URL=f"sqlite:///{results}")
    with closing(sqlite3.connect(results, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with service.running() as run:
            assert run.stderr is not None
            said = [next(line for line in run.stderr if '"waiting_for"' in line or '"worker_restarted"' in line)]
            other.execute("ROLLBACK")
            said.append(next(line for line in run.stderr if '"worker_started"' in line or '"worker_restarted"' in line))
            run.terminate()
            run.communicate(timeout=300)
    assert '"what": "store"' in said[0]
    assert '"worker_started"' in said[1]
