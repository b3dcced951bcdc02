"""What the composition root does where something is away."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from scraper import app
from scraper.config import Settings
from scraper.errors import Unavailable
from scraper.lifeline import Stop
from scraper.observability.progress import Progress
from scraper.observability.tally import Tally
from scraper.ports import Depth


class Empty:
    async def depth(self):
        return Depth(tasks=0, waiting=0, in_hand=0)


@pytest.mark.virtual_time
async def test_a_run_until_empty_ends_although_the_queue_could_not_be_opened_at_first(monkeypatch):
    away = [Unavailable("database is locked"), Unavailable("database is locked")]

    @asynccontextmanager
    async def open_broker(settings, *, observe):
        if away:
            raise away.pop()
        yield Empty()

    monkeypatch.setattr(app, "open_broker", open_broker)
    progress, stop, seen = Progress(), Stop(), []

    def show(report):
        progress.worker_says(0, Tally())

    async with asyncio.timeout(60):
        await app._watch(Settings(_env_file=None), progress, stop, show=show, observe=seen.append)
    assert stop.drain.is_set()
    assert [event.name for event in seen] == ["waiting_for", "back"]
