import asyncio

import pytest

from scraper.app import ended, in_one_file, open_pipeline
from scraper.config import NO_ENV_FILE, load_settings
from scraper.deadline import no_deadline
from scraper.events import ignore
from scraper.models import Task
from scraper.throttle.rate_limiter import RateLimiter
from scraper.trace import Trace


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


class Asked:
    """Answers that remember what was looked up, and have one for everything."""

    def __init__(self):
        self.keys = []

    async def find(self, key):
        self.keys.append(key)
        return {"data": {}, "model": "m", "fields": {}, "unsupported": [], "cut": None}


async def question(tmp_path, **changed):
    """What an answer to the same task is remembered by, under these settings."""
    settings, asked = load_settings(NO_ENV_FILE, run_dir=tmp_path, **({"vllm_model": "m"} | changed)), Asked()
    task = Task("t", {"type": "object", "properties": {"name": {"type": "string"}}}, "0" * 64, text="A kettle")
    async with open_pipeline(settings, throttle=RateLimiter(), answers=asked, observe=ignore) as pipeline:
        now = asyncio.get_running_loop().time
        await pipeline.run(task, deadline=no_deadline(now=now()), trace=Trace(clock=now), suspect=False)
    [key] = asked.keys
    return key


@pytest.mark.parametrize(
    "changed",
    [
        {"vllm_model": "n"},
        {"vllm_temperature": 1.0},
        {"vllm_max_tokens": 7},
        {"vllm_context_tokens": 9000},
        {"structured_data": "off"},
        {"grounding": "strict"},
    ],
    ids=str,
)
async def test_an_answer_is_not_remembered_for_other_settings_that_decide_it(tmp_path, changed):
    assert await question(tmp_path) != await question(tmp_path, **changed)


async def test_an_answer_is_remembered_whatever_the_settings_that_decide_nothing_of_it(tmp_path):
    assert await question(tmp_path) == await question(tmp_path, workers=2, log_level="error", fetch_delay=5.0)


@pytest.mark.parametrize(
    ("queue", "results", "one"),
    [
        ("sqlite:///data/scraper.db", "sqlite:///data/scraper.db", True),
        ("sqlite:///data/scraper.db", "sqlite:///data/../data/scraper.db", True),
        ("sqlite:///linked/scraper.db", "sqlite:///data/scraper.db", True),
        ("sqlite:///data/queue.db", "sqlite:///data/scraper.db", False),
        ("amqp://localhost", "sqlite:///data/scraper.db", False),
    ],
)
def test_one_file_is_one_however_it_is_named(tmp_path, monkeypatch, queue, results, one):
    (tmp_path / "linked").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    assert in_one_file(load_settings(NO_ENV_FILE, broker_url=queue, results_url=results)) == one
