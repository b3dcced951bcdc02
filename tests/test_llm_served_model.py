"""What the server serves, and how long a prompt is: asked lazily, shared, and never in the way."""

import asyncio

import pytest

from scraper.deadline import Deadline
from scraper.errors import Held
from scraper.events import Back, EndpointMisconfigured, WaitingFor
from scraper.llm_client import LLMClient, RateLimiter, ServedModel
from scraper.testing.vllm import SimulatedVLLM
from scraper.trace import Trace
from tests.scripted_server import ScriptedServer, answer, answer_json, hang, refusal

pytestmark = pytest.mark.virtual_time

ASK = [{"role": "user", "content": "hello"}]


def now():
    return asyncio.get_running_loop().time()


def deadline(hold=600.0):
    return Deadline(work_seconds=900, hold_seconds=hold, now=now())


def cards(*names, **more):
    return answer_json(200, {"data": [{"id": name, "max_model_len": 99} | more for name in names]})


async def test_it_is_asked_once_and_remembered():
    async with ScriptedServer() as server, LLMClient(server.base_url) as client:
        answers = await asyncio.gather(*(client.served_model() for _ in range(5)))
    assert set(answers) == {ServedModel("m", 4096)}
    assert len(server.requests) == 1


async def test_of_several_the_one_named_is_meant():
    async with ScriptedServer(models=cards("a", "b")) as server, LLMClient(server.base_url, model="b") as client:
        assert await client.served_model() == ServedModel("b", 99)


async def test_an_adapter_is_not_the_model():
    models = answer_json(200, {"data": [{"id": "base", "parent": None}, {"id": "lora", "parent": "base"}]})
    async with ScriptedServer(models=models) as server, LLMClient(server.base_url) as client:
        assert await client.served_model() == ServedModel("base", None)


@pytest.mark.parametrize(
    ("models", "model", "setting", "advice"),
    [
        (cards("a", "b"), "", "VLLM_MODEL", "name one of: a, b"),
        (cards("a", "b"), "c", "VLLM_MODEL", "does not serve «c», but: a, b"),
        (cards("a\x1b[2J\n", "b"), "", "VLLM_MODEL", r"name one of: a\\x1b\[2J, b"),
        (answer_json(401, {"error": "Unauthorized"}), "", "VLLM_API_KEY", "refuses the key"),
        (answer_json(404, {"detail": "Not Found"}), "", "VLLM_BASE_URL", "http://host:8000/v1"),
    ],
)
async def test_what_does_not_fit_the_settings_is_named(models, model, setting, advice):
    told = []
    async with (
        ScriptedServer(models=models) as server,
        LLMClient(server.base_url, model=model, observe=told.append) as client,
    ):
        with pytest.raises(Held, match=advice):
            await client.served_model()
    assert [(event.setting, type(event)) for event in told] == [(setting, EndpointMisconfigured)]


async def test_a_gateway_that_lists_nothing_is_believed_to_serve_what_is_named():
    async with ScriptedServer(models=answer(404)) as server, LLMClient(server.base_url, model="named") as client:
        assert await client.served_model() == ServedModel("named", None)


async def test_a_server_that_is_away_holds_and_the_answer_comes_when_it_is_back():
    told, trace = [], None
    async with ScriptedServer(models=answer(503)) as server, LLMClient(server.base_url, observe=told.append) as client:
        trace, limit = Trace(clock=now), deadline()
        waiting = asyncio.create_task(client.served_model(deadline=limit, trace=trace))
        await asyncio.sleep(62)
        server.models = cards("m")
        assert (await waiting).name == "m"
        assert limit.hold_left == pytest.approx(600 - 65, abs=0.5)
        assert limit.work_left(now=now()) == pytest.approx(900, abs=0.5)
    assert [type(event) for event in told] == [WaitingFor, WaitingFor, WaitingFor, Back]
    assert trace.timings()["wait_circuit"] == pytest.approx(65, abs=0.5)


async def test_held_no_longer_than_the_deadline_allows():
    async with ScriptedServer(models=answer(500)) as server, LLMClient(server.base_url) as client:
        with pytest.raises(Held):
            await client.served_model(deadline=deadline(hold=21))
        assert now() == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("length", [True, 0, -1, "4096", 4096.5, None, [1]])
async def test_a_context_length_that_is_no_number_is_none_that_was_told(length):
    models = answer_json(200, {"data": [{"id": "m", "max_model_len": length}]})
    async with ScriptedServer(models=models) as server, LLMClient(server.base_url) as client:
        assert await client.served_model() == ServedModel("m", None)


async def test_many_who_wait_ask_as_often_as_one():
    async with ScriptedServer(models=answer(500)) as server, LLMClient(server.base_url) as client:
        waiting = [client.served_model(deadline=deadline(hold=21)) for _ in range(10)]
        await asyncio.gather(*waiting, return_exceptions=True)
        assert len(server.requests) <= 6


@pytest.mark.parametrize(
    "models", [answer(200, b"<html>"), answer_json(200, []), answer_json(200, {"data": [7, {}]}), hang]
)
async def test_an_answer_that_says_nothing_is_no_answer(models):
    async with ScriptedServer(models=models) as server, LLMClient(server.base_url) as client:
        with pytest.raises(Held, match="away"):
            await client.served_model()


async def test_the_throttle_is_told_what_is_wrong_and_when_it_is_right_again():
    throttle = RateLimiter()
    async with (
        ScriptedServer(models=answer_json(401, {"error": "Unauthorized"})) as server,
        LLMClient(server.base_url, rate_limiter=throttle) as client,
    ):
        waiting = asyncio.create_task(client.served_model(deadline=deadline()))
        await asyncio.sleep(1)
        assert str(throttle.snapshot()["wrong"]).startswith("VLLM_API_KEY: ")
        server.models = cards("m")
        await waiting
        assert throttle.snapshot()["wrong"] == ""


async def test_once_known_trouble_with_asking_again_holds_nobody():
    async with ScriptedServer(refusal(500)) as server, LLMClient(server.base_url) as client:
        await client.chat(ASK, max_tokens=5)
        server.models = answer(500)
        assert (await client.served_model()).name == "m"


async def test_tokens_are_counted_where_the_server_can():
    async with SimulatedVLLM(preset="instant") as server, LLMClient(server.base_url) as client:
        assert await client.count_tokens(ASK) > 0


@pytest.mark.parametrize(
    "tokenize", [answer(404), answer(500), hang, answer_json(200, {"count": "7"}), answer(200, b"x")]
)
async def test_where_it_cannot_nobody_waits_for_it(tokenize):
    async with ScriptedServer(tokenize=tokenize) as server, LLMClient(server.base_url) as client:
        assert await client.count_tokens(ASK) is None


async def test_a_server_without_tokenize_is_asked_once():
    async with ScriptedServer(tokenize=answer(404)) as server, LLMClient(server.base_url) as client:
        for _ in range(3):
            await client.count_tokens(ASK)
    assert [path for _, path, _, _ in server.requests].count("/tokenize") == 1
