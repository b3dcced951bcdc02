"""Against a real vLLM server: transport, limits and settlement. What the model answers is its own affair.

make test-vllm VLLM_BASE_URL=http://localhost:8000/v1
"""

import asyncio
import os
from collections import Counter

import pytest

from scraper.testing.site import SimulatedSite
from tests.service import Service

TASKS = 12
FAIR_REASONS = {"answer_too_long", "schema_invalid", "bad_answer", "unsupported"}
"""A small model may write nonsense; it may not lose a task."""


@pytest.fixture(params=["embedded", "rabbitmq"])
def broker_url(request):
    return None if request.param == "embedded" else request.getfixturevalue("rabbitmq_url")


async def test_pages_become_data_on_a_real_server(tmp_path, broker_url):
    server = os.environ.get("VLLM_BASE_URL")
    assert server, "name the server in VLLM_BASE_URL"
    async with SimulatedSite() as site:
        service = Service(
            tmp_path,
            broker_url=broker_url,
            VLLM_BASE_URL=server,
            VLLM_MAX_TOKENS=256,
            VLLM_REQUESTS_PER_MINUTE=120,
            ALLOW_PRIVATE_ADDRESSES="on",
            FETCH_DELAY=0,
        )
        urls = tmp_path / "urls.txt"
        urls.write_text("".join(f"{site.url(f'/product/{number}')}\n" for number in range(1, TASKS + 1)))
        submitted = await asyncio.to_thread(service, "submit", "--schema", "product", urls)
        assert submitted.returncode == 0, submitted.stderr
        ran = await asyncio.to_thread(service, "--until-empty")
        assert ran.returncode == 0, ran.stderr
    rows = service.results()
    print("\n" + ran.stderr.splitlines()[-1])
    print(Counter((row["status"], row["reason"], row["model"]) for row in rows))
    print(
        "tokens:",
        sum(row["usage"]["prompt_tokens"] for row in rows),
        sum(row["usage"]["completion_tokens"] for row in rows),
    )
    assert len({row["task_id"] for row in rows}) == len(rows) == TASKS
    assert {row["reason"] for row in rows if row["status"] == "parked"} <= FAIR_REASONS
    left = service.status()
    assert (left["tasks"], left["waiting"]) == (0, 0)
