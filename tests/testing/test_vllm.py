"""The simulated vLLM server over real sockets, in virtual time: what it answers, refuses, counts, and how it fails."""

import asyncio
import contextlib
import json
from itertools import pairwise

import httpx
import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_engine import PRESETS
from scraper.testing.vllm_host import Tenant

pytestmark = pytest.mark.virtual_time

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}, "note": {"type": ["string", "null"]}},
    "required": ["name", "price", "note"],
}
PAGE = "<page>\nHarbour Kettle\nPrice: $ 49.00\nIn stock. It boils water in two minutes.\n</page>"
LONG = "It boils water in two minutes, and nobody minds the noise that it makes. " * 150


def chat(page=PAGE, *, schema=SCHEMA, **more):
    body = {"messages": [{"role": "system", "content": "Extract."}, {"role": "user", "content": page}], **more}
    if schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": schema},
        }
    return body


@contextlib.asynccontextmanager
async def served(**settings):
    settings = {"preset": "rtx5090-8b", "noise": 0.0, **settings}
    async with (
        SimulatedVLLM(**settings) as server,
        httpx.AsyncClient(base_url=server.root_url, timeout=None, trust_env=False) as client,
    ):
        yield server, client


async def ask(client, body=None, **more):
    return await client.post("/v1/chat/completions", json=chat(**more) if body is None else body)


def events(text):
    return [line.removeprefix("data: ") for line in text.splitlines() if line]


def metrics(text):
    return {
        (sample.name, sample.labels.get("finished_reason", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(condition):
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


# answers


async def test_an_answer_fits_the_schema_comes_from_the_page_and_names_itself_simulated():
    async with served() as (server, client):
        answer = (await ask(client)).json()
    data = json.loads(answer["choices"][0]["message"]["content"])
    jsonschema_rs.validate(SCHEMA, data)
    assert (data["name"], data["price"]) == ("Harbour Kettle", 49)
    assert answer["model"] == server.model == "simulated-vllm/rtx5090-8b"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


async def test_a_streamed_answer_is_the_whole_answer_in_pieces_then_usage_then_done():
    async with served() as (_, client):
        whole = (await ask(client)).json()
        streamed = await ask(client, stream=True, stream_options={"include_usage": True})
    *chunks, usage, done = events(streamed.text)
    pieces = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert done == "[DONE]"
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert "".join(p["delta"].get("content", "") for p in pieces) == whole["choices"][0]["message"]["content"]
    assert [p["finish_reason"] for p in pieces][-1] == "stop"
    assert len(pieces) > 10


async def test_a_stream_that_did_not_ask_for_usage_gets_none():
    async with served(preset="instant") as (_, client):
        streamed = await ask(client, stream=True)
    assert "usage" not in streamed.text


async def test_the_first_token_comes_after_the_prefill_and_the_rest_one_step_apart():
    async with served() as (server, client):
        loop = asyncio.get_running_loop()
        began, arrivals = loop.time(), []
        async with client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response:
            async for line in response.aiter_lines():
                if "content" in line and json.loads(line[6:])["choices"][0]["delta"]["content"]:
                    arrivals.append(loop.time() - began)  # noqa: PERF401 - the time is that of the arrival
    gpu = PRESETS["rtx5090-8b"]
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert arrivals[0] > gpu.step_seconds
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(gpu.step_seconds + gpu.token_seconds, rel=0.2)
    assert server.stats.max_in_flight == 1


async def test_a_time_scale_makes_everything_faster():
    async def seconds(scale):
        async with served(time_scale=scale) as (_, client):
            began = asyncio.get_running_loop().time()
            await ask(client)
            return asyncio.get_running_loop().time() - began

    assert await seconds(1.0) == pytest.approx(10 * await seconds(10.0), rel=0.1)


async def test_too_few_max_tokens_cut_the_json_off_with_finish_reason_length():
    async with served(preset="instant") as (_, client):
        answer = (await ask(client, max_tokens=5)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    with pytest.raises(ValueError):
        json.loads(answer["choices"][0]["message"]["content"])


async def test_guided_json_and_unknown_fields_are_ignored():
    async with served(preset="instant") as (_, client):
        answer = await ask(client, schema=None, guided_json=SCHEMA, whatever=1)
    assert answer.status_code == 200
    with pytest.raises(ValueError):
        json.loads(answer.json()["choices"][0]["message"]["content"])


async def test_the_same_prompt_again_is_answered_from_the_prefix_cache():
    async with served() as (_, client):
        first = (await ask(client, page=PAGE + LONG)).json()["usage"]
        second = (await ask(client, page=PAGE + LONG)).json()["usage"]
        page = metrics((await client.get("/metrics")).text)
    assert first["prompt_tokens_details"] is None
    assert second["prompt_tokens_details"]["cached_tokens"] > 0.9 * second["prompt_tokens"]
    assert page["vllm:prefix_cache_hits_total", ""] == second["prompt_tokens_details"]["cached_tokens"]
    assert page["vllm:prefix_cache_queries_total", ""] == first["prompt_tokens"] + second["prompt_tokens"]


# the small paths


async def test_models_says_what_is_served_and_its_context():
    async with served(preset="instant", max_model_len=4096, model="mine") as (_, client):
        (card,) = (await client.get("/v1/models")).json()["data"]
    assert (card["id"], card["max_model_len"]) == ("mine", 4096)


async def test_tokenize_counts_what_usage_counts():
    body = chat()
    async with served(preset="instant") as (_, client):
        counted = (await client.post("/tokenize", json={"messages": body["messages"]})).json()
        used = (await ask(client, body)).json()["usage"]["prompt_tokens"]
        prompt = (await client.post("/tokenize", json={"prompt": "in stock"})).json()
    assert counted["count"] == used == len(counted["tokens"])
    assert counted["max_model_len"] == 16_384
    assert prompt["count"] == len(prompt["tokens"]) > 0


@pytest.mark.parametrize("path", ["/health", "/ping"])
async def test_health_is_an_empty_200(path):
    async with served(preset="instant") as (_, client):
        response = await client.get(path)
    assert (response.status_code, response.content) == (200, b"")


async def test_load_counts_requests_in_the_server():
    async with served() as (server, client):
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.stats.in_flight)
        assert (await client.get("/load")).json() == {"server_load": 1}
        await asked
        assert (await client.get("/load")).json() == {"server_load": 0}


async def test_metrics_carry_vllms_names_and_agree_with_the_answers():
    async with served() as (_, client):
        answers = [(await ask(client)).json()["usage"] for _ in range(3)]
        await ask(client, max_tokens=2)
        text = (await client.get("/metrics")).text
    page = metrics(text)
    tokens = sum(usage["completion_tokens"] for usage in answers) + 2
    assert page["vllm:generation_tokens_total", ""] == tokens
    assert page["vllm:request_success_total", "stop"] == 3
    assert page["vllm:request_success_total", "length"] == 1
    assert page["vllm:request_success_total", "abort"] == 0
    assert page["vllm:time_to_first_token_seconds_count", ""] == 4
    assert page["vllm:e2e_request_latency_seconds_sum", ""] > page["vllm:time_to_first_token_seconds_sum", ""] > 0
    assert page["vllm:inter_token_latency_seconds_count", ""] == tokens - 4
    assert 'vllm:num_requests_running{engine="0",model_name="simulated-vllm/rtx5090-8b"} 0.0' in text
    assert 'reason="deferred"' in text
    assert 'kv_cache_size_tokens="98000"' in text
    assert "vllm:generation_tokens_created" in text


async def test_lagging_metrics_show_the_past():
    async with served(metrics_lag_seconds=10.0) as (_, client):
        before = (await client.get("/metrics")).text
        await ask(client)
        assert (await client.get("/metrics")).text == before
        await asyncio.sleep(10)
        assert (await client.get("/metrics")).text != before


async def test_lost_scrapes_end_in_a_reset():
    async with served(metrics_loss=1.0) as (_, client):
        with pytest.raises(httpx.TransportError):
            await client.get("/metrics")


async def test_a_path_can_be_left_out():
    async with served(preset="instant", without=["tokenize"]) as (_, client):
        response = await client.post("/tokenize", json={"prompt": "x"})
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


# errors


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (chat(model="another"), 404, "does not exist"),
        (chat(max_tokens=0), 400, "at least 1"),
        (chat(max_tokens=100_000), 400, "max_model_len"),
        (chat(max_tokens="many"), 400, "integer"),
        (chat(temperature=3), 400, "temperature"),
        (chat(temperature="hot"), 400, "number"),
        (chat(n=2), 400, "n must be 1"),
        (chat(page="word " * 30_000), 400, "maximum context length"),
        (chat(schema={"type": "array", "items": {}, "uniqueItems": True}), 400, "Grammar error: Unimplemented keys"),
        (chat(schema={"type": "string", "pattern": "(["}), 400, "Grammar error"),
        (chat(schema={"$ref": "#/nowhere"}), 400, "Grammar error"),
        (chat(schema={"type": "array", "minItems": "many"}), 400, "Grammar error"),
        (chat(stream_options={"include_usage": True}), 400, "stream=True"),
        ({"messages": []}, 400, "message"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "role"),
        ({"messages": "hello"}, 400, "message"),
        ({}, 400, "message"),
        ({**chat(), "response_format": {"type": "json_schema"}}, 400, "json_schema"),
        ({**chat(), "response_format": 5}, 400, "json_schema"),
        ({**chat(), "response_format": {"type": ["json_schema"]}}, 400, "json_schema"),
        (chat(n=[1]), 400, "n must be 1"),
        (chat(schema={"type": ["string", {}]}), 400, "Grammar error"),
        (chat(schema={"type": "object", "required": [[]]}), 400, "Grammar error"),
        (chat(schema={"allOf": 3, "anyOf": {}, "enum": 4}), 400, "Grammar error"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, 400, "role"),
    ],
)
async def test_a_bad_request_is_refused_as_vllm_does(body, status, words):
    async with served(preset="instant") as (_, client):
        response = await ask(client, body)
    error = response.json()["error"]
    assert response.status_code == status == error["code"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "content", [b"{", b"", b"[]", b'"x"', b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe", b'{"n": ' + b"9" * 5000 + b"}"]
)
async def test_a_body_that_is_no_json_object_is_a_400(content):
    async with served(preset="instant") as (_, client):
        response = await client.post("/v1/chat/completions", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == 400


async def test_lone_surrogates_do_not_break_the_answer():
    async with served(preset="instant") as (_, client):
        body = json.dumps(
            chat(
                page="Kettle \ud800 49.00",
                schema={"type": "object", "properties": {"a": {"enum": ["\udfff"]}}, "required": ["a"]},
            )
        )
        response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 200


async def test_a_body_over_the_cap_is_a_413():
    async with served(preset="instant") as (server, client):
        server.http.max_body_bytes = 1_000
        response = await client.post("/v1/chat/completions", content=b"x" * 2_000)
    assert response.status_code == 413
    assert server.stats.in_flight == 0


async def test_a_wrong_key_is_a_401_with_a_string_and_health_stays_open():
    async with served(preset="instant", api_key="sesame") as (_, client):
        refused = await ask(client)
        allowed = await client.post("/v1/chat/completions", json=chat(), headers={"Authorization": "Bearer sesame"})
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
    assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
    assert allowed.status_code == 200


async def test_an_unknown_path_or_method_has_a_detail():
    async with served(preset="instant") as (_, client):
        missing, wrong = await client.get("/v2/nothing"), await client.get("/v1/chat/completions")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_queue_is_a_503_at_once_without_retry_after(stream):
    async with served(max_num_queued_reqs=2) as (server, client):
        running = [asyncio.create_task(ask(client)) for _ in range(2)]
        await until(lambda: len(server.engine.running) == 2)
        refused = await ask(client, stream=stream)
        text = (await client.get("/metrics")).text
        await asyncio.gather(*running)
        assert (await ask(client)).status_code == 200
    assert refused.status_code == 503
    assert "retry-after" not in refused.headers
    assert "currently busy" in refused.json()["error"]["message"]
    assert (
        'vllm:admission_rejections_total{model_name="simulated-vllm/rtx5090-8b",reason="num_queued_reqs"} 1.0' in text
    )


async def test_a_prefill_backlog_over_its_limit_is_a_503():
    async with served(max_num_queued_tokens=2_000, time_scale=0.1) as (server, client):
        first = asyncio.create_task(ask(client, page=LONG))
        await until(lambda: server.engine.running)
        refused = await ask(client, page=LONG)
        await first
    assert refused.status_code == 503
    assert "prefill token backlog limit" in refused.json()["error"]["message"]


async def test_without_a_limit_forty_requests_wait_in_line_and_all_are_answered():
    async with served(max_num_seqs=4) as (server, client):
        answers = await asyncio.gather(*(ask(client, page=f"{n} {PAGE}") for n in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert server.engine.counters.max_running == 4
    assert server.stats.max_in_flight == 40


# the client goes away


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_frees_the_gpu_within_a_second(stream):
    async with served(time_scale=0.2) as (server, client):
        asked = asyncio.create_task(ask(client, stream=stream, max_tokens=500))
        await until(lambda: server.engine.running)
        asked.cancel()
        await until(lambda: server.stats.in_flight == 0)
        left = asyncio.get_running_loop().time()
        await until(lambda: not server.engine.running)
        assert (asyncio.get_running_loop().time() - left) * server.time_scale <= 1.0
        assert server.stats.outcomes == {"disconnected": 1}
        assert server.engine.kv_used == 0
        assert metrics((await client.get("/metrics")).text)["vllm:request_success_total", "abort"] == 0


async def test_a_client_that_leaves_the_waiting_line_takes_no_turn():
    async with served(max_num_seqs=1, time_scale=0.1) as (server, client):
        first = asyncio.create_task(ask(client))
        await until(lambda: server.engine.running)
        second = asyncio.create_task(ask(client))
        await until(lambda: server.engine.waiting)
        second.cancel()
        await until(lambda: not server.engine.waiting)
        await first
        assert server.engine.counters.max_running == 1


# faults


@pytest.mark.parametrize(
    ("fault", "status"), [("500", 500), ("503", 503), ("429", 429), ("401", 401), ("404", 404), ("400", 400)]
)
async def test_a_status_on_demand_hits_the_next_request_only(fault, status):
    async with served(preset="instant", faults=f"{fault}=1x") as (server, client):
        statuses = [(await ask(client)).status_code for _ in range(3)]
    assert statuses == [status, 200, 200]
    assert server.faults.injected == {fault: 1}


async def test_a_429_carries_its_retry_after_and_a_503_only_when_asked():
    async with served(preset="instant", faults="429=1x:30,503=1x,503=1x:2.5") as (_, client):
        hints = [(await ask(client)).headers.get("retry-after") for _ in range(4)]
    assert hints == ["30", None, "2.5", None]


async def test_a_probability_hits_about_its_share_and_the_same_ones_for_the_same_seed():
    async def run():
        async with served(preset="instant", faults="503=0.3", seed=7) as (_, client):
            return [(await ask(client)).status_code for _ in range(60)]

    first = await run()
    assert first == await run()
    assert 8 <= first.count(503) <= 28


async def test_a_hang_never_answers_and_ends_with_the_client():
    async with served(preset="instant", faults="hang=1x") as (server, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3_600):
                await ask(client)
        await until(lambda: server.stats.in_flight == 0)
        assert (await ask(client)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reset", "reset_body", "cut"])
async def test_a_broken_connection_is_seen_as_one(fault, stream):
    async with served(faults=f"{fault}=1x") as (server, client):
        with pytest.raises(httpx.TransportError):
            await ask(client, stream=stream)
        assert (await ask(client, stream=stream)).status_code == 200
        await until(lambda: not server.engine.running)
        assert server.stats.in_flight == 0


async def test_a_cut_stream_has_shown_a_part_and_no_done():
    seen = []
    async with served(faults="cut=1x") as (_, client):

        async def read():
            async with client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response:
                async for line in response.aiter_lines():
                    seen.append(line)  # noqa: PERF401 - a comprehension would lose what came before the cut

        with pytest.raises(httpx.RemoteProtocolError):
            await read()
    assert sum("content" in line for line in seen) > 3
    assert not any("[DONE]" in line for line in seen)


async def test_garbage_comes_with_a_200():
    async with served(preset="instant", faults="html=1x,broken_json=1x") as (_, client):
        page, broken = await ask(client), await ask(client)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert broken.status_code == 200
    with pytest.raises(ValueError):
        broken.json()


async def test_an_error_inside_a_stream_is_followed_by_done():
    async with served(faults="stream_error=2x") as (_, client):
        streamed, whole = await ask(client, stream=True), await ask(client)
    *_, error, done = events(streamed.text)
    assert streamed.status_code == 200
    assert json.loads(error)["error"]["code"] == 500
    assert done == "[DONE]"
    assert whole.status_code == 500


@pytest.mark.parametrize("fault", ["whitespace", "repetition"])
async def test_a_runaway_answer_goes_on_until_max_tokens(fault):
    async with served(preset="instant", faults=f"{fault}=on") as (_, client):
        answer = (await ask(client, max_tokens=300)).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 300


async def test_slow_headers_keep_the_client_waiting_before_the_first_byte():
    async with served(preset="instant", faults="slow_headers=1x:20") as (_, client):
        began = asyncio.get_running_loop().time()
        async with client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as response:
            assert asyncio.get_running_loop().time() - began >= 20
            await response.aread()


@pytest.mark.parametrize("fault", ["bad_json", "wrong_schema", "empty_answer"])
async def test_a_wrong_answer_comes_as_a_good_response(fault):
    async with served(preset="instant", faults=f"{fault}=1x") as (_, client):
        wrong, right = (await ask(client)).json(), (await ask(client)).json()
    validator = jsonschema_rs.validator_for(SCHEMA)
    with pytest.raises(ValueError):
        validator.validate(json.loads(wrong["choices"][0]["message"]["content"]))
    validator.validate(json.loads(right["choices"][0]["message"]["content"]))


# the server's states


async def test_a_crash_resets_everybody_refuses_for_its_time_and_comes_back_cold():
    async with served() as (server, client):
        await ask(client)
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.engine.running)
        server.crash(45)
        crashed = asyncio.get_running_loop().time()
        with pytest.raises(httpx.TransportError):
            await asked
        while True:
            try:
                response = await client.get("/health")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.5)
        assert asyncio.get_running_loop().time() - crashed == pytest.approx(45, abs=1)
        assert response.status_code == 200
        assert server.engine.counters.generation_tokens == 0
        assert server.stats.requests == 2
        assert (await ask(client)).status_code == 200


async def test_a_full_kv_cache_crashes_the_server_in_the_end():
    async with served(kv_tokens=4_000, max_model_len=4_000, faults="whitespace=on") as (server, client):
        outcomes = await asyncio.gather(*(ask(client, page=f"{n} {PAGE}") for n in range(12)), return_exceptions=True)
        assert any(isinstance(outcome, httpx.TransportError) for outcome in outcomes)
        assert server.state == "down"


async def test_a_frozen_engine_looks_healthy_and_gives_no_token():
    async with served() as (server, client):
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.engine.counters.generation_tokens > 2)
        server.freeze()
        before = metrics((await client.get("/metrics")).text)
        await asyncio.sleep(600)
        assert (await client.get("/health")).status_code == 200
        assert metrics((await client.get("/metrics")).text) == before
        assert before["vllm:num_requests_running", ""] == 1
        assert (await client.get("/load")).json() == {"server_load": 1}
        assert not asked.done()
        server.thaw()
        assert (await asked).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_killed_engine_tells_those_in_flight_then_the_process_exits(stream):
    async with served() as (server, client):
        asked = asyncio.create_task(ask(client, stream=stream))
        await until(lambda: server.engine.counters.generation_tokens > 2)
        server.kill_engine()
        answer = await asked
        assert (await client.get("/health")).status_code == 503
        assert (await ask(client)).status_code == 500
        await server.exited.wait()
        with pytest.raises(httpx.ConnectError):
            await client.get("/health")
    if stream:
        assert answer.status_code == 200
        assert "EngineCore encountered an issue" in events(answer.text)[-2]
        assert events(answer.text)[-1] == "[DONE]"
    else:
        assert answer.status_code == 500
        assert "EngineCore encountered an issue" in answer.json()["error"]["message"]


async def test_a_server_that_stays_up_after_its_engines_death_says_503_on_health():
    async with served(keep_alive_on_engine_death=True) as (server, client):
        server.kill_engine()
        await asyncio.sleep(100)
        assert (await client.get("/health")).status_code == 503
        assert (await ask(client)).status_code == 500


async def test_a_draining_server_finishes_what_it_has_and_refuses_the_rest_while_healthy():
    async with served() as (server, client):
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.engine.running)
        server.drain()
        refused = await ask(client)
        assert (await client.get("/health")).status_code == 200
        assert (await asked).status_code == 200
    assert refused.status_code == 500
    assert refused.json()["error"]["message"] == "cannot schedule new futures after shutdown"


async def test_a_plain_sigterm_refuses_connections_and_leaves_those_in_flight_hanging():
    async with served() as (server, client):
        asked = asyncio.create_task(ask(client))
        await until(lambda: server.engine.running)
        server.stop_listening()
        await asyncio.sleep(300)
        assert not asked.done()
        async with httpx.AsyncClient(trust_env=False) as other:
            with pytest.raises(httpx.ConnectError):
                await other.get(f"{server.root_url}/health")
        asked.cancel()


async def test_slow_down_takes_effect_while_running():
    async def seconds(server, client):
        began = asyncio.get_running_loop().time()
        await ask(client)
        return asyncio.get_running_loop().time() - began

    async with served() as (server, client):
        await ask(client)  # the second one of its kind is answered from the prefix cache
        normal = await seconds(server, client)
        server.slow_down(5)
        assert await seconds(server, client) == pytest.approx(5 * normal, rel=0.1)


async def test_a_second_tenant_makes_the_gpu_slower_and_is_not_seen_over_http():
    async with served() as (_, client):
        began = asyncio.get_running_loop().time()
        await ask(client)
        alone = asyncio.get_running_loop().time() - began
    async with served(tenant=Tenant(requests_per_minute=300)) as (server, client):
        await asyncio.sleep(20)
        began = asyncio.get_running_loop().time()
        await ask(client)
        assert asyncio.get_running_loop().time() - began > 1.5 * alone
        assert server.stats.requests == 1


# control


async def test_control_adds_and_clears_faults_at_run_time():
    async with served(preset="instant") as (_, client):
        added = await client.post("/_control", json={"faults": "500=on"})
        assert (await ask(client)).status_code == 500
        await client.post(
            "/_control", json={"faults": [{"kind": "429", "next": 1, "retry_after": "soon"}], "clear": True}
        )
        hint = await ask(client)
        assert (await ask(client)).status_code == 200
    assert added.json()["faults"][0]["kind"] == "500"
    assert (hint.status_code, hint.headers["retry-after"]) == (429, "soon")


async def test_control_acts_and_sets():
    async with served(preset="instant") as (server, client):
        await client.post("/_control", json={"set": {"api_key": "new", "model": "other"}, "slow": 2})
        assert (await ask(client)).status_code == 401
        await client.post("/_control", json={"do": "kill_engine"})
        assert (await client.get("/health")).status_code == 503
        await client.post("/_control", json={"do": "restart"})
        assert (await client.get("/health")).status_code == 200
        answer = await client.post("/_control", json={"do": "crash", "seconds": 10})
        assert answer.status_code == 200
        await until(lambda: server.state == "up")


@pytest.mark.parametrize(
    "order",
    [
        {"do": "explode"},
        {"do": "exit_code"},
        {"unknown": 1},
        {"slow": 0},
        {"slow": "very"},
        {"slow": True},
        {"do": "crash", "seconds": -1},
        {"set": {"engine": 1}},
        {"set": {"model": 5}},
        {"set": []},
        {"clear": "everything"},
        {"clear": ["503"]},
        {"do": ["crash"]},
        {"faults": [{"kind": ["503"]}]},
        {"faults": 5},
        {"faults": [{"kind": "503", "next": "three"}]},
        {"faults": "503=1.5"},
        {"faults": "nonsense"},
        {"faults": "503=0x"},
    ],
)
async def test_an_order_that_makes_no_sense_changes_nothing(order):
    async with served(preset="instant") as (server, client):
        response = await client.post("/_control", json=order)
        assert response.status_code == 400
        assert server.faults.faults == []
        assert (await ask(client)).status_code == 200


async def test_control_is_refused_from_another_machine(monkeypatch):
    async with served(preset="instant") as (_, client):
        monkeypatch.setattr("scraper.testing.http_server.Exchange.peer", "192.0.2.7")
        assert (await client.post("/_control", json={"do": "freeze"})).status_code == 403


# settings


@pytest.mark.parametrize(
    "settings",
    [{"preset": "h900"}, {"max_model_len": 200_000}, {"faults": "999=on"}, {"without": ["nothing"]}],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name(settings):
    async def build():
        SimulatedVLLM(**settings)

    with pytest.raises(ValueError, match=r"unknown|needs more cache|no such path"):
        asyncio.run(build())
