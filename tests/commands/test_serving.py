import asyncio
import json

from scraper.app import open_broker, open_store
from scraper.commands.serving import HostSource
from scraper.config import load_settings
from scraper.events import ignore
from scraper.models import ParkReason, Remains
from tests.store.results import parked


async def test_two_who_replay_at_once_put_each_task_into_the_queue_once(tmp_path):
    file = f"sqlite:///{tmp_path / 'scraper.db'}"
    settings = load_settings(tmp_path / "none", broker_url=file, results_url=file, run_dir=tmp_path)
    async with open_store(settings) as store, open_broker(settings, observe=ignore) as broker:
        for task_id in "abc":
            body = json.dumps({"url": "https://a.example/", "schema": "product", "task_id": task_id}).encode()
            await store.save(parked(task_id, ParkReason.ROBOTS), Remains(body))

        async def nowhere():
            raise AssertionError

        async with HostSource(settings, nowhere, observe=ignore) as source:
            replayed = await asyncio.gather(source.replay("robots"), source.replay("robots"))
        assert sorted(replayed) == [0, 3]
        assert (await broker.depth()).tasks == 3
