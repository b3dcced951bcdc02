import asyncio

import pytest

from scraper.app import ended


async def stubborn(asked: asyncio.Event, may_end: asyncio.Event) -> None:
    """Ends some time after it was cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        asked.set()
        await may_end.wait()
        raise


async def test_whoever_is_cancelled_while_a_task_ends_stays_cancelled():
    asked, may_end = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(stubborn(asked, may_end))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(ended(task))
    await asked.wait()
    waiting.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.wait([waiting, task])
    assert waiting.cancelled()


async def test_a_task_is_ended_once_it_has_ended():
    asked, may_end = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(stubborn(asked, may_end))
    await asyncio.sleep(0)
    may_end.set()
    await ended(task)
    assert task.cancelled()
    await ended(task)


async def test_the_error_that_a_task_met_is_told():
    async def fails() -> None:
        raise ValueError("met")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="met"):
        await ended(task)
