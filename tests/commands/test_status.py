import asyncio
import json

import pytest
from click.testing import CliRunner

from scraper.broker.sqlite import SqliteBroker
from scraper.commands import reaching
from scraper.main import main
from scraper.models import Usage
from scraper.ports import Message
from scraper.store.sqlite import SqliteStore
from scraper.store.sqlite_workbench import SqliteWorkbench
from tests.store.results import done, parked


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUN_DIR", str(tmp_path / "run"))
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{tmp_path / 'scraper.db'}")


def stored(*results):
    async def save():
        async with SqliteStore("scraper.db") as store:
            for result in results:
                await store.save(result)

    asyncio.run(save())


def status(*arguments):
    ran = CliRunner().invoke(main, ["status", *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_it_says_what_share_of_the_prompts_the_servers_prefix_cache_served():
    stored(done("a", usage=Usage(3000, 100, 0), calls=1), done("b", usage=Usage(5000, 300, 2000), calls=2))
    assert (
        "tokens   8,000 read, 25% of them from the server's prefix cache\n"
        "         400 written, in 3 calls; of the 2 stored results\n" in status()
    )
    assert json.loads(status("--json"))["tokens_spent"] == {
        "prompt": 8000,
        "cached": 2000,
        "cached_share": 0.25,
        "completion": 400,
        "calls": 3,
    }


def test_of_a_server_that_does_not_tell_it_says_that():
    stored(done("a", usage=Usage(3000, 100, 0), calls=1))
    assert "none of them from a prefix cache as far as the server tells" in status()


def test_with_the_broker_away_it_gives_up_names_the_setting_and_says_what_the_results_hold(monkeypatch):
    stored(done("a"), parked("b"))
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 0.3)
    monkeypatch.setenv("BROKER_URL", "amqp://me:hunter2@127.0.0.1:9/")
    said = CliRunner().invoke(main, ["status"])
    assert said.exit_code == 1
    assert "queue    away: BROKER_URL: amqp://***@127.0.0.1:9/ cannot be reached" in said.stdout
    assert "done     1\nparked   1\n" in said.stdout
    assert "hunter2" not in said.output
    report = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)
    assert (report["tasks"], report["done"]) == (None, 1)


def test_where_nothing_was_asked_it_speaks_of_no_tokens():
    stored(done("a"))
    assert "tokens   " not in status()
    assert json.loads(status("--json"))["tokens_spent"]["cached_share"] == 0


def test_it_says_what_to_do_about_what_is_parked_and_about_what_waits_for_workers():
    stored(done("a"))
    assert "dead" not in status()
    assert "workers  none is running here\n" in status()
    stored(parked("b"))
    assert "scraper dead list says why" in status()
    text, _ = asyncio.run(taken([b"a", b"b"]))
    assert "workers  none is running here; scraper --until-empty does what is left\n" in text


async def taken(bodies):
    """The report while the first of the tasks is with a worker."""
    async with SqliteBroker("scraper.db", namespace="scraper") as broker:
        await broker.publish([Message(body) for body in bodies])
        async with broker.consumer() as consumer:
            await consumer.receive()
            return await asyncio.to_thread(status), json.loads(await asyncio.to_thread(status, "--json"))


def test_every_task_is_in_one_of_its_lines_also_one_that_a_worker_is_at():
    stored()
    text, report = asyncio.run(taken([b"a", b"b"]))
    assert (report["tasks"], report["waiting"], report["in_hand"]) == (1, 0, 1)
    assert "tasks    1   (ready for a worker)\n" in text
    assert "in hand  1   (workers are at them)\n" in text


def test_a_parked_task_that_is_in_the_queue_again_is_not_taken_for_a_second_one():
    stored(parked("a"), parked("b"))

    async def replay():
        async with SqliteWorkbench("scraper.db") as workbench:
            await workbench.replayed([("a", 0)])

    assert "parked   2\n" in status()
    asyncio.run(replay())
    assert "parked   2   (1 in the queue again)\n" in status()
    assert json.loads(status("--json"))["waiting_again"] == 1
