"""An answer without end is noticed and hung up on, a long sane one is read to its end, and watching costs next to nothing."""

import asyncio
import json
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.llm_client import CircuitBreaker, LLMClient, RateLimiter
from scraper.llm_runaway import AnswerWatch, Runaway, runs_away
from scraper.models import Usage
from scraper.testing.vllm import SimulatedVLLM
from scraper.throttle.circuit_breaker import CircuitState
from tests.scripted_server import ScriptedServer, events, streamed

ASK = [{"role": "user", "content": "<page>\nKettle, 12 EUR\n</page>"}]


def pieces(*words):
    """Events with the words, padded to the size that a server's really have."""
    for word in words:
        delta = {"choices": [{"index": 0, "delta": {"content": word}, "logprobs": None, "finish_reason": None}]}
        yield b"data: " + json.dumps(delta | {"id": "chatcmpl-" + "0" * 100}).encode() + b"\n\n"


def watched(words, *, max_tokens=100_000, max_depth=64):
    """What is found, and after how many words."""
    watch = AnswerWatch(max_tokens=max_tokens, max_depth=max_depth)
    for count, piece in enumerate(pieces(*words), 1):
        if found := watch.sees(piece):
            return found, count
    return None, None


def listed(items):
    """The words of a sane list of products, indented as models like it."""
    for n in range(items):
        yield from (
            "\n    {\n",
            ' "name"',
            ': "',
            f"Kettle {n}",
            '",\n',
            ' "sku"',
            f': "A{n * 7919}"',
            ',\n "stock": "sold out"\n    },',
        )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Runaway.WHITESPACE, ['{"name": "Kettle",', *["\n    "] * 500]),
        (Runaway.WHITESPACE, ["{", *[" "] * 800]),
        (Runaway.REPETITION, ['{"name": "A kettle', *[" and so on", " and so on,"] * 500]),
        (Runaway.REPETITION, ['{"list": [', *['{"name": "A",', ' "price": 12},'] * 800]),
        (Runaway.REPETITION, ['{"name": "', *["="] * 2000]),
        (Runaway.NUMBER, ['{"price": ', *[str(n * 2654435761)[:4] for n in range(1, 900)]]),
        (Runaway.DEPTH, ['{"children": ['] * 500),
        (Runaway.BUDGET, [f"word{n} " for n in range(3000)]),
    ],
)
def test_what_has_no_end_is_noticed_soon(found, words):
    what, after = watched(words, max_tokens=1000)
    assert what is found
    assert after < 1200


@pytest.mark.parametrize("chars", [40, 200, 700, 2000])
def test_a_phrase_of_any_length_is_noticed_when_it_comes_over_and_over(chars):
    phrase = "".join(f"{n * 2654435761 % 1000:03d} " for n in range(chars // 4))
    assert runs_away((phrase * 40)[-8192:]) is Runaway.REPETITION
    assert runs_away("{" + phrase * 3) is None


def test_a_long_list_of_much_alike_items_is_read_on():
    assert watched(['{"items": [', *listed(2000), "]}"]) == (None, None)


def test_a_deep_indentation_and_a_table_of_equal_values_are_read_on():
    nested = json.dumps({"a": [{"b": [{"c": [{"d": ["n/a"] * 40}] * 3}] * 3}] * 3}, indent=4)
    assert watched([nested[at : at + 4] for at in range(0, len(nested), 4)]) == (None, None)


@given(st.text(max_size=200), st.integers(1, 8))
def test_brackets_in_strings_are_no_depth(text, words_long):
    answer = json.dumps({"text": [text + "[{" * 200 + '"\\{[', {"more": text}] * 40}, ensure_ascii=False)
    words = [answer[at : at + words_long] for at in range(0, len(answer), words_long)]
    assert watched(words, max_depth=3)[0] in {None, Runaway.REPETITION}


def test_depth_is_what_the_schema_allows():
    words = ['{"a": [', *[f'{{"b": {n}}},' for n in range(1000)]]
    assert watched(words, max_depth=3) == (None, None)
    assert watched(words, max_depth=2)[0] is None  # each is closed again
    assert watched(['{"a": [{"b": {', *[f'"c{n}": {n},' for n in range(1000)]], max_depth=3)[0] is Runaway.DEPTH


@given(st.lists(st.binary(max_size=60), max_size=40), st.integers(1, 4))
def test_whatever_arrives_watching_never_fails(chunks, times):
    watch = AnswerWatch(max_tokens=100, max_depth=3)
    for chunk in chunks * times:
        watch.sees(chunk * 60)


def test_a_body_in_one_endless_line_is_not_gathered():
    watch = AnswerWatch(max_tokens=100, max_depth=3)
    for _ in range(40):
        assert watch.sees(b"x" * (100 << 10)) is None
    spaces = list(pieces(*[" " * 4] * 1000))
    assert watch.sees(b"\n" + b"".join(spaces)) is Runaway.BUDGET


def test_watching_costs_a_small_part_of_parsing():
    body = list(pieces('{"items": [', *listed(500), "]}"))

    def cpu(work):
        """The least of several: what disturbs the machine only adds."""

        def once():
            begun = time.process_time()
            work()
            return time.process_time() - begun

        return min(once() for _ in range(7))

    def watch():
        watching = AnswerWatch(max_tokens=100_000, max_depth=64)
        for piece in body:
            watching.sees(piece)

    assert cpu(watch) < 0.5 * cpu(lambda: [json.loads(piece[6:]) for piece in body])


@pytest.mark.virtual_time
async def test_an_answer_that_runs_away_is_returned_as_far_as_it_came():
    words = ['{"name": "Kettle"', *["\n        "] * 3000]
    async with ScriptedServer(streamed(*words)) as server, LLMClient(server.base_url) as client:
        reply = await client.chat(ASK, max_tokens=4000)
    assert reply.stopped is Runaway.WHITESPACE
    assert reply.finish_reason == "stopped"
    assert reply.text.strip() == '{"name": "Kettle"'
    assert reply.model == "m"
    assert 0 < reply.usage.completion_tokens < 1000


@pytest.mark.virtual_time
async def test_what_is_cut_inside_an_event_is_no_reason_to_fail():
    body = b"".join(events('{"a": 1', *["\n      "] * 3000))

    def respond(_):
        return httpx.Response(200, stream=Pieces(body, size=1000))

    class Pieces(httpx.AsyncByteStream):
        def __init__(self, body, *, size):
            self.body, self.size = body, size

        async def __aiter__(self):
            for at in range(0, len(self.body), self.size):
                yield self.body[at : at + self.size]

    async with LLMClient(transport=httpx.MockTransport(respond), model="m") as client:
        assert (await client.chat(ASK, max_tokens=4000)).stopped is Runaway.WHITESPACE


@pytest.mark.virtual_time
@pytest.mark.parametrize("fault", ["whitespace", "repetition"])
async def test_hanging_up_frees_the_gpu_within_a_second_and_blames_nobody(fault):
    breaker = CircuitBreaker(threshold=1)
    limiter = RateLimiter(1, 60_000, breaker)
    clock = asyncio.get_running_loop().time
    async with (
        SimulatedVLLM(preset="rtx5090-8b", faults=f"{fault}=1x") as server,
        LLMClient(server.base_url, rate_limiter=limiter) as client,
    ):
        reply = await client.chat(ASK, max_tokens=8000)
        hung_up = clock()
        while server.engine.running:  # noqa: ASYNC110 the engine announces nothing
            await asyncio.sleep(0.05)
        assert clock() - hung_up < 1.0
        assert server.stats.outcomes["disconnected"] == 1
        assert (await client.chat(ASK, max_tokens=100)).stopped is None
        generated = server.engine.counters.generation_tokens
    assert reply.stopped == fault
    assert reply.usage.prompt_tokens == 0
    assert generated < 1000
    assert breaker.state is CircuitState.CLOSED
    assert limiter.in_flight == 0


@pytest.mark.virtual_time
async def test_a_long_answer_is_read_to_its_end():
    async with ScriptedServer(streamed(*listed(300))) as server, LLMClient(server.base_url) as client:
        reply = await client.chat(ASK, max_tokens=4000)
    assert reply.stopped is None
    assert reply.finish_reason == "stop"
    assert reply.usage == Usage(5, 2400, 2)
