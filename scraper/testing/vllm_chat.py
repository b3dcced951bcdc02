"""One chat request at the simulated server: admission, generation, the answer on the wire, and how it is spoiled."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from scraper.testing.http_server import Exchange
from scraper.testing.vllm_answers import answer, broken_answer, plain_answer
from scraper.testing.vllm_faults import CHANGES_ANSWER, Fault
from scraper.testing.vllm_grammar import GrammarError
from scraper.testing.vllm_host import EngineHost, Generation
from scraper.testing.vllm_obedience import obeyed
from scraper.testing.vllm_page import page_in
from scraper.testing.vllm_protocol import (
    DONE,
    STATUS_FAULTS,
    ApiError,
    ChatRequest,
    chunk,
    completion,
    context_error,
    dump,
    event,
    known_error,
    usage,
)
from scraper.testing.vllm_tokens import chat_prompt, tokenize

_PROXY_PAGE = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"
_SLOW_HEADERS_SECONDS = 5.0
_ids = itertools.count(1)


async def answer_chat(
    exchange: Exchange,
    request: ChatRequest,
    *,
    host: EngineHost,
    model: str,
    max_model_len: int,
    fault: Fault | None,
    admit: Callable[[int], None],
) -> None:
    """Generate and send. `admit` gets the prompt's tokens and raises ApiError where the queue is full."""
    if fault is not None and fault.kind == "slow_headers":
        await host.sleep(_SLOW_HEADERS_SECONDS if fault.seconds is None else fault.seconds)
    prompt = tokenize(chat_prompt(request.messages))
    if len(prompt) >= max_model_len:
        raise context_error(max_model_len, len(prompt))
    admit(len(prompt))
    room = max_model_len - len(prompt)
    most = min(request.max_tokens or room, room)
    text = _text(request)
    if fault is not None and fault.kind in CHANGES_ANSWER:
        text = broken_answer(text, fault.kind, max_tokens=most)
    if fault is not None and fault.kind == "obey":
        page = page_in(request.user_messages).text
        text = obeyed(text, schema=request.schema, page=page, system=request.system_message)
    head = {"id": f"chatcmpl-simulated-{next(_ids)}", "created": int(time.time()), "model": model}
    generation = host.start(prompt, tokenize(text) or [""], most=most)
    try:
        if request.stream:
            await _Stream(exchange, request, generation, head=head, fault=fault).send()
        else:
            await _send_whole(exchange, generation, head=head, fault=fault)
    finally:
        if not generation.done and not generation.failed:
            host.abort(generation)


async def spoil(exchange: Exchange, fault: Fault, *, host: EngineHost) -> bool:
    """Act out a fault that needs no generation. False: the fault is of another kind, go on."""
    match fault.kind:
        case "hang":
            if fault.seconds is None:
                await asyncio.Event().wait()
            await host.sleep(fault.seconds or 0.0)
            return False
        case "reset":
            exchange.reset()
        case "html":
            await exchange.respond(200, _PROXY_PAGE, content_type="text/html; charset=utf-8")
        case "broken_json":
            await exchange.respond(200, b'{"id": "chatcmpl-simulated", "object": "chat.completion", "choices": [{"ind')
        case kind if kind in STATUS_FAULTS:
            headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
            error = known_error(kind)
            await exchange.respond(error.status, dump(error.body()), headers=headers)
        case _:
            return False
    return True


def _text(request: ChatRequest) -> str:
    page = page_in(request.user_messages)
    if request.json_object:
        return json.dumps({"title": page.title, "text": plain_answer(page)}, ensure_ascii=False)
    if request.schema is None:
        return plain_answer(page)
    try:
        return answer(request.schema, page)
    except (GrammarError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # keywords whose values make no sense ("minItems": "many"): the compiler's error on the real server
        raise ApiError(400, f"Grammar error: {error}") from error


async def _finished(generation: Generation) -> None:
    while not generation.done and not generation.failed:
        generation.progress.clear()
        await generation.progress.wait()
    if generation.failed:
        raise known_error("dead")


def _usage(generation: Generation) -> dict[str, Any]:
    job = generation.job
    return usage(job.prompt_tokens, job.generated, job.cached_tokens)


async def _send_whole(exchange: Exchange, generation: Generation, *, head: dict[str, Any], fault: Fault | None) -> None:
    await _finished(generation)
    kind = "" if fault is None else fault.kind
    if kind == "stream_error":
        raise known_error("dead")
    body = dump(
        completion(head, text=generation.text(), finish_reason=generation.finish_reason, tokens=_usage(generation))
    )
    if kind not in {"cut", "reset_body"}:
        await exchange.respond(200, body)
        return
    await exchange.start(200, content_type="application/json", headers={"content-length": str(len(body))})
    await exchange.write(body[: len(body) // 2])
    await _spoil_body(exchange, kind)


async def _spoil_body(exchange: Exchange, kind: str) -> None:
    if kind == "cut":
        exchange.cut()
        return
    await asyncio.sleep(0)  # let the first half reach the socket: a reset drops what is still queued
    exchange.reset()


class _Stream:
    """Server-sent events: tokens as they come, the end, usage where asked for, [DONE]."""

    def __init__(
        self,
        exchange: Exchange,
        request: ChatRequest,
        generation: Generation,
        *,
        head: dict[str, Any],
        fault: Fault | None,
    ) -> None:
        self._exchange = exchange
        self._generation = generation
        self._include_usage = request.include_usage
        self._head = head
        self._fault = "" if fault is None else fault.kind
        self._sent = 0

    async def send(self) -> None:
        spoiled = self._fault in {"cut", "reset_body", "stream_error"}
        stop_at = max(1, self._generation.job.output_tokens // 2) if spoiled else None
        await self._exchange.start(200, content_type="text/event-stream; charset=utf-8")
        await self._exchange.write(chunk(self._head, delta={"role": "assistant", "content": ""}))
        while not self._generation.done and not self._generation.failed:
            self._generation.progress.clear()
            await self._generation.progress.wait()
            if stop_at is not None and self._generation.job.generated >= stop_at:
                break
            if not self._generation.done:
                await self._exchange.write(self._news())
        if self._generation.failed or self._fault == "stream_error":
            await self._exchange.finish(event(known_error("dead").body()) + DONE)
        elif spoiled:
            await self._exchange.write(self._news(upto=stop_at))
            await _spoil_body(self._exchange, self._fault)
        else:
            await self._exchange.finish(self._news() + self._end())

    def _news(self, *, upto: int | None = None) -> bytes:
        generated = self._generation.job.generated if upto is None else upto
        text = "".join(self._generation.tokens[self._sent : generated])
        self._sent = generated
        return chunk(self._head, delta={"content": text}) if text else b""

    def _end(self) -> bytes:
        last = chunk(self._head, delta={"content": ""}, finish_reason=self._generation.finish_reason)
        if self._include_usage:
            last += chunk(self._head, delta=None, usage=_usage(self._generation))
        return last + DONE
