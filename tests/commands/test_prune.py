import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from scraper.broker.sqlite import SqliteBroker
from scraper.main import main
from scraper.models import Page, Remains
from scraper.ports import Message
from scraper.store.sqlite import SqliteStore
from tests.store.results import done, parked

OLD = datetime.now(UTC) - timedelta(days=40)


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'scraper.db'}")


@pytest.fixture
def old_things():
    async def save():
        async with SqliteStore("scraper.db", clock_ns=lambda: int(OLD.timestamp()) * 10**9) as store:
            await store.answers.keep(b"key", {"data": "x" * 3000})
            await store.save(done("done", finished_at=OLD))
            await store.save(parked("parked", finished_at=OLD), Remains(b"{}", Page(None, "<p>"), "{"))
            await store.submitted(["gone"])

    asyncio.run(save())


def prune(*arguments, code=0):
    ran = CliRunner().invoke(main, ["prune", *arguments])
    assert ran.exit_code == code, ran.output
    return ran


def counts(*arguments):
    freed = json.loads(prune("--json", *arguments).stdout)
    return freed.pop("dry_run"), {what: each["count"] for what, each in freed.items()}


def test_old_things_go_and_results_only_if_asked(old_things):
    assert counts("--older-than", "50d") == (False, {"cache": 0, "pages": 0, "submitted": 0})
    assert counts("--older-than", "30d", "--dry-run") == (True, {"cache": 1, "pages": 1, "submitted": 1})
    assert counts("--older-than", "30d") == (False, {"cache": 1, "pages": 1, "submitted": 1})
    assert counts("--older-than", "30d", "--results") == (
        False,
        {"cache": 0, "pages": 0, "results": 1, "submitted": 0},
    )


def test_people_read_counts_and_sizes(old_things):
    said = prune("--older-than", "30d", "--dry-run")
    assert said.stdout.splitlines()[0].split(maxsplit=3) == ["1", "2.9", "KiB", "remembered answers"]
    assert "nothing was changed" in said.stderr


def test_ids_are_remembered_while_anything_waits(old_things):
    async def publish():
        async with SqliteBroker("scraper.db", namespace="scraper") as broker:
            await broker.publish([Message(b"{}", "waiting")])

    asyncio.run(publish())
    assert "submitted" not in counts("--older-than", "30d")[1]
    assert "the queue is not empty" in prune("--older-than", "30d").stderr


def test_a_broker_that_is_away_keeps_nobody_from_pruning(old_things, monkeypatch):
    monkeypatch.setattr("scraper.commands.prune.BROKER_SECONDS", 0.2)
    monkeypatch.setenv("BROKER_URL", "amqp://guest:guest@127.0.0.1:9/")
    assert counts("--older-than", "30d") == (False, {"cache": 1, "pages": 1})


def test_without_an_age_nothing_is_pruned(old_things):
    assert "--older-than" in prune(code=2).output
    assert counts("--older-than", "30d")[1]["cache"] == 1
