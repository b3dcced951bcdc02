"""A model server of a few lines that does exactly what a test tells it to, on a real socket.

Each chat request takes the next reply of the script; with none left it answers well. A reply is a coroutine function
of (reader, writer); those that a test needs are made by the functions below.
"""

import asyncio
import json
import socket
import struct


class ScriptedServer:
    def __init__(self, *script, model="m", models=None, health=None, tokenize=None):
        self.script = list(script)
        self.requests = []  # (method, path, headers, body) of everything
        self.chats = []  # bodies of chat requests
        self.times = []  # loop time of each chat request
        self.in_flight = 0
        self.most_in_flight = 0
        self.connections = 0
        self.gone = asyncio.Event()  # a client has left while its reply was hanging
        self.models = models or answer_json(200, {"data": [{"id": model, "max_model_len": 4096}]})
        self.health = health or answer(200)
        self.tokenize = tokenize or answer_json(200, {"count": 7})
        self._writers = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        """Refuse connections from now on, and close those there are."""
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.sleep(0)
        await self._server.wait_closed()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((method, path, headers, body))
        if path != "/v1/chat/completions":
            reply = {"/v1/models": self.models, "/health": self.health, "/tokenize": self.tokenize}.get(
                path, answer(404)
            )
            await reply(self, reader, writer)
            return
        self.chats.append(json.loads(body))
        self.times.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = self.script.pop(0) if self.script else streamed("fine")
            await reply(self, reader, writer)
        finally:
            self.in_flight -= 1


def events(*texts, finish="stop", usage=True, done=True, model="m"):
    """The lines of a streamed completion, one event per text."""
    chunks = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}]
    chunks += [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    if finish:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if usage:
        counted = {"prompt_tokens": 5, "completion_tokens": len(texts), "prompt_tokens_details": {"cached_tokens": 2}}
        chunks.append({"choices": [], "usage": counted})
    lines = [b"data: " + json.dumps(chunk | {"model": model}).encode() + b"\n\n" for chunk in chunks]
    return [*lines, b"data: [DONE]\n\n"] if done else lines


def head(status, *, headers=(), length=None, content_type="application/json"):
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", *(f"{name}: {value}" for name, value in headers)]
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(status, body=b"", *, headers=(), after=0.0, content_type="text/html"):
    async def reply(server, reader, writer):
        await asyncio.sleep(after)
        writer.write(head(status, headers=headers, length=len(body), content_type=content_type) + body)
        await writer.drain()

    return reply


def answer_json(status, body, *, headers=(), after=0.0):
    return answer(status, json.dumps(body).encode(), headers=headers, after=after, content_type="application/json")


def refusal(status, message="no", *, kind="BadRequestError", headers=()):
    error = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return answer_json(status, error, headers=headers)


def streamed(*texts, first=0.0, between=0.0, end=True, then=None, **shape):
    """Head at once, first event after `first` seconds, the others `between` apart; `then` instead of the body's end."""

    async def reply(server, reader, writer):
        writer.write(head(200, content_type="text/event-stream"))
        await asyncio.sleep(first)
        for event in events(*texts, **shape):
            writer.write(chunk(event))
            await writer.drain()
            await asyncio.sleep(between)
        if then is not None:
            await then(server, reader, writer)
        elif end:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    return reply


def raw(data, *, then=None):
    """Exactly these bytes, then the connection is closed, or `then`."""

    async def reply(server, reader, writer):
        writer.write(data)
        await writer.drain()
        if then is None:
            writer.close()
        else:
            await then(server, reader, writer)

    return reply


async def hang(server, reader, writer):
    """Not a byte more, until the client goes."""
    while await reader.read(1024):
        pass
    server.gone.set()
    writer.close()


async def close(server, reader, writer):
    writer.close()


async def reset(server, reader, writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
