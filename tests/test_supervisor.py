"""Real processes under a real supervisor; each worker is a few lines of Python that speak over the lifeline."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from scraper.event_loop import run
from scraper.events import WorkerCannotStart, WorkerRestarted
from scraper.lifeline import EXIT_MISCONFIGURED, READY, Stop
from scraper.supervisor import MOST_FAILED_STARTS, Supervisor

OBEDIENT = "import os, sys; print('ready', flush=True); print(os.getpid(), flush=True); print(sys.stdin.readline().strip(), flush=True)"
STUBBORN = """
import sys
print("up", flush=True)
for line in sys.stdin:
    print(line.strip(), flush=True)
    if line == "now\\n":
        break
"""
CRASHING = "import sys; print('ready', flush=True); print('up', flush=True); sys.exit(3)"
UNABLE = "import sys; sys.exit(3)"
DEAF = "import os, time; os.close(0); print('up', flush=True); time.sleep(1)"
REFUSING = f"import sys; print('VLLM_X: wrong', file=sys.stderr); sys.exit({EXIT_MISCONFIGURED})"


class Watched:
    def __init__(self):
        self.lines, self.logs, self.events, self.changed = [], [], [], asyncio.Event()

    def _add(self, where, what):
        where.append(what)
        self.changed.set()

    def on_status(self, worker, line):
        self._add(self.lines, (worker, line.decode().strip()))

    def on_log(self, line):
        self._add(self.logs, line.decode().strip())

    def observe(self, event):
        self._add(self.events, event)

    async def until(self, condition):
        async with asyncio.timeout(300):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def supervised(script, *, workers=1, drain_seconds=300.0, ends_by_itself=False):
    watched, stop = Watched(), Stop()
    supervisor = Supervisor(
        [sys.executable, "-c", script],
        workers=workers,
        drain_seconds=drain_seconds,
        ends_by_itself=ends_by_itself,
        observe=watched.observe,
        on_status=watched.on_status,
        on_log=watched.on_log,
        environment={"PYTHONUNBUFFERED": "1"},
    )
    running = asyncio.create_task(supervisor.run(stop))
    try:
        yield supervisor, watched, stop, running
    finally:
        stop.drain.set()
        stop.now.set()
        await running


async def test_each_place_has_its_worker_and_draining_tells_all_of_them():
    async with supervised(OBEDIENT, workers=3) as (_, watched, stop, running):
        await watched.until(lambda: len(watched.lines) == 3)
        assert {worker for worker, _ in watched.lines} == {0, 1, 2}
        stop.drain.set()
        await running
    assert [line for _, line in watched.lines[3:]] == ["drain"] * 3


async def test_a_killed_worker_is_started_again():
    async with supervised(OBEDIENT) as (_, watched, _, _):
        await watched.until(lambda: watched.lines)
        os.kill(int(watched.lines[0][1]), signal.SIGKILL)
        await watched.until(lambda: len(watched.lines) == 2)
    [restart] = watched.events
    assert (restart.worker, restart.exit_code) == (0, -signal.SIGKILL)
    assert "memory ran out" in restart.usually
    assert watched.lines[0][1] != watched.lines[1][1]


async def test_a_crashing_worker_is_restarted_ever_more_slowly():
    async with supervised(CRASHING) as (_, watched, _, _):
        await watched.until(lambda: len(watched.events) == 2)
    assert [(event.exit_code, event.restart_in_s) for event in watched.events] == [(3, 1.0), (3, 2.0)]
    assert all(isinstance(event, WorkerRestarted) for event in watched.events)


async def test_a_worker_that_had_worked_for_long_is_restarted_as_soon_as_at_first(monkeypatch):
    monkeypatch.setattr("scraper.supervisor._HEALTHY_AFTER_SECONDS", 0.0)
    async with supervised(CRASHING) as (_, watched, _, _):
        await watched.until(lambda: len(watched.events) == 2)
    assert [event.restart_in_s for event in watched.events] == [1.0, 1.0]


@pytest.fixture
def impatient(monkeypatch):
    """Hardly a pause between two starts."""
    monkeypatch.setattr("scraper.supervisor._FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("scraper.supervisor._LONGEST_START_BACKOFF_SECONDS", 0.01)


def cannot_start(watched):
    return [event for event in watched.events if isinstance(event, WorkerCannotStart)]


@pytest.mark.parametrize("ends_by_itself", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_run_whose_workers_can_never_start_ends_and_says_why(impatient, workers, ends_by_itself):
    async with supervised(UNABLE, workers=workers, ends_by_itself=ends_by_itself) as (supervisor, watched, _, running):
        async with asyncio.timeout(300):
            await running
    assert "no worker could be started" in supervisor.cannot_start
    assert "exit code 3: usually" in supervisor.cannot_start
    assert cannot_start(watched)[-1].given_up
    assert not supervisor.refused


async def test_a_failed_start_is_said_at_once_and_again_each_time_that_the_count_has_doubled(impatient):
    async with supervised(UNABLE, ends_by_itself=True) as (_, watched, _, running):
        await running
    assert [event.times for event in cannot_start(watched)] == [1, 2, 4, MOST_FAILED_STARTS]
    assert "free -m" in cannot_start(watched)[0].usually


def ready_once(tmp_path):
    """Each place's worker but the very first process of all can never start."""
    return f"""
import os, sys
try:
    os.mkdir({str(tmp_path / "taken")!r})
except FileExistsError:
    sys.exit(3)
sys.stdout.buffer.write({READY!r})
print("up", flush=True)
sys.exit(4 if sys.stdin.readline() == "limits\\n" else 0)
"""


async def test_a_service_goes_on_where_workers_can_no_longer_start_though_one_could(impatient, tmp_path):
    async with supervised(ready_once(tmp_path)) as (supervisor, watched, _, running):
        await watched.until(lambda: watched.lines)
        supervisor.change(b"limits\n", environment={})
        await watched.until(lambda: any(event.times > MOST_FAILED_STARTS for event in cannot_start(watched)))
        assert not running.done()
    assert not supervisor.cannot_start
    assert not any(event.given_up for event in cannot_start(watched))


async def test_a_run_that_ends_by_itself_fails_where_workers_can_no_longer_start(impatient, tmp_path):
    async with supervised(ready_once(tmp_path), ends_by_itself=True) as (supervisor, watched, _, running):
        await watched.until(lambda: watched.lines)
        supervisor.change(b"limits\n", environment={})
        async with asyncio.timeout(300):
            await running
    assert "exit code 3" in supervisor.cannot_start


async def test_and_goes_on_with_those_that_work(impatient, tmp_path):
    async with supervised(ready_once(tmp_path), workers=2, ends_by_itself=True) as (supervisor, watched, _, running):
        await watched.until(lambda: watched.lines and any(event.given_up for event in cannot_start(watched)))
        assert not running.done()
    assert not supervisor.cannot_start


@pytest.mark.parametrize("script", [CRASHING, DEAF], ids=["ended", "hung up"])
def test_telling_a_worker_that_hears_nothing_any_more_is_no_error(script):
    async def told():
        async with supervised(script) as (supervisor, watched, _, running):
            await watched.until(lambda: watched.lines)
            if script == CRASHING:
                await watched.until(lambda: watched.events)  # it waits to be started again
            for _ in range(20):  # the first word tells the loop that nobody is there to hear it
                supervisor.change(b"limits\n", environment={})
                await asyncio.sleep(0.01)
            assert not running.done()

    run(told())  # on the service's own loop, which refuses to write where asyncio's only warns


async def test_a_worker_that_refuses_its_configuration_stops_the_run():
    async with supervised(REFUSING, workers=2) as (supervisor, watched, _, running):
        await running
    assert supervisor.refused
    assert watched.events == []
    assert "VLLM_X: wrong" in watched.logs


async def test_what_has_worked_for_a_worker_is_away_where_it_is_refused_later(tmp_path):
    lives = tmp_path / "lives"
    script = f"""
import pathlib, sys
lives = pathlib.Path({str(lives)!r})
lives.open("a").write("x")
count = len(lives.read_text())
if count == 2:
    sys.exit({EXIT_MISCONFIGURED})
sys.stdout.buffer.write({READY!r})
print(count, flush=True)
if count > 1:
    sys.stdin.readline()
"""
    async with supervised(script) as (supervisor, watched, _, running):
        await watched.until(lambda: (0, "3") in watched.lines)
        assert not running.done()
    assert not supervisor.refused
    assert [line for _, line in watched.lines] == ["1", "3"]  # and what was said to the supervisor alone is no status
    assert [event.exit_code for event in watched.events] == [0, EXIT_MISCONFIGURED]


async def test_what_works_for_one_worker_is_no_mistake_of_the_others(tmp_path):
    taken = tmp_path / "taken"
    script = f"""
import os, pathlib, sys, time
first = pathlib.Path({str(taken)!r})
try:
    os.mkdir(first)
except FileExistsError:
    while not (first / "ready").exists():
        time.sleep(0.01)
    sys.exit({EXIT_MISCONFIGURED})
sys.stdout.buffer.write({READY!r})
print("up", flush=True)
sys.stdin.readline()
"""
    async with supervised(script, workers=2) as (supervisor, watched, _, running):
        await watched.until(lambda: watched.lines)
        (taken / "ready").touch()
        await watched.until(lambda: watched.events)
        assert not running.done()
    assert not supervisor.refused


async def test_the_second_asking_stops_at_once():
    ends_by_itself = STUBBORN + 'print("ended", flush=True)'
    async with supervised(ends_by_itself, drain_seconds=3600) as (_, watched, stop, running):
        await watched.until(lambda: watched.lines)
        stop.ask()
        await watched.until(lambda: (0, "drain") in watched.lines)
        stop.ask()
        async with asyncio.timeout(300):  # of the hour that it would have had
            await running
    assert [line for _, line in watched.lines] == ["up", "drain", "now", "ended"]


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]])
async def test_what_the_lifeline_says_does_not_count_as_a_signal(signals):
    stop = Stop()
    stop.drain.set()
    for _ in signals:
        stop.ask()
    assert stop.now.is_set() == (len(signals) == 2)


async def test_the_first_signal_is_told_once_and_not_where_the_end_had_come_anyway():
    told, stop, over = [], Stop(), Stop()
    stop.on_interrupt = over.on_interrupt = lambda: told.append(1)
    stop.ask()
    stop.ask()
    over.drain.set()
    over.ask()
    assert (stop.interrupted, over.interrupted, told) == (True, False, [1])


async def test_a_worker_that_was_being_started_when_all_were_told_drains_too(monkeypatch):
    begun, go_on, start = asyncio.Event(), asyncio.Event(), asyncio.create_subprocess_exec

    async def slowly(*arguments, **options):
        begun.set()
        await go_on.wait()
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slowly)
    async with supervised(STUBBORN.replace("now", "drain")) as (_, watched, stop, running):
        await begun.wait()
        stop.drain.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        await watched.until(lambda: (0, "drain") in watched.lines)
        await running


async def test_a_process_that_cannot_be_started_counts_as_a_crash():
    watched, stop = Watched(), Stop()
    supervisor = Supervisor(
        ["/no/such/program"], workers=1, drain_seconds=1, observe=watched.observe, on_status=watched.on_status
    )
    running = asyncio.create_task(supervisor.run(stop))
    await watched.until(lambda: watched.events)
    stop.drain.set()
    await running
    assert {event.exit_code for event in watched.events} == {71}


async def test_an_endless_line_of_a_worker_is_left_out_and_the_next_is_heard():
    endless = "print('x' * 3_000_000, flush=True); print('next', flush=True); input()"
    async with supervised(endless) as (_, watched, _, _):
        await watched.until(lambda: any(line == "next" for _, line in watched.lines))
