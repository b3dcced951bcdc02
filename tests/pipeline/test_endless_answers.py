"""From a page to its data past an answer without end, with the real client and a simulated server."""

import asyncio

import pytest

from scraper.deadline import no_deadline
from scraper.errors import Permanent
from scraper.llm_client import CircuitBreaker, LLMClient, RateLimiter
from scraper.models import ParkReason, Task
from scraper.pipeline.clean import clean
from scraper.pipeline.extract import Extractor
from scraper.testing.vllm import SimulatedVLLM
from scraper.throttle.circuit_breaker import CircuitState
from scraper.trace import Trace

pytestmark = pytest.mark.virtual_time

TASK = Task("t", {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}, "0" * 64)
PAGE = clean("<h1>Kettle</h1><p>A kettle like no other, for 12 EUR.</p>")


@pytest.mark.parametrize("fault", ["whitespace", "repetition"])
async def test_a_page_whose_answer_runs_away_once_is_read_with_the_next_ask(fault):
    trace = Trace(clock=lambda: 0.0)
    async with (
        SimulatedVLLM(preset="rtx5090-8b", faults=f"{fault}=1x") as server,
        LLMClient(server.base_url, rate_limiter=RateLimiter(2, 60_000)) as client,
    ):
        extractor = Extractor(client, max_tokens=4000)
        found = await extractor.extract(PAGE, TASK, deadline=no_deadline(now=0), trace=trace)
        generated = server.engine.counters.generation_tokens
    assert found.data == {"name": "Kettle"}
    assert trace.calls == 2
    assert generated < 1000  # of the 4,000 that the first answer would have had
    assert trace.usage.completion_tokens <= generated


async def test_a_page_whose_answers_all_run_away_parks_and_blames_no_server():
    trace = Trace(clock=lambda: 0.0)
    breaker = CircuitBreaker(threshold=1)
    async with (
        SimulatedVLLM(preset="rtx5090-8b", faults="whitespace=on") as server,
        LLMClient(server.base_url, rate_limiter=RateLimiter(2, 60_000, breaker)) as client,
    ):
        with pytest.raises(Permanent, match="ran away in whitespace") as refused:
            await Extractor(client, max_tokens=4000).extract(PAGE, TASK, deadline=no_deadline(now=0), trace=trace)
        while server.stats.in_flight:  # noqa: ASYNC110 the server hears of the last one a moment later
            await asyncio.sleep(0.05)
        assert server.stats.outcomes == {"disconnected": 3}
    assert refused.value.reason is ParkReason.ANSWER_TOO_LONG
    assert breaker.state is CircuitState.CLOSED
