"""The witnesses must see what they are there to see."""

import asyncio
import subprocess
import sys

import pytest

from scraper.models import ParkReason
from scraper.store.sqlite import SqliteStore
from tests.chaos.audit import Stored
from tests.chaos.proxy import Cable
from tests.chaos.queues import EmbeddedQueue
from tests.chaos.witnesses import call_witness, statement_of
from tests.chaos.world import World
from tests.store.results import done, parked

ORPHAN = """
import subprocess, sys
sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
print(subprocess.Popen(sleeps, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True).pid)
"""


async def test_the_witness_writes_down_each_time_that_a_result_is_taken(tmp_path):
    path = tmp_path / "results.db"
    async with SqliteStore(path) as store:
        call_witness(path)
        await store.save(done("a"))
        await store.save(done("a"))  # a repetition, which changes nothing
        await store.save(parked("b", reason=ParkReason.ATTEMPTS))
        await store.save(done("b"))
    assert statement_of(path) == [Stored("a", "done"), Stored("b", "attempts"), Stored("b", "done")]


async def test_processes_of_a_world_are_found_however_they_were_started(tmp_path):
    async with World(tmp_path, queue=EmbeddedQueue(), tasks=20, seed=1) as world:
        assert world.processes() == []
        started = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", ORPHAN], env=world.environment, capture_output=True, check=True
        )
        assert world.processes() == [int(started.stdout)]
        world.kill()
        while world.processes():  # noqa: ASYNC110 the kernel has no event for it
            await asyncio.sleep(0.01)


async def test_nothing_passes_a_cable_that_is_cut_until_it_is_mended():
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with (
        await asyncio.start_server(echo, "127.0.0.1", 0) as server,
        Cable(server.sockets[0].getsockname()[1]) as cable,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        cable.cut()
        writer.write(b"during")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(6), 0.2)
        cable.mend()
        assert await reader.readexactly(6) == b"during"
        writer.close()
        await writer.wait_closed()
