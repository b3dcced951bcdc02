"""The loop's clock is the host's: a stall shows at once, and timers keep to it."""

import asyncio
import subprocess
import sys
from time import monotonic

import pytest

from scraper.event_loop import run


def stall(seconds):
    """As a page that parses for long."""
    until = monotonic() + seconds
    while monotonic() < until:
        pass


def test_the_clock_is_the_hosts_monotonic_one():
    async def main():
        return monotonic(), asyncio.get_running_loop().time(), monotonic()

    before, now, after = run(main())
    assert before <= now <= after


def test_a_stall_of_the_loop_shows_in_its_clock_before_the_next_turn():
    async def main():
        clock = asyncio.get_running_loop().time
        before = clock()
        stall(0.02)
        return clock() - before

    assert run(main()) >= 0.02


def test_a_timer_set_after_a_stall_waits_its_full_time():
    async def main():
        loop = asyncio.get_running_loop()
        stall(0.05)
        asked, fired = loop.time(), loop.create_future()
        loop.call_at(asked + 0.02, lambda: fired.set_result(loop.time()))
        return await fired - asked

    assert run(main()) >= 0.019  # timers have a resolution of a millisecond


def test_a_time_limit_ends_what_takes_too_long():
    async def main():
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run(main())


INTERRUPTED_ELSEWHERE = """
import asyncio, signal, threading, time
from scraper.event_loop import run

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and all they start

def interrupt():
    time.sleep(0.3)  # by then the loop sleeps
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

async def main():
    threading.Thread(target=interrupt).start()
    await asyncio.Event().wait()

try:
    run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_is_heard_though_another_thread_caught_it():
    """As one that comes between the loop's last look and its sleep: only what wakes the loop is heard then."""
    command = [sys.executable, "-c", INTERRUPTED_ELSEWHERE]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert (ended.stdout, ended.stderr) == ("interrupted\n", "")
