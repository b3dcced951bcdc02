"""One call from asking to answer, against real sockets, in virtual time."""

import asyncio
import json
import socket

import httpx
import pytest

from scraper.deadline import Deadline
from scraper.errors import Held, Misconfigured, ModelFailed, Permanent, Transient, Unavailable
from scraper.events import (
    CircuitClosed,
    CircuitHalfOpen,
    CircuitOpened,
    EndpointMisconfigured,
    EndpointPaused,
    LlmFailed,
    LlmRequest,
    LlmRetry,
    LlmSuccess,
    RateLimitAcquired,
    ThrottleHosted,
)
from scraper.llm_client import CircuitBreaker, LLMClient, RateLimiter, SharedRateLimiter
from scraper.models import ParkReason, Usage
from scraper.testing.vllm import SimulatedVLLM
from scraper.throttle import operations
from scraper.throttle.circuit_breaker import CircuitState
from scraper.trace import Trace
from tests.scripted_server import (
    ScriptedServer,
    answer,
    answer_json,
    chunk,
    close,
    events,
    hang,
    head,
    raw,
    refusal,
    reset,
    streamed,
)

pytestmark = pytest.mark.virtual_time

ASK = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is the price of the blue chair?"}]


async def end_and_close(server, reader, writer):
    writer.write(b"0\r\n\r\n")
    writer.close()


def now():
    return asyncio.get_running_loop().time()


class Setup:
    """A client with what it tells and holds; rate limits out of the way unless a test is about them."""

    def __init__(self, server, *, limits=(16, 60_000), breaker=None, transport=None, base_url=None, **client):
        self.events = []
        self.observe = None
        self.limiter = RateLimiter(*limits, breaker, observe=self.hear)
        self.client = LLMClient(
            base_url or server.base_url,
            rate_limiter=self.limiter,
            observe=self.hear,
            transport=transport,
            random=lambda: 0.5,
            **client,
        )

    async def __aenter__(self):
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *raised):
        await self.client.__aexit__(*raised)
        assert self.limiter.in_flight == 0
        assert self.limiter.waiting == 0

    def chat(self, **asked):
        return self.client.chat(ASK, **{"max_tokens": 50, **asked})

    def hear(self, event):
        self.events.append(event)
        if self.observe is not None:
            self.observe(event)

    async def until_told(self, kind):
        while not self.told(kind):  # noqa: ASYNC110 - events are announced by a plain call
            await asyncio.sleep(0.25)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def deadline(work=900.0, hold=600.0):
    return Deadline(work_seconds=work, hold_seconds=hold, now=now())


async def test_a_program_that_listens_to_nothing_is_told_by_logging_what_it_waits_for(caplog):
    client = LLMClient("http://127.0.0.1:9/v1", rate_limiter=RateLimiter())
    with pytest.raises(TimeoutError):
        async with client, asyncio.timeout(60):
            await client.chat(ASK, max_tokens=5)
    waiting, *later = caplog.messages
    assert waiting.startswith("waiting_for what='model server' error='connection refused at 127.0.0.1:9: is vLLM")
    assert len(later) <= 2  # not at every try


# a good answer


async def test_a_streamed_answer_is_joined_and_counted():
    async with ScriptedServer(streamed("for", "ty ", "two")) as server, Setup(server) as setup:
        reply = await setup.chat()
    assert reply.text == "forty two"
    assert reply.finish_reason == "stop"
    assert reply.model == "m"
    assert reply.usage == Usage(prompt_tokens=5, completion_tokens=3, cached_tokens=2)


async def test_the_request_is_what_the_server_needs():
    fmt = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}
    async with ScriptedServer() as server, Setup(server, api_key="sesame", temperature=0.25) as setup:
        await setup.chat(response_format=fmt)
        method, path, headers, body = server.requests[-1]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert headers["authorization"] == "Bearer sesame"
    assert json.loads(body) == {
        "model": "m",
        "messages": ASK,
        "max_tokens": 50,
        "temperature": 0.25,
        "stream": True,
        "stream_options": {"include_usage": True},
        "response_format": fmt,
    }


async def test_a_cut_off_answer_is_returned_as_such():
    async with ScriptedServer(streamed("{", finish="length")) as server, Setup(server) as setup:
        assert (await setup.chat()).finish_reason == "length"


async def test_an_answer_in_one_piece_is_accepted():
    whole = {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": None},
    }
    async with ScriptedServer(answer_json(200, whole)) as server, Setup(server) as setup:
        reply = await setup.chat()
    assert (reply.text, reply.usage) == ("hello", Usage(3, 1, 0))


async def test_half_of_a_surrogate_pair_from_a_broken_page_can_be_sent():
    async with ScriptedServer() as server, Setup(server) as setup:
        await setup.client.chat([{"role": "user", "content": "broken \ud83d page"}], max_tokens=5)
    assert server.chats[0]["messages"][0]["content"] == "broken ? page"


async def test_connections_are_used_again():
    async with ScriptedServer() as server, Setup(server) as setup:
        for _ in range(5):
            await setup.chat()
        assert server.connections == 1


async def test_a_connection_that_the_server_closed_while_idle_costs_no_attempt():
    async with ScriptedServer(streamed("a", then=end_and_close)) as server, Setup(server) as setup:
        await setup.chat()
        await asyncio.sleep(1)
        await setup.chat()
        assert server.connections == 2
    assert setup.told(LlmRetry) == []


async def test_the_slot_is_held_until_the_bodys_end_and_not_given_back_at_the_headers():
    async with (
        ScriptedServer(streamed("a", first=20, between=1), streamed("b")) as server,
        Setup(server, limits=(1, 60_000)) as setup,
    ):
        await asyncio.gather(setup.chat(), setup.chat())
    assert server.most_in_flight == 1
    assert server.times[1] - server.times[0] >= 20


async def test_a_server_that_does_not_end_its_body_after_done_keeps_nobody():
    async with ScriptedServer(streamed("a", end=False, then=hang)) as server, Setup(server) as setup:
        assert (await setup.chat()).text == "a"
        await server.gone.wait()
        assert now() < 2


@pytest.mark.parametrize("border", [b"ends with data: [DONE]", b"ends with "])
async def test_an_answer_about_streams_is_read_to_its_end_however_it_is_cut_into_pieces(border):
    whole = b"".join(events("A stream ends with data: [DONE] and an empty line."))
    at = whole.index(border) + len(border)

    async def in_pieces(server, reader, writer):
        writer.write(head(200, content_type="text/event-stream"))
        for piece in (whole[:at], whole[at : at + len("data: [DONE]")], whole[at + len("data: [DONE]") :], b""):
            writer.write(chunk(piece))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with ScriptedServer(in_pieces) as server, Setup(server) as setup:
        assert (await setup.chat()).text == "A stream ends with data: [DONE] and an empty line."


async def test_it_says_what_it_does():
    async with ScriptedServer(streamed("a", "b", first=2, between=0.5)) as server, Setup(server) as setup:
        await setup.chat()
    assert setup.told(LlmRequest) == [LlmRequest(attempt=1, max_tokens=50, prompt_chars=43)]
    (success,) = setup.told(LlmSuccess)
    assert (success.first_token_s, success.completion_tokens, success.finish_reason) == (2.0, 2, "stop")
    assert success.seconds == pytest.approx(2 + 6 * 0.5, abs=0.51)


async def test_time_is_booked_to_its_phases():
    async with ScriptedServer(streamed("a", first=2, between=0.5), model="m") as server, Setup(server) as setup:
        trace = Trace(clock=now)
        await setup.chat(trace=trace)
        timings = trace.timings()
    assert timings["first_token"] == pytest.approx(2.0)
    assert timings["generate"] == pytest.approx(trace.total_seconds - 2.0)


async def test_waiting_is_booked_by_its_reason():
    async with ScriptedServer() as server, Setup(server, limits=(2, 20)) as setup:
        await setup.chat()
        trace, limit = Trace(clock=now), deadline()
        await setup.chat(trace=trace, deadline=limit)
    assert trace.timings()["wait_rate"] == pytest.approx(3.0)
    assert limit.hold_left == pytest.approx(597.0)
    assert limit.work_left(now=now()) == pytest.approx(897.0)


# what is tried again

OK = streamed("fine")
CUT = raw(head(200, content_type="text/event-stream") + chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'))


def error_event(kind="InternalServerError"):
    return raw(
        head(200, content_type="text/event-stream")
        + chunk(b'data: {"choices":[{"index":0,"delta":{"content":"half"}}]}\n\n')
        + chunk(b'data: {"error": {"message": "EngineCore", "type": "%s", "code": 500}}\n\n' % kind.encode())
        + chunk(b"data: [DONE]\n\n")
        + b"0\r\n\r\n"
    )


FAILURES = {
    "closed before a byte": close,
    "reset before a byte": reset,
    "closed inside the body": CUT,
    "reset inside the body": raw(head(200, content_type="text/event-stream") + chunk(b"data: {"), then=reset),
    "short of its content-length": raw(head(200, length=100) + b"{}"),
    "malformed status line": raw(b"garbage\r\n\r\n"),
    "malformed chunk": raw(head(200, content_type="text/event-stream") + b"zz\r\nhello\r\n"),
    "no byte until the timeout": hang,
    "half a body until the timeout": raw(head(200) + chunk(b"data: "), then=hang),
    "500": refusal(500, kind="InternalServerError"),
    "502 from a proxy": answer(502, b"<html>Bad Gateway</html>"),
    "503 overloaded": refusal(503, "The engine is currently busy", kind="ServiceUnavailableError"),
    "error event in the stream": error_event(),
    "finish_reason error": streamed("a", finish="error"),
    "finish_reason abort": streamed("a", finish="abort"),
    "stream without an end": streamed("a", finish=None, done=False),
    "done without a finish_reason": streamed("a", finish=None),
    "a proxy's page": answer(200, b"<html><body>Please log in</body></html>"),
    "an empty 200": answer(200),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "json that is no completion": answer_json(200, {"hello": "world"}),
    "json that is a list": answer_json(200, [1, 2]),
    "broken json in an event": raw(
        head(200, content_type="text/event-stream") + chunk(b"data: {broken\n\ndata: [DONE]\n\n") + b"0\r\n\r\n"
    ),
    "events of the wrong shape": raw(
        head(200, content_type="text/event-stream")
        + chunk(b'data: [1]\n\ndata: "x"\n\ndata: [DONE]\n\n')
        + b"0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_is_tried_again_and_counts_against_the_server(failure):
    async with ScriptedServer(failure, OK) as server, Setup(server, model="m", timeout_seconds=30) as setup:
        pending = asyncio.create_task(setup.chat())
        await setup.until_told(LlmRetry)
        assert setup.limiter.breaker.failures == 1
        assert setup.limiter.in_flight == 0  # it sleeps, and holds nothing
        assert (await pending).text == "fine"
        assert setup.limiter.breaker.failures == 0
    assert len(server.chats) == 2


async def test_an_answer_is_a_success_for_the_server_whatever_its_text():
    """What to make of text that breaks the JSON is the task's business: nothing is sent again for it here."""
    async with ScriptedServer(refusal(500), streamed("{broken")) as server, Setup(server) as setup:
        answered = await setup.chat(response_format={"type": "json_object"})
        assert (answered.text, setup.limiter.breaker.failures) == ("{broken", 0)
    assert len(server.chats) == 2


@pytest.mark.parametrize("status", [408, 429, 409, 425])
async def test_what_is_not_the_servers_health_is_tried_again_without_counting(status):
    async with ScriptedServer(refusal(status), OK) as server, Setup(server) as setup:
        await setup.chat()
    assert setup.limiter.breaker.failures == 0
    assert len(server.chats) == 2


async def test_refused_connections_are_tried_again_and_count():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        async with Setup(None, base_url=nobody, model="m", max_retries=2) as setup:
            with pytest.raises(ModelFailed, match=r"3 attempts") as failed:
                await setup.chat()
    assert failed.value.outage
    assert setup.limiter.breaker.failures == 3
    assert {retry.error.partition(" at ")[0] for retry in setup.told(LlmRetry)} == {"connection refused"}


async def test_a_call_makes_at_most_one_attempt_and_its_retries():
    breaker = CircuitBreaker(threshold=100)
    async with ScriptedServer(*[refusal(500)] * 10) as server, Setup(server, breaker=breaker) as setup:
        with pytest.raises(ModelFailed) as failed:
            await setup.chat()
    assert len(server.chats) == 6
    assert failed.value.outage
    assert setup.told(LlmFailed) == [LlmFailed(attempts=6, error="500 BadRequestError: no", outage=True)]


async def test_delays_double_and_are_told():
    breaker = CircuitBreaker(threshold=100)
    async with ScriptedServer(*[refusal(500)] * 5) as server, Setup(server, breaker=breaker) as setup:
        trace = Trace(clock=now)
        await setup.chat(trace=trace)
        assert trace.timings()["backoff"] == pytest.approx(31.0, abs=0.1)
    assert [retry.backoff_s for retry in setup.told(LlmRetry)] == [1, 2, 4, 8, 16]


async def test_without_retries_the_first_failure_is_the_last():
    async with ScriptedServer(refusal(500)) as server, Setup(server, max_retries=0) as setup:
        with pytest.raises(ModelFailed):
            await setup.chat()
    assert len(server.chats) == 1


async def test_it_is_no_outage_when_another_call_succeeded_meanwhile():
    breaker = CircuitBreaker(threshold=100)
    async with (
        ScriptedServer(refusal(500), streamed("other"), refusal(500)) as server,
        Setup(server, breaker=breaker, max_retries=1) as setup,
    ):
        failing = asyncio.create_task(setup.chat())
        await asyncio.sleep(0.5)
        await setup.chat()
        with pytest.raises(ModelFailed) as failed:
            await failing
    assert not failed.value.outage


# what is not


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_request_that_is_refused_for_what_it_is_is_never_repeated(status):
    async with ScriptedServer(refusal(status, "Grammar error: unsupported")) as server, Setup(server) as setup:
        with pytest.raises(Permanent) as parked:
            await setup.chat()
    assert parked.value.reason is ParkReason.MODEL_REFUSED
    assert (
        str(parked.value)
        == f"the model server refuses the request: {status} BadRequestError: Grammar error: unsupported"
    )
    assert len(server.chats) == 1
    assert setup.limiter.breaker.failures == 0


async def test_a_refusal_that_quotes_a_page_about_wrong_addresses_is_still_about_the_request():
    quoted = "not valid: 'The plain HTTP request was sent to HTTPS port'"
    async with ScriptedServer(refusal(400, quoted)) as server, Setup(server) as setup:
        with pytest.raises(Permanent):
            await setup.chat()
    assert setup.told(EndpointMisconfigured) == []


async def test_errors_quote_neither_prompt_nor_key():
    quoted = "your prompt 'the blue chair' was: What is the price of the blue chair? (key sesame-123)"
    async with ScriptedServer(refusal(400, quoted)) as server, Setup(server, api_key="sesame-123") as setup:
        with pytest.raises(Permanent) as parked:
            await setup.chat()
    assert "chair" not in str(parked.value)
    assert "sesame" not in str(parked.value) + str(setup.events)


# cancellation and time


async def test_a_user_and_password_of_the_address_are_sent_with_every_request():
    async with ScriptedServer() as server:
        address = server.base_url.replace("//", "//me:p%40ss@")
        async with Setup(server, base_url=address) as setup:
            await setup.chat()
            await setup.client.count_tokens(ASK)
    assert {path for _, path, _, _ in server.requests} == {"/v1/models", "/v1/chat/completions", "/tokenize"}
    assert {headers["authorization"] for _, _, headers, _ in server.requests} == {"Basic bWU6cEBzcw=="}


async def test_a_password_of_the_address_is_not_quoted():
    async with (
        ScriptedServer(answer_json(400, {"error": "no hush-hush here"})) as server,
        Setup(server, base_url=server.base_url.replace("//", "//me:hush-hush@")) as setup,
    ):
        with pytest.raises(Permanent) as error:
            await setup.chat()
        assert "hush" not in f"{error.value} {setup.events}"


def test_a_key_and_a_user_cannot_both_be_sent():
    with pytest.raises(Misconfigured, match="VLLM_API_KEY is set, and VLLM_BASE_URL has a user name") as error:
        LLMClient("http://me:hush@localhost:8000/v1", api_key="key", rate_limiter=RateLimiter(1, 1))
    assert "hush" not in str(error.value)


async def test_cancelling_while_it_waits_for_an_answer_closes_the_stream_and_frees_the_slot():
    async with ScriptedServer(hang) as server, Setup(server) as setup:
        task = asyncio.create_task(setup.chat())
        await asyncio.sleep(1)
        assert setup.limiter.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert setup.limiter.in_flight == 0
        async with asyncio.timeout(1):
            await server.gone.wait()
    assert setup.limiter.breaker.failures == 0


async def test_cancelling_in_the_middle_of_the_body_closes_the_stream():
    async with ScriptedServer(streamed("a", "b", between=0.1, then=hang, done=False)) as server, Setup(server) as setup:
        task = asyncio.create_task(setup.chat())
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(1):
            await server.gone.wait()
        assert (await setup.chat()).text == "fine"


async def test_cancelling_a_sleeping_retry_ends_it():
    async with ScriptedServer(refusal(500)) as server, Setup(server) as setup:
        task = asyncio.create_task(setup.chat())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(100)
        assert len(server.chats) == 1


async def test_an_attempt_ends_at_its_timeout_body_included():
    drip = streamed(*["x"] * 1000, between=1)
    async with ScriptedServer(drip) as server, Setup(server, timeout_seconds=30, max_retries=0) as setup:
        with pytest.raises(ModelFailed, match="no whole answer within 30 s"):
            await setup.chat()
        assert now() == pytest.approx(30, abs=0.1)
    assert setup.limiter.breaker.failures == 1


async def test_the_tasks_own_time_ends_an_attempt_without_blaming_the_server():
    async with ScriptedServer(hang) as server, Setup(server) as setup:
        with pytest.raises(ModelFailed):
            await setup.chat(deadline=deadline(work=10))
        assert now() == pytest.approx(10)
    assert setup.limiter.breaker.failures == 0


async def test_a_retry_that_does_not_fit_the_tasks_time_fails_now_with_the_last_error():
    async with ScriptedServer(*[refusal(500)] * 9) as server, Setup(server) as setup:
        with pytest.raises(ModelFailed, match="500"):
            await setup.chat(deadline=deadline(work=6))
        assert now() == pytest.approx(3, abs=0.1)
    assert len(server.chats) == 3


async def test_no_request_starts_after_the_deadline():
    async with ScriptedServer() as server, Setup(server, model="m") as setup:
        limit = deadline(work=5)
        await asyncio.sleep(5)
        with pytest.raises(Transient):
            await setup.chat(deadline=limit)
    assert server.chats == []


async def test_who_gets_no_turn_within_the_time_to_be_held_is_held():
    async with ScriptedServer(streamed("a", first=100)) as server, Setup(server, limits=(1, 60_000)) as setup:
        first = asyncio.create_task(setup.chat())
        await asyncio.sleep(1)
        limit = deadline(hold=20)
        with pytest.raises(Held, match="held back by: slot") as held:
            await setup.chat(deadline=limit)
        assert held.value.after_seconds == 60
        assert limit.hold_left == 0
        await first


async def test_a_holder_whose_loop_stalled_hands_its_grant_back_unsent():
    async with ScriptedServer() as server, Setup(server, limits=(2, 20), model="m") as setup:
        await setup.chat()
        stalls = [2.5]

        def stall_behind_the_grant(event):
            if isinstance(event, RateLimitAcquired) and stalls:
                asyncio.get_running_loop().advance(stalls.pop())

        setup.observe = stall_behind_the_grant
        await asyncio.gather(*(setup.chat() for _ in range(3)))
        assert stalls == []
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert min(gaps) >= 3
    assert len(server.chats) == 4


async def test_a_request_whose_connection_opens_too_late_goes_back_unsent_and_is_no_attempt(monkeypatch):
    """Written late it would pile onto the next one: a name that takes a second to look up is enough."""
    loop = asyncio.get_running_loop()
    look_up, slow = loop.getaddrinfo, [1.6]

    async def look_up_slowly(*asked, **how):
        if slow:
            await asyncio.sleep(slow.pop())
        return await look_up(*asked, **how)

    monkeypatch.setattr(loop, "getaddrinfo", look_up_slowly)
    async with ScriptedServer() as server:
        url = f"http://localhost:{server.port}/v1"
        async with Setup(server, base_url=url, limits=(2, 20), model="m") as setup:
            await asyncio.gather(setup.chat(), setup.chat())
        assert slow == []
        assert server.times == pytest.approx([1.6, 4.6], abs=0.05)  # the unsent one cost no pace
        assert [event.attempt for event in setup.told(LlmSuccess)] == [1, 1]
        assert server.connections == 1


async def test_a_cancelled_calls_socket_is_closed_before_its_slot_is_given_back():
    """Otherwise the server would have one more in flight for as long as it takes to be told."""
    async with ScriptedServer(hang) as server, Setup(server, limits=(1, 60_000), model="m") as setup:
        transports = []
        connecting = asyncio.create_task(setup.chat())
        while not server.chats:  # noqa: ASYNC110 - the server says so by a plain list
            await asyncio.sleep(0.01)
        transports = [writer.transport for writer in server._writers]
        give_back, open_then = setup.limiter._give_back, []

        def look(lease, verdict):
            open_then.extend(socket_is_open(transport) for transport in transports)
            give_back(lease, verdict)

        setup.limiter._give_back = look
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert open_then == [False]


def socket_is_open(transport):
    """Whether the client's end of it still is: a closed one lets us read its end at once."""
    with transport.get_extra_info("socket").dup() as theirs:
        try:
            return theirs.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True


# the circuit


async def test_five_failures_open_the_circuit_and_one_probe_closes_it():
    async with ScriptedServer(*[refusal(500)] * 5) as server, Setup(server) as setup:
        assert (await setup.chat()).text == "fine"
        assert [path for _, path, _, _ in server.requests].count("/health") == 1
    assert [type(event) for event in setup.events if "circuit" in event.name] == [
        CircuitOpened,
        CircuitHalfOpen,
        CircuitClosed,
    ]
    assert server.times[5] - server.times[4] == pytest.approx(60, abs=0.1)


async def test_a_failed_probe_spends_no_retry_of_its_call():
    async with ScriptedServer(*[refusal(500)] * 8) as server, Setup(server) as setup:
        await setup.chat(deadline=deadline())
    assert len(server.chats) == 9
    assert len(setup.told(LlmRetry)) == 5


async def test_an_unhealthy_server_is_not_sent_a_probe():
    async with ScriptedServer(*[refusal(500)] * 5, health=answer(503)) as server, Setup(server) as setup:
        task = asyncio.create_task(setup.chat(deadline=deadline()))
        await asyncio.sleep(300)
        assert len(server.chats) == 5
        server.health = answer(200)
        await task


@pytest.mark.parametrize("health", [answer(404), answer(405), answer(401)])
async def test_a_server_without_health_is_sent_its_probe_at_once(health):
    async with ScriptedServer(*[refusal(500)] * 5, health=health) as server, Setup(server) as setup:
        await setup.chat()
    assert len(server.chats) == 6


async def test_a_429_closes_a_half_open_circuit():
    async with ScriptedServer(*[refusal(500)] * 5, refusal(429)) as server, Setup(server, max_retries=9) as setup:
        await setup.chat()
    assert setup.limiter.breaker.state is CircuitState.CLOSED
    assert len(setup.told(CircuitOpened)) == 1


async def test_a_cancelled_probe_passes_on():
    async with ScriptedServer(*[refusal(500)] * 5, hang) as server, Setup(server, max_retries=0) as setup:
        for _ in range(5):
            with pytest.raises(ModelFailed):
                await setup.chat()
        probe = asyncio.create_task(setup.chat())
        await asyncio.sleep(1)
        other = asyncio.create_task(setup.chat())
        await asyncio.sleep(100)
        assert len(server.chats) == 6
        probe.cancel()
        assert (await other).text == "fine"
        assert setup.limiter.breaker.state is CircuitState.CLOSED


async def test_held_by_the_circuit_for_too_long_is_held_and_costs_no_working_time():
    async with ScriptedServer(*[refusal(500)] * 50) as server, Setup(server) as setup:
        limit, trace = deadline(work=50, hold=130), Trace(clock=now)
        with pytest.raises(Held):
            await setup.chat(deadline=limit, trace=trace)
        assert trace.timings()["wait_circuit"] == pytest.approx(130, abs=0.5)
        assert limit.work_left(now=now()) > 0


# what takes a turn


async def test_only_generation_takes_a_turn():
    async with SimulatedVLLM(preset="instant") as server, Setup(server, limits=(1, 1)) as setup:
        await setup.chat()
        began = now()
        assert await setup.client.count_tokens(ASK)
        assert (await setup.client.served_model()).name
        assert now() - began < 1
        assert server.stats.requests == 1


# hints and wrong settings


async def test_retry_after_pauses_everybody():
    script = (refusal(429, headers=[("retry-after", "20")]), OK, OK)
    async with ScriptedServer(*script) as server, Setup(server) as setup:
        first = asyncio.create_task(setup.chat())
        await asyncio.sleep(1)
        trace = Trace(clock=now)
        await setup.chat(trace=trace)
        await first
        assert trace.timings()["server_pause"] == pytest.approx(19, abs=0.1)
    assert setup.told(EndpointPaused) == [EndpointPaused(20.0, "429 with Retry-After")]
    assert [round(time) for time in server.times] == [0, 20, 21]


async def test_a_hint_beyond_the_cap_costs_no_retry():
    async with (
        ScriptedServer(refusal(503, headers=[("retry-after", "100")])) as server,
        Setup(server, max_retries=0) as setup,
    ):
        await setup.chat()
        assert 100 <= now() <= 111


async def test_a_hint_longer_than_the_task_may_be_held_holds_it():
    async with ScriptedServer(refusal(429, headers=[("retry-after", "900")])) as server, Setup(server) as setup:
        with pytest.raises(Held) as held:
            await setup.chat(deadline=deadline())
        assert held.value.after_seconds == 900


@pytest.mark.parametrize(
    ("reply", "setting"),
    [
        (answer_json(401, {"error": "Unauthorized"}), "VLLM_API_KEY"),
        (refusal(403), "VLLM_API_KEY"),
        (refusal(404, "The model `m` does not exist.", kind="NotFoundError"), "VLLM_MODEL"),
        (answer_json(404, {"detail": "Not Found"}), "VLLM_BASE_URL"),
        (answer_json(405, {"detail": "Method Not Allowed"}), "VLLM_BASE_URL"),
        (answer(302, headers=[("location", "https://login.example/")]), "VLLM_BASE_URL"),
        (answer(400, b"<h1>400</h1>The plain HTTP request was sent to HTTPS port"), "VLLM_BASE_URL"),
        (answer(400, b"Client sent an HTTP request to an HTTPS server.\n"), "VLLM_BASE_URL"),
    ],
)
async def test_a_wrong_setting_is_named_and_the_call_waits_without_spending_anything(reply, setting):
    async with ScriptedServer(reply) as server, Setup(server, max_retries=0) as setup:
        assert (await setup.chat()).text == "fine"
    (told,) = setup.told(EndpointMisconfigured)
    assert told.setting == setting
    assert len(server.chats) == 2
    assert server.times[1] - server.times[0] == pytest.approx(30, abs=0.1)
    assert setup.limiter.breaker.failures == 0


async def test_an_https_address_of_a_server_that_speaks_plain_http_is_a_wrong_setting_and_no_outage():
    async def invalid(reader, writer):  # as uvicorn answers a TLS greeting
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\nInvalid HTTP request received.")
        writer.close()

    async with await asyncio.start_server(invalid, "127.0.0.1", 0) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with Setup(None, base_url=address, model="m") as setup:
            with pytest.raises(Held):
                await setup.chat(deadline=deadline(hold=100))
    assert {told.setting for told in setup.told(EndpointMisconfigured)} == {"VLLM_BASE_URL"}
    assert "is it an http:// address?" in setup.told(EndpointMisconfigured)[0].advice
    assert setup.limiter.breaker.failures == 0


async def test_models_is_asked_every_thirty_seconds_until_the_setting_fits():
    refused = answer_json(401, {"error": "Unauthorized"})
    async with ScriptedServer(*[refused] * 9) as server, Setup(server, model="m") as setup:
        server.models = refused
        task = asyncio.create_task(setup.chat(deadline=deadline()))
        await asyncio.sleep(100)
        asked = [path for _, path, _, _ in server.requests]
        assert asked.count("/v1/models") == 3
        assert asked.count("/v1/chat/completions") == 1
        server.models = answer_json(200, {"data": [{"id": "m"}]})
        server.script.clear()
        await task
        assert now() == pytest.approx(120, abs=0.5)


async def test_a_server_that_came_back_with_another_model_is_asked_for_its_name():
    gone = refusal(404, "The model `m` does not exist.", kind="NotFoundError")
    async with ScriptedServer(OK, gone) as server, Setup(server) as setup:
        await setup.chat()
        server.models = answer_json(200, {"data": [{"id": "other", "max_model_len": 99}]})
        await setup.chat()
        assert server.chats[-1]["model"] == "other"
        assert (await setup.client.served_model()).max_model_len == 99


# defaults and other transports


async def test_defaults_are_enough(tmp_path):
    limiter, breaker = RateLimiter(), CircuitBreaker()
    assert (limiter.in_flight, breaker.state) == (0, CircuitState.CLOSED)
    async with ScriptedServer() as server, LLMClient(base_url=server.base_url, run_dir=tmp_path) as client:
        assert (await client.chat(ASK, max_tokens=5)).text == "fine"


async def test_clients_that_were_given_no_limiter_share_the_throttle_of_the_host(tmp_path):
    """Each with a throttle of its own would start both at once, and two more after three seconds."""
    events, starts = [], []

    def observe(event):
        events.append(event)
        if isinstance(event, LlmRequest):
            starts.append(now())

    async with (
        ScriptedServer() as server,
        LLMClient(server.base_url, run_dir=tmp_path, observe=observe) as one,
        LLMClient(server.base_url, run_dir=tmp_path, observe=observe) as other,
    ):
        await asyncio.gather(*(client.chat(ASK, max_tokens=5) for client in (one, other, one, other)))
        assert starts == pytest.approx([3, 6, 9, 12], abs=0.1)  # the first after an interval: nothing was known
        status = await operations.show(server.base_url, tmp_path)
        assert len(status["processes"]) == 2
    assert sum(isinstance(event, ThrottleHosted) for event in events) == 1
    with pytest.raises(Unavailable):
        await operations.show(server.base_url, tmp_path)  # nobody is left


async def test_a_limiter_that_was_given_is_left_to_its_owner(tmp_path):
    async with ScriptedServer() as server, SharedRateLimiter(server.base_url, run_dir=tmp_path) as limiter:
        async with LLMClient(server.base_url, rate_limiter=limiter) as client:
            await client.chat(ASK, max_tokens=5)
        async with limiter.admit():
            assert limiter.in_flight == 1


async def test_any_httpx_transport_will_do():
    def reply(request):
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        return httpx.Response(200, json={"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})

    async with Setup(None, base_url="http://x/v1", transport=httpx.MockTransport(reply)) as setup:
        assert (await setup.chat()).text == "hi"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://x/v1?key=1", "http://[::1/v1"])
def test_an_address_that_cannot_work_is_refused_by_name(url):
    with pytest.raises(Misconfigured, match="VLLM_BASE_URL"):
        LLMClient(url)


def test_a_key_with_a_line_end_is_refused_by_name():
    with pytest.raises(Misconfigured, match="VLLM_API_KEY"):
        LLMClient(api_key="secret\n")
