"""A body that a model server sends is read with an end, also where a proxy packs what nobody asked it to pack."""

import gzip
import json
import tracemalloc

import pytest

from scraper.errors import Held
from scraper.llm_client import LLMClient, RateLimiter, ServedModel
from tests.scripted_server import ScriptedServer, answer, chunk, events, head, raw, streamed

pytestmark = pytest.mark.virtual_time

ASK = [{"role": "user", "content": "hello"}]
PACKED = [("content-encoding", "gzip")]
BOMB = gzip.compress(b" " * (128 << 20))
MODELS = {"data": [{"id": "m", "max_model_len": 99}]}


def client_of(server, **options):
    limiter = RateLimiter(16, 60_000)
    return LLMClient(server.base_url, rate_limiter=limiter, random=lambda: 0.5, base_backoff_seconds=0.01, **options)


async def most_bytes_during(awaitable):
    tracemalloc.start()
    try:
        answered = await awaitable
        return answered, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_an_answer_that_a_proxy_has_packed_is_understood():
    body = b"".join(events("fi", "ne"))
    packed = answer(200, gzip.compress(body), headers=PACKED, content_type="text/event-stream")
    async with ScriptedServer(packed) as server, client_of(server, model="m") as client:
        assert (await client.chat(ASK, max_tokens=10)).text == "fine"
    assert len(server.chats) == 1


@pytest.mark.parametrize(
    "spoilt",
    [
        answer(200, BOMB, headers=PACKED),
        answer(200, b"\x1f\x8b no gzip", headers=PACKED),
        answer(200, gzip.compress(b"data: {}\n\n")[:-9], headers=PACKED),
        answer(200, b"x", headers=[("content-encoding", "br")]),
        answer(200, b"x", headers=[("content-encoding", ", ".join(["gzip"] * 1000))]),
    ],
    ids=["a bomb", "damaged", "cut off", "not known here", "a thousand layers"],
)
async def test_one_that_cannot_be_unpacked_is_asked_for_again_and_costs_no_memory(spoilt):
    async with ScriptedServer(spoilt, streamed("fine")) as server, client_of(server, model="m") as client:
        reply, most = await most_bytes_during(client.chat(ASK, max_tokens=10))
    assert reply.text == "fine"
    assert len(server.chats) == 2
    assert most < 16 << 20


async def test_an_answer_may_not_have_many_times_the_bytes_that_its_tokens_need():
    lists = b"data: [" + b"[]," * 500_000 + b"[]]\n\n"
    endless = raw(head(200, content_type="text/event-stream") + chunk(lists) * 8 + b"0\r\n\r\n")
    async with ScriptedServer(endless, streamed("fine")) as server, client_of(server, model="m") as client:
        assert (await client.chat(ASK, max_tokens=100)).text == "fine"
    assert len(server.chats) == 2


@pytest.mark.parametrize("status", [401, 500])
async def test_a_refusal_stays_what_it_is_however_it_is_packed(status):
    models = answer(status, b"x", headers=[("content-encoding", "br")])
    async with ScriptedServer(models=models) as server, client_of(server) as client:
        with pytest.raises(Held, match="VLLM_API_KEY" if status == 401 else "500"):
            await client.served_model()


async def test_a_list_of_models_may_be_packed_and_long():
    many = {"data": [{"id": f"lora-{number}", "parent": "m"} for number in range(10_000)] + MODELS["data"]}
    packed = answer(200, gzip.compress(json.dumps(many).encode()), headers=PACKED)
    async with ScriptedServer(models=packed) as server, client_of(server) as client:
        assert await client.served_model() == ServedModel("m", 99)


async def test_a_list_of_models_that_unpacks_to_more_than_anybody_serves_costs_no_memory():
    async with ScriptedServer(models=answer(200, BOMB, headers=PACKED)) as server, client_of(server) as client:

        async def asked():
            with pytest.raises(Held, match="away"):
                await client.served_model()

        _, most = await most_bytes_during(asked())
    assert most < 32 << 20


async def test_a_list_of_models_without_end_is_not_read_on():
    written = []

    async def endless(server, reader, writer):
        writer.write(head(200))
        while len(written) < 64:
            writer.write(chunk(b" " * (1 << 20)))
            await writer.drain()
            written.append(1 << 20)

    async with ScriptedServer(models=endless) as server, client_of(server) as client:
        with pytest.raises(Held, match="away"):
            await client.served_model()
    assert len(written) < 64
