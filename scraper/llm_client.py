"""The model server's client: every request takes its turn, and what goes wrong is tried again as far as it makes sense.

    async with LLMClient("http://localhost:8000/v1") as client:
        reply = await client.chat([{"role": "user", "content": "…"}], max_tokens=512)

One call is one `chat`; an attempt is one request of it, with a permit of its own. What the end of an attempt means is
the table in `throttle/verdict.py`. This is the only retry layer: HTTP retries are off, a sleeping retry holds nothing
and keeps its call's place in line.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import random as random_draw
from types import MappingProxyType, TracebackType
from typing import NoReturn, Self

import httpx
from pydantic_core import to_json

from scraper import __version__
from scraper.deadline import Deadline, no_deadline
from scraper.errors import Held, Misconfigured, ModelFailed, Permanent, Transient
from scraper.events import LlmFailed, LlmRequest, LlmRetry, LlmSuccess, Observe, log_trouble
from scraper.host import default_run_dir
from scraper.llm_attempt import Attempt, Limits, attempt
from scraper.llm_runaway import AnswerWatch
from scraper.llm_served_model import ServedModelMemory
from scraper.llm_server import Away, Message, ModelServer, ServedModel, checked
from scraper.llm_stream import Reply, most_bytes
from scraper.models import Json, ParkReason
from scraper.throttle.backoff import Backoff, hinted_delay
from scraper.throttle.blocked_time import Waited
from scraper.throttle.circuit_breaker import CircuitBreaker
from scraper.throttle.rate_limiter import RateLimiter
from scraper.throttle.seam import HELD_AFTER_SECONDS, NotAdmitted, Permit, Throttle
from scraper.throttle.shared_limiter import SharedRateLimiter
from scraper.throttle.verdict import UNSENT, Again, Effect, Ending, Misconfiguration, Verdict
from scraper.trace import Trace

__all__ = ["CircuitBreaker", "LLMClient", "RateLimiter", "Reply", "ServedModel", "SharedRateLimiter"]

CONNECT_SECONDS = 10.0
MAX_DEPTH = 64
"""Levels of JSON that an answer may have where its caller knows no better: more than any grammar or validator takes."""


@dataclass(slots=True)
class _Call:
    """One `chat` under way."""

    content: dict[str, Json]  # the request's JSON
    max_depth: int
    deadline: Deadline
    trace: Trace
    first_attempt: float | None = None  # loop time
    place: int | None = None
    attempts: int = 0
    retries: int = 0
    last_error: str = ""

    def prompt(self) -> str:
        return "\n".join(_texts(self.content["messages"]))


class LLMClient:
    """Chat completions from one OpenAI-compatible server, throttled. One per process and endpoint.

    Without a `rate_limiter` it takes part in the throttle that all processes of this user and host share for the
    endpoint (those with the same `run_dir`), and brings its defaults: 2 in flight, 20 a minute. Give it a
    `SharedRateLimiter` for other limits, or a `RateLimiter` for this process alone; either is the caller's to close.
    `max_retries` counts the attempts of a call after its first. `random` draws from [0, 1). What it waits for, a server
    that is away or refuses the key, `observe` is told; by default `logging` says it.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8000/v1",
        *,
        api_key: str = "",
        model: str = "",
        timeout_seconds: float = 120.0,
        max_retries: int = 5,
        base_backoff_seconds: float = 1.0,
        max_backoff_seconds: float = 60.0,
        temperature: float = 0.0,
        rate_limiter: Throttle | None = None,
        run_dir: Path | None = None,
        observe: Observe = log_trouble,
        transport: httpx.AsyncBaseTransport | None = None,
        random: Callable[[], float] = random_draw,
    ) -> None:
        address = checked(base_url)
        self._secret = api_key or address.password
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._backoff = Backoff(base_backoff_seconds, max_backoff_seconds)
        self._temperature = temperature
        self._observe = observe
        self._draw = random
        self._leaving = AsyncExitStack()
        if rate_limiter is None:
            rate_limiter = SharedRateLimiter(base_url, run_dir=run_dir or default_run_dir(), observe=observe)
            self._leaving.push_async_callback(rate_limiter.aclose)
        self._throttle: Throttle = rate_limiter
        self._headers = _headers(api_key, address)
        self._transport = transport or _default_transport(base_url)
        self._http = httpx.AsyncClient(  # for the small questions; it also closes the transport
            transport=self._transport,
            headers=self._headers,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            trust_env=False,
            follow_redirects=False,
        )
        self._leaving.push_async_callback(self._http.aclose)
        self._extensions = {"timeout": self._http.timeout.as_dict()}
        self._server = ModelServer(self._http, base_url, secret=self._secret, model=model)
        self._chat_headers = httpx.Headers({"host": self._server.chat_url.netloc.decode()} | self._headers).raw
        self._served = ServedModelMemory(self._server, observe=observe, found_wrong=self._throttle.found_wrong)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leaving.aclose()

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        response_format: Mapping[str, Json] | None = None,
        sampling: Mapping[str, Json] = MappingProxyType({}),
        max_depth: int = MAX_DEPTH,
        deadline: Deadline | None = None,
        trace: Trace | None = None,
    ) -> Reply:
        """The model's answer; `finish_reason` "length" is returned like any other.

        `sampling` goes into the request beside the temperature, or instead of it. An answer that has stopped making
        sense, by going deeper than `max_depth` levels of JSON among others, is not read on: see `Reply.stopped`.

        Raises Permanent (the server refuses this request for what it is), ModelFailed (retries spent), Held (no turn
        within the time that `deadline` allows for waiting). Time is booked in `trace` and `deadline`.
        """
        deadline = deadline or no_deadline(now=_now())
        trace = trace or Trace(clock=_now)
        content: dict[str, Json] = {
            "model": self._model or (await self.served_model(deadline=deadline, trace=trace)).name,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": self._temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling,
        }
        if response_format is not None:
            content["response_format"] = response_format
        return await self._execute_with_backoff(_Call(content, max_depth, deadline, trace))

    async def served_model(self, *, deadline: Deadline | None = None, trace: Trace | None = None) -> ServedModel:
        """What the server serves; remembered. While it is away: held as long as `deadline` allows, then Held."""
        return await self._served.wait_for(deadline, trace)

    async def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """Tokens of the prompt with its chat template; None where the server cannot say."""
        model = await self.model_name()
        return None if model is None else await self._server.count_tokens(messages, model=model)

    async def model_name(self) -> str | None:
        """Who answers; None where only the server knows and cannot say now. Holds nobody."""
        if self._model:
            return self._model
        served = self._served.known or await self._served.ask()
        return served.name if isinstance(served, ServedModel) else None

    # --- the retry layer ------------------------------------------------------------------------------------------

    async def _execute_with_backoff(self, call: _Call) -> Reply:
        while True:
            ended, again = await self._attempt_in_turn(call)
            if ended.reply is not None:
                return ended.reply
            call.last_error = ended.error or call.last_error
            if again is Again.RETRY:
                await self._back_off(call, hint=ended.verdict.pause_seconds)
            elif again is Again.NEVER:
                self._give_up(call, ended.verdict.ending)
            # else it waits: back into the line, at its old place

    async def _attempt_in_turn(self, call: _Call) -> tuple[Attempt, Again]:
        """One permit, and what came of it."""
        work_left = call.deadline.work_left(now=_now())
        if work_left <= 0:
            self._out_of_time(call)
        request = self._request(call)  # before the turn: from its grant to its first byte nothing takes time
        call.trace.enter("wait_slot")
        admit = self._throttle.admit(
            place=call.place,
            hold_seconds=call.deadline.hold_left,
            work_seconds=work_left,
            attempt_seconds=self._timeout_seconds,
        )
        try:
            async with admit as permit:
                call.place = permit.place
                _book(call, permit.waited)
                ended = await self._questions_first(call, permit) or await self._send(call, permit, request)
                permit.report(ended.verdict)
        except NotAdmitted as error:
            _book(call, error.waited)
            if error.out_of == "work" and call.attempts:
                self._fail(call)
            raise
        ending = ended.verdict.ending
        failed_probe = permit.probe and ending.effect is Effect.FAILURE  # it was sent for everybody: costs no retry
        return ended, Again.WAIT if failed_probe else ending.again

    async def _questions_first(self, call: _Call, permit: Permit) -> Attempt | None:
        """What a probe or checker has to ask before it may send; None: go ahead."""
        if not (permit.probe or permit.check):
            return None
        began = _now()
        call.trace.enter("server_pause" if permit.check else "wait_circuit")
        objection = await self._objection(call, permit)
        call.deadline.waited(_now() - began, held_seconds=_now() - began)
        return objection

    async def _objection(self, call: _Call, permit: Permit) -> Attempt | None:
        if permit.check:
            served = await self._served.ask()
            if isinstance(served, Misconfiguration):
                return Attempt(Verdict(Ending.UNSENT, misconfiguration=served), error=served.advice)
            if isinstance(served, Away):
                return Attempt(Verdict(Ending.UNHEALTHY), error=served.error)
            call.content["model"] = self._model or served.name
        if permit.probe and not await self._server.healthy():
            return Attempt(Verdict(Ending.UNHEALTHY), error="the model server is not well (GET /health)")
        return None

    async def _send(self, call: _Call, permit: Permit, request: httpx.Request) -> Attempt:
        work_left = call.deadline.work_left(now=_now())
        if work_left <= 0:
            return Attempt(UNSENT)
        if permit.probe or permit.check:
            request = self._request(call)  # the server may have another model by now
            permit.start()
            write_by = None
        elif permit.too_late():
            return Attempt(UNSENT)
        else:
            write_by = permit.write_by
        call.attempts += 1
        call.first_attempt = _now() if call.first_attempt is None else call.first_attempt
        self._observe(LlmRequest(call.attempts, call.content["max_tokens"], _prompt_chars(call)))
        call.trace.enter("first_token")
        ended = await attempt(
            self._transport,
            request,
            limits=Limits(
                min(self._timeout_seconds, work_left),
                deadline_first=work_left < self._timeout_seconds,
                body_bytes=most_bytes(call.content["max_tokens"]),
                write_by=write_by,
            ),
            watch=AnswerWatch(max_tokens=call.content["max_tokens"], max_depth=call.max_depth),
            on_first_token=lambda: call.trace.enter("generate"),
            prompt=call.prompt,
            secret=self._secret,
            model=call.content["model"],
        )
        if not ended.verdict.ending.was_sent:
            call.attempts -= 1  # connecting took too long: nothing has left
        self._learn(call, ended)
        return ended

    def _learn(self, call: _Call, ended: Attempt) -> None:
        verdict, reply = ended.verdict, ended.reply
        if reply is None:
            if verdict.ending is Ending.MISCONFIGURED or verdict.ending.effect is Effect.FAILURE:
                self._served.doubt()
            return
        self._observe(
            LlmSuccess(
                attempt=call.attempts,
                seconds=round(verdict.total_seconds, 4),
                first_token_s=round(verdict.first_token_seconds, 4),
                prompt_tokens=reply.usage.prompt_tokens,
                completion_tokens=reply.usage.completion_tokens,
                cached_tokens=reply.usage.cached_tokens,
                finish_reason=f"stopped: {reply.stopped}" if reply.stopped else reply.finish_reason or "",
            )
        )

    async def _back_off(self, call: _Call, *, hint: float) -> None:
        """Sleep before the next attempt, or raise where it cannot help any more. Holds nothing meanwhile.

        `hint`: seconds of rest the server asked for. They are held time, and count against what may be held.
        """
        if hint <= self._backoff.cap_seconds:  # being told to stay away for longer is no retry of ours
            if call.retries >= self._max_retries:
                self._fail(call)
            call.retries += 1
        delay = self._backoff.delay(max(1, call.retries), draw=self._draw())
        held = hinted_delay(hint, draw=self._draw())
        if held > call.deadline.hold_left:
            raise Held(f"the model server asks for {hint:.0f} s of rest", after_seconds=max(hint, HELD_AFTER_SECONDS))
        pause = max(delay, held)
        if pause - held >= call.deadline.work_left(now=_now()):
            self._fail(call)
        self._observe(LlmRetry(call.attempts, call.last_error, round(pause, 3)))
        call.trace.enter("backoff")
        await asyncio.sleep(pause)
        if held:
            call.deadline.waited(held, held_seconds=held)
            call.trace.shift(held, to="server_pause")

    def _out_of_time(self, call: _Call) -> NoReturn:
        if call.attempts:
            self._fail(call)
        raise Transient("the task's working time was over before the model could be asked")

    def _give_up(self, call: _Call, ending: Ending) -> NoReturn:
        if ending is not Ending.REFUSED:
            self._fail(call)
        self._observe(LlmFailed(call.attempts, call.last_error, outage=False))
        raise Permanent(ParkReason.MODEL_REFUSED, f"the model server refuses the request: {call.last_error}")

    def _fail(self, call: _Call) -> NoReturn:
        outage = call.first_attempt is not None and not self._throttle.succeeded_since(call.first_attempt)
        self._observe(LlmFailed(call.attempts, call.last_error, outage))
        raise ModelFailed(f"{call.last_error} ({call.attempts} attempts)", outage=outage)

    # --- the request ----------------------------------------------------------------------------------------------

    def _request(self, call: _Call) -> httpx.Request:
        """Told as a stream, with all headers it goes out with: httpx's own way to them takes four times as long."""
        body = _body(call.content)
        return httpx.Request(
            "POST",
            self._server.chat_url,
            headers=[*self._chat_headers, (b"content-length", b"%d" % len(body))],
            stream=httpx.ByteStream(body),
            extensions=self._extensions,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _body(content: dict[str, Json]) -> bytes:
    try:
        return to_json(content)  # half of what json.dumps takes
    except ValueError:  # half of a surrogate pair, from a broken page, is no UTF-8
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _book(call: _Call, waited: Waited) -> None:
    """A wait in line, to its reasons. All of it lies in the phase `wait_slot` so far."""
    if not waited.total:
        return
    call.deadline.waited(waited.total, held_seconds=waited.held)
    if waited.rate:
        call.trace.shift(waited.rate, to="wait_rate")
    if waited.circuit:
        call.trace.shift(waited.circuit, to="wait_circuit")
    if waited.server_pause:
        call.trace.shift(waited.server_pause, to="server_pause")


def _headers(api_key: str, address: httpx.URL) -> dict[str, str]:
    headers = {
        "accept": "text/event-stream, application/json",
        "accept-encoding": "identity",  # decoding would cost more than loopback or LAN bytes do
        "content-type": "application/json",
        "user-agent": f"scraper/{__version__}",
    }
    if not api_key:
        return headers | ({"authorization": _basic(address)} if address.userinfo else {})
    if address.userinfo:
        raise Misconfigured("VLLM_API_KEY is set, and VLLM_BASE_URL has a user name: only one of them can be sent")
    if not (api_key.isascii() and api_key.isprintable()):
        raise Misconfigured("VLLM_API_KEY has characters that cannot be sent in a header: check for stray line ends")
    return headers | {"authorization": f"Bearer {api_key}"}


def _basic(address: httpx.URL) -> str:
    return f"Basic {b64encode(f'{address.username}:{address.password}'.encode()).decode()}"


def _default_transport(base_url: str) -> httpx.AsyncBaseTransport:
    # Imported where it is used: a client with a transport of its own pays nothing for another.
    from scraper.llm_transport import ModelServerTransport  # noqa: PLC0415 - see above

    return ModelServerTransport(https=base_url.lower().startswith("https"))


def _prompt_chars(call: _Call) -> int:
    return sum(len(text) for text in _texts(call.content["messages"]))


def _texts(messages: Sequence[Message]) -> list[str]:
    return [content for message in messages if isinstance(content := message.get("content"), str)]
