"""What is asked of one schema begins with the same bytes, whatever is asked and of whatever page."""

import pytest

from scraper.deadline import no_deadline
from scraper.llm_client import LLMClient, RateLimiter
from scraper.models import Document, Task
from scraper.pipeline.extract import Extractor
from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import compile_schema
from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_tokens import chat_prompt, tokenize
from scraper.trace import Trace

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "As buyers see it. " * 20}, "price": {"type": "number"}},
    "required": ["name"],
}
BLOCK_TOKENS = 16


def test_all_questions_about_a_schema_begin_with_the_same_bytes():
    prompt = prompt_for(compile_schema(SCHEMA), instructions="Prices in EUR.")
    asked = [
        prompt,
        prompt_for(compile_schema(dict(SCHEMA)), instructions="Prices in EUR.", address="https://e.example/"),
        prompt.asking("Known already: name. Answer with the rest."),
        prompt.reminded("Write the JSON on one line."),
        prompt.repaired("{}", ["#: name is missing"]),
        prompt.followed_by('{"name": "x"}', "Is that all?"),
    ]
    first, *others = [each.messages(f"page {number}")[0] for number, each in enumerate(asked)]
    assert all(other == first for other in others)


def test_further_questions_about_a_page_begin_with_all_that_was_asked_before():
    prompt = prompt_for(compile_schema(SCHEMA), address="https://e.example/")
    before = chat_prompt([(each["role"], each["content"]) for each in prompt.messages("Kettle " * 50)])
    before = before[: before.rindex("</page>")]
    for again in (prompt.asking("The rest."), prompt.reminded("Briefly."), prompt.followed_by("{}", "And?")):
        messages = [(each["role"], each["content"]) for each in again.messages("Kettle " * 50)]
        assert chat_prompt(messages).startswith(before)


@pytest.mark.virtual_time
async def test_the_servers_prefix_cache_serves_rules_and_schema_of_every_page_but_the_first():
    task = Task("t", SCHEMA, "0" * 64)
    fixed = len(tokenize(prompt_for(compile_schema(SCHEMA)).system))
    async with (
        SimulatedVLLM(preset="rtx5090-8b") as server,
        LLMClient(server.base_url, rate_limiter=RateLimiter(2, 60_000)) as client,
    ):
        extractor = Extractor(client, max_tokens=500)
        used = []
        for number in range(4):
            trace = Trace(clock=lambda: 0.0)
            document = Document(f"Kettle number {number}\n\nPrice: {number}.50 EUR\n\nA kettle like no other.")
            await extractor.extract(document, task, deadline=no_deadline(now=0), trace=trace)
            used.append(trace.usage)
    assert used[0].cached_tokens == 0
    assert all(fixed - 2 * BLOCK_TOKENS <= usage.cached_tokens <= usage.prompt_tokens for usage in used[1:])
    assert all(usage.cached_tokens > 0.7 * usage.prompt_tokens for usage in used[1:])
