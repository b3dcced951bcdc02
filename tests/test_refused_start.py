"""What only its owner can put right is refused at the start, by every command that needs it, with what to do."""

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing

import aio_pika
import pytest

from scraper.lifeline import EXIT_MISCONFIGURED
from scraper.testing.vllm import SimulatedVLLM
from tests.service import Service
from tests.test_whole_path import children_of, ended, until

COMMANDS = [("--until-empty",), ("submit", "--schema", "product", "more.jsonl"), ("status",)]


@pytest.fixture
def namespace():
    return f"refused-{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def service(tmp_path, namespace):
    (tmp_path / "tasks.jsonl").write_text('{"text": "Kettle, 49.00 EUR"}\n')
    service = Service(tmp_path, QUEUE_NAMESPACE=namespace)
    assert service("submit", "--schema", "product", "tasks.jsonl").returncode == 0  # so that there is a store to read
    (tmp_path / "more.jsonl").write_text('{"text": "Lamp, 19.00 EUR"}\n')
    return service


def refused(service, what, *, commands=COMMANDS):
    for command in commands:
        ran = service(*command, seconds=300)
        assert ran.returncode == 1, (command, ran.stderr)
        for part in what:
            assert part in ran.stderr, (command, ran.stderr)
        assert "Traceback" not in ran.stderr


def test_a_wrong_password(service, rabbitmq_node):
    service.environment["BROKER_URL"] = rabbitmq_node.url_for(password="hush-hush")
    refused(service, ["BROKER_URL", "refused its user name or password"])
    assert "hush-hush" not in service("status").stderr


def test_a_wrong_vhost(service, rabbitmq_node):
    service.environment["BROKER_URL"] = rabbitmq_node.url_for(vhost="nowhere")
    refused(service, ["BROKER_URL", "refused the vhost 'nowhere'", "rabbitmqctl add_vhost"])


def test_a_queue_with_other_arguments(service, rabbitmq_url, namespace):
    async def declare(**options):
        async with await aio_pika.connect(rabbitmq_url) as connection, connection.channel() as channel:
            queue = await channel.declare_queue(f"{namespace}.tasks", durable=True, **options)
            await channel.default_exchange.publish(aio_pika.Message(b"theirs"), routing_key=queue.name)
            return (await channel.declare_queue(queue.name, passive=True)).declaration_result.message_count

    asyncio.run(declare())
    service.environment["BROKER_URL"] = rabbitmq_url
    refused(service, ["QUEUE_NAMESPACE", f"{namespace}.tasks", "inequivalent arg", "rabbitmqctl delete_queue"])
    assert asyncio.run(declare()) >= 1  # still theirs, with what was in it


@pytest.mark.parametrize(
    ("table", "setting", "what"),
    [
        ("results_meta", "RESULTS_URL", "written by a newer scraper"),
        ("queue_meta", "BROKER_URL", "written by a newer scraper"),
    ],
)
def test_a_database_of_a_newer_version(service, table, setting, what):
    path = service.folder / "scraper.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE {table} SET value = 99 WHERE key = 'schema_version'")
    before = tables(path, table.partition("_")[0])
    refused(service, [setting, what, "99"])
    assert tables(path, table.partition("_")[0]) == before


def tables(path, kind):
    """All that stands in tables of this kind."""
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE ?", [f"{kind}_%"]
        )
        return [(name, sql, database.execute(f"SELECT * FROM {name}").fetchall()) for name, sql in found.fetchall()]


async def test_a_wrong_start_takes_no_task_along(service):
    """After the mistake is mended, the task that waited all the time is worked on."""
    path = service.folder / "scraper.db"
    with closing(sqlite3.connect(path)) as database, database:
        [(version,)] = database.execute("SELECT value FROM queue_meta WHERE key = 'schema_version'")
        database.execute("UPDATE queue_meta SET value = 99 WHERE key = 'schema_version'")
    await asyncio.to_thread(refused, service, ["newer"], commands=COMMANDS[:1])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE queue_meta SET value = ? WHERE key = 'schema_version'", (version,))
    async with SimulatedVLLM(preset="rtx5090-8b", time_scale=40) as model:
        service.environment["VLLM_BASE_URL"] = model.base_url
        ran = await asyncio.to_thread(service, "--until-empty", seconds=300)
    assert ran.returncode == 0, ran.stderr
    assert [row["status"] for row in await asyncio.to_thread(service.results)] == ["done"]


class Refusal:
    """What a setting names refuses it, from now until it is lifted, although it was right."""

    def __init__(self, service, node=None):
        self._service, self._node = service, node
        if node is not None:
            self._user = service.environment["QUEUE_NAMESPACE"]
            node.ctl("add_user", self._user, "right")
            node.ctl("set_permissions", self._user, ".*", ".*", ".*")
            service.environment["BROKER_URL"] = node.url_for(user=self._user, password="right")
        self._results = service.folder / "scraper.db"
        self._kept = service.folder / "scraper.kept"

    def begin(self):
        if self._node is not None:
            self._node.ctl("change_password", self._user, "another")
        else:
            self._results.rename(self._kept)
            self._results.write_text("This is no database. " * 100)

    def lift(self):
        if self._node is not None:
            self._node.ctl("change_password", self._user, "right")
        else:
            self._kept.replace(self._results)


@pytest.mark.parametrize("what", ["broker", "store"])
async def test_what_was_right_for_a_worker_is_waited_for_by_the_next(service, what, request):
    on_rabbitmq = what == "broker"
    refusal = Refusal(service, request.getfixturevalue("rabbitmq_node") if on_rabbitmq else None)
    if not on_rabbitmq:
        service.environment["BROKER_URL"] = f"sqlite:///{service.folder / 'queue.db'}"
    async with SimulatedVLLM(preset="instant") as model:
        service.environment |= {"VLLM_BASE_URL": model.base_url, "VLLM_REQUESTS_PER_MINUTE": "6000"}
        with service.running() as process:
            async for _ in until(process, "worker_started"):
                pass
            await asyncio.to_thread(refusal.begin)
            [worker] = children_of(process.pid)
            os.kill(worker, signal.SIGKILL)
            seen = [event["exit_code"] async for event in until(process, "worker_restarted", "worker_restarted")]
            assert seen == [-signal.SIGKILL, EXIT_MISCONFIGURED]
            await asyncio.to_thread(refusal.lift)
            async for _ in until(process, "worker_started"):
                pass
            process.send_signal(signal.SIGTERM)
            code, log = await ended(process)
    assert code == 0, log
