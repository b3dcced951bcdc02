"""Pull the plug on anything, at any moment, and find every task either done once or parked with its reason.

Each test is one row of the table in RELIABILITY.md on one broker: a fault, real processes, and an audit of every task
at the end. CHAOS_TASKS says how many tasks a row has (here 200); `make chaos` runs the same rows with 2,000.
"""

import asyncio
import contextlib
import os
import threading
from concurrent.futures import Future

import pytest

from tests.chaos.rows import RUNS, run_rows
from tests.chaos.world import BROKER_PASSWORD
from tests.rabbitmq import PrivateNode

TASKS = int(os.environ.get("CHAOS_TASKS", "200"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
LANES = int(os.environ.get("CHAOS_LANES", "3"))
HANGS_SECONDS = 3600


@pytest.fixture(scope="module")
def runs(request):
    """The run of each row that is asked for, as a future: they go on, some at a time, while their tests wait in line."""
    asked = {
        item.callspec.params["ran"] for item in request.session.items if "ran" in getattr(item, "fixturenames", ())
    }
    wanted = [(row, kind) for row, kind in RUNS if name(row.name, kind) in asked]
    futures = {name(row.name, kind): Future() for row, kind in wanted}

    begun = Future()

    async def go(node):
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        async for run in run_rows(wanted, tasks=TASKS, seed=SEED, node=node, lanes=LANES):
            futures[name(run.row, run.kind)].set_result(run)

    def work():
        try:
            with PrivateNode(password=BROKER_PASSWORD) as node:
                asyncio.run(go(node))
        except BaseException as error:  # noqa: BLE001 raised in each test that waits for it
            for future in (begun, *futures.values()):
                if not future.done():
                    future.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield futures
    if thread.is_alive():  # the session was stopped at the first failure, or by hand
        loop, task = begun.result()
        with contextlib.suppress(RuntimeError):  # it came to its end by itself, and only its node is still being closed
            loop.call_soon_threadsafe(task.cancel)
    thread.join()


def name(row, kind):
    return f"{row}-{kind}"


@pytest.fixture(params=[name(row.name, kind) for row, kind in RUNS])
def ran(request, runs):
    return runs[request.param].result(HANGS_SECONDS)


def test_every_task_is_done_once_or_parked_with_its_reason(ran):
    print(f"\n{ran}")
    assert ran.breaches == ()
