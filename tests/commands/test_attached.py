"""What is known of the workers of a host, whoever answers for them."""

import asyncio

from scraper.commands import attached
from scraper.commands.attached import Attachment, host_picture
from scraper.config import Settings
from scraper.observability.told import telling
from tests.observability.facts import STARTED, settled
from tests.observability.test_picture import NOW, Picture, tally


def settings(tmp_path):
    return Settings(_env_file=None, run_dir=tmp_path)


async def test_a_host_on_which_nothing_runs_has_an_empty_picture(tmp_path):
    view = (await host_picture(settings(tmp_path))).view(NOW)
    assert (view.workers, view.throttle.limit) == (0, None)


async def test_all_pages_that_are_open_cost_a_supervisor_one_question_a_second(tmp_path, monkeypatch):
    asked = []

    def told():
        asked.append(1)
        return Picture().plain()

    ours = settings(tmp_path)
    attachment = Attachment(ours)
    async with telling(ours.vllm_base_url, ours.run_dir, told, observe=[].append):
        assert asked == []  # nobody looks
        await asyncio.gather(*(attachment.picture() for _ in range(20)))
        assert len(asked) == 1
        monkeypatch.setattr(attached, "SHARED_SECONDS", 0.0)  # later
        await attachment.picture()
        assert len(asked) == 2


async def test_a_supervisor_that_speaks_another_version_is_left_out(tmp_path):
    picture = Picture()
    picture.worker_says(0, tally(STARTED, settled(fetch=1.0)), at=NOW)
    ours = settings(tmp_path)
    for told, workers in (
        (picture.plain(), 1),
        ({}, 0),
        (picture.plain() | {"total": {}}, 0),
        (picture.plain() | {"history": [{}]}, 0),
    ):
        async with telling(ours.vllm_base_url, ours.run_dir, lambda told=told: told, observe=[].append):
            assert (await host_picture(ours)).view(NOW).workers == workers
