"""What a run does where something is away."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from scraper import app
from scraper.commands.run import watch
from scraper.config import Settings
from scraper.errors import Misconfigured, Unavailable
from scraper.lifeline import Stop
from scraper.observability.picture import Picture
from scraper.observability.progress import UntilEmpty
from scraper.ports import Depth


class Always(UntilEmpty):
    """Its workers never fail to speak."""

    def over(self, *, left, now):
        self.worker_said(0)
        return super().over(left=left, now=now)


class Empty:
    async def depth(self):
        return Depth(tasks=0, waiting=0, in_hand=0)


@pytest.mark.virtual_time
async def test_a_run_until_empty_ends_although_the_queue_could_not_be_opened_at_first(monkeypatch):
    away = [Unavailable("database is locked"), Misconfigured("the vhost is refused"), Unavailable("locked")]

    @asynccontextmanager
    async def open_broker(settings, *, observe):
        if away:
            raise away.pop()
        yield Empty()

    monkeypatch.setattr(app, "open_broker", open_broker)
    picture, stop, seen = Picture(), Stop(), []
    async with asyncio.timeout(60):
        await watch(Settings(_env_file=None), picture, stop, ending=Always(workers=1), observe=seen.append)
    assert stop.drain.is_set()
    assert picture.view(0.0).left == 0
    assert [event.name for event in seen] == ["waiting_for", "waiting_for", "back", "queue_depth"]
