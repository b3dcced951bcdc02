"""A worker's end of its lifeline, in a process of its own: its standard output is a pipe that somebody has to read."""

import asyncio
import sys
from asyncio.subprocess import PIPE

from scraper.lifeline import READY

LARGER_THAN_A_PIPE = 200_000
WORKER = f"""
import asyncio, sys
from scraper import lifeline
lifeline.TELL_EVERY_SECONDS = 0.01

async def work():
    stop = lifeline.Stop()
    async with lifeline.lifeline(stop, tell=lambda: b"x" * {LARGER_THAN_A_PIPE} + b"\\n") as tell_ready:
        await asyncio.sleep(0)
        tell_ready()
        print("said", file=sys.stderr, flush=True)
        await stop.drain.wait()

asyncio.run(work())
"""


async def test_that_a_worker_is_ready_is_heard_and_no_line_torn_though_nobody_read_for_long():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=2 * LARGER_THAN_A_PIPE
    )
    assert process.stderr is not None
    assert process.stdout is not None
    assert process.stdin is not None
    async with asyncio.timeout(300):
        assert await process.stderr.readline() == b"said\n"
        lines = [await process.stdout.readline() for _ in range(4)]
        process.stdin.close()
        await process.communicate()
    assert READY in lines
    assert {len(line) for line in lines if line != READY} == {LARGER_THAN_A_PIPE + 1}
