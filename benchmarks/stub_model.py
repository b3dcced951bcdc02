#!/usr/bin/env python3
"""A model server that costs nothing: every chat gets the same right answer at once.

Raw asyncio, so that it is never what a worker waits for. It speaks what the workers use of vLLM's API: chat
completions, streamed (one write per chunk, as vLLM's server does) and whole, the list of models, and the tokenizer.
`GET /stats` says how much it was asked and what that cost.

Example: python benchmarks/stub_model.py --port 8000 --chunks 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run by path: its own folder is what Python puts there

from benchmarks.pages import PRODUCT  # noqa: E402 needs the line above

MODEL = "stub"
CONTEXT_TOKENS = 32_768
CHARS_PER_TOKEN = 4
_USAGE = {"prompt_tokens": 1500, "completion_tokens": 60, "total_tokens": 1560, "prompt_tokens_details": None}
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: stub\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Answers:
    """Every answer, rendered once."""

    def __init__(self, *, chunks: int, pace_seconds: float) -> None:
        text = json.dumps(PRODUCT)
        step = -(-len(text) // chunks)
        pieces = [text[start : start + step] for start in range(0, len(text), step)]
        self.pace_seconds = pace_seconds
        self.whole = _response(_json(_completion(text)))
        self.models = _response(_json({"object": "list", "data": [_model()]}))
        self.missing = _response(_json({"detail": "Not Found"}), status="404 Not Found")
        self.stream = [
            _STREAM_HEAD,
            _event(_chunk({"role": "assistant", "content": ""})),
            *(_event(_chunk({"content": piece})) for piece in pieces),
            _event(_chunk({"content": ""}, finish_reason="stop")),
            _event({**_chunk({}), "choices": [], "usage": _USAGE}),
            _http_chunk(b"data: [DONE]\n\n"),
            b"0\r\n\r\n",
        ]


class Counts:
    def __init__(self) -> None:
        self.whole = self.streamed = self.other = 0

    def render(self) -> bytes:
        counts = {"whole": self.whole, "streamed": self.streamed, "other": self.other}
        return _response(_json({**counts, "cpu_seconds": time.process_time()}))


class Connection(asyncio.Protocol):
    """One keep-alive connection; the next request is looked at when the last one is answered."""

    def __init__(self, answers: Answers, counts: Counts) -> None:
        self._answers = answers
        self._counts = counts
        self._received = bytearray()
        self._needed = 0  # bytes of the request at hand, once its head is known
        self._body_at = 0
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._answer_next()

    def _answer_next(self) -> None:
        while not self._answering and (request := self._next()):
            self._answer(request, request[self._body_at :])

    def _next(self) -> bytes:
        """The next request, once it is complete."""
        if not self._needed:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return b""
            self._body_at = end + 4
            self._needed = self._body_at + _content_length(bytes(self._received[:end]))
        if len(self._received) < self._needed:
            return b""
        request = bytes(self._received[: self._needed])
        del self._received[: self._needed]
        self._needed = 0
        return request

    def _answer(self, request: bytes, body: bytes) -> None:
        path = request[: request.find(b"\r\n")].split(b" ")[1]
        if path.endswith(b"/chat/completions"):
            # a quote inside a JSON string is always escaped: this cannot be something that a page says
            if b'"stream":true' in body or b'"stream": true' in body:
                self._counts.streamed += 1
                self._answering = True
                self._write_from(0)
            else:
                self._counts.whole += 1
                self._transport.write(self._answers.whole)
            return
        if path == b"/stats":
            self._transport.write(self._counts.render())
            return
        self._counts.other += 1
        if path.endswith(b"/models"):
            self._transport.write(self._answers.models)
        elif path.endswith(b"/tokenize"):
            count = len(body) // CHARS_PER_TOKEN
            self._transport.write(_response(_json({"count": count, "max_model_len": CONTEXT_TOKENS, "tokens": []})))
        else:
            self._transport.write(self._answers.missing)

    def _write_from(self, index: int) -> None:
        """Write one part and leave the rest for the next round of the loop, so that streams take turns."""
        if self._transport.is_closing():
            return
        parts = self._answers.stream
        self._transport.write(parts[index])
        if index + 1 == len(parts):
            self._answering = False
            self._answer_next()
            return
        loop = asyncio.get_running_loop()
        if self._answers.pace_seconds:
            loop.call_later(self._answers.pace_seconds, self._write_from, index + 1)
        else:
            loop.call_soon(self._write_from, index + 1)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text, "reasoning": None, "tool_calls": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    return {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": MODEL, "choices": [choice]} | {
        "usage": _USAGE
    }


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason, "token_ids": None}
    head = {"id": "chatcmpl-0123456789abcdef0123456789abcdef", "object": "chat.completion.chunk", "created": 1760000000}
    return {**head, "model": MODEL, "choices": [choice]}


def _model() -> dict[str, object]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": "vllm", "max_model_len": CONTEXT_TOKENS}


def _event(value: object) -> bytes:
    return _http_chunk(b"data: " + _json(value) + b"\n\n")


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _response(body: bytes, *, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nserver: stub\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def serve(*, port: int, chunks: int, pace_seconds: float) -> None:
    """Until SIGTERM; the first line on stdout is the address."""
    answers, counts = Answers(chunks=chunks, pace_seconds=pace_seconds), Counts()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(answers, counts), "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free (default)")
    parser.add_argument("--chunks", type=int, default=60, help="pieces of a streamed answer (default: 60)")
    parser.add_argument("--pace-ms", type=float, default=0.0, help="time between two pieces (default: 0)")
    options = parser.parse_args(arguments)
    asyncio.run(serve(port=options.port, chunks=options.chunks, pace_seconds=options.pace_ms / 1000))


if __name__ == "__main__":
    main()
