import asyncio
import time

import pytest

from scraper.testing import clock
from scraper.testing.clock import Deadlock, VirtualTimeLoop, run

pytestmark = pytest.mark.virtual_time


async def test_an_hour_passes_at_once():
    loop = asyncio.get_running_loop()
    real = time.monotonic()
    await asyncio.sleep(3600)
    assert loop.time() == 3600
    assert time.monotonic() - real < 60


async def test_timers_fire_in_order_at_their_exact_times():
    loop, seen = asyncio.get_running_loop(), []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        seen.append((seconds, loop.time()))

    await asyncio.gather(*(sleeper(seconds) for seconds in (0.3, 0.1, 7.7, 0.2)))
    assert seen == [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (7.7, 7.7)]


async def test_work_without_waiting_takes_no_time():
    for _ in range(1000):
        await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() == 0


async def test_timeouts_count_virtual_time():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.sleep(31)
    assert asyncio.get_running_loop().time() == 30


async def test_a_stalled_loop_can_be_played():
    loop = asyncio.get_running_loop()
    late = loop.create_future()
    loop.call_later(1, lambda: late.set_result(loop.time()))
    loop.advance(2)
    assert await late == 2


async def test_time_stands_still_while_a_thread_works():
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(time.sleep, 0.05)
    assert loop.time() == 0


async def test_bytes_on_a_real_socket_arrive_before_time_jumps():
    async def echo(reader, writer):
        writer.write(await reader.readexactly(4))
        await asyncio.sleep(5)
        writer.write(b"done")
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        async with asyncio.timeout(6):
            writer.write(b"ping")
            assert await reader.readexactly(8) == b"pingdone"
        assert asyncio.get_running_loop().time() == 5
        writer.close()
        await writer.wait_closed()


def test_a_deadlock_is_an_error_that_names_who_waits():
    async def waits_for_ever():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="waits_for_ever"):
        run(waits_for_ever())


def test_a_silent_socket_is_a_deadlock_too(monkeypatch):
    monkeypatch.setattr(clock, "STUCK_SECONDS", 0.01)

    async def waits_for_a_client():
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
            await server.serve_forever()

    with pytest.raises(Deadlock, match="a socket gave nothing"):
        run(waits_for_a_client())


def test_a_loop_on_timers_for_ever_ends():
    async def ticks():
        while True:  # noqa: ASYNC110 - an endless loop on timers is what this is about
            await asyncio.sleep(24 * 3600)

    with pytest.raises(Deadlock, match="time ran past"):
        run(ticks())


def test_run_returns_what_the_coroutine_returns():
    async def answer():
        await asyncio.sleep(10)
        return 42

    assert run(answer()) == 42


def test_the_runner_takes_the_loop_as_its_factory():
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(asyncio.sleep(60))
        assert runner.get_loop().time() == 60
