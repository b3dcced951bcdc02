#!/usr/bin/env python3
"""The floor: the least that plain libraries can do the work with.

aio-pika, httpx and selectolax as their own documentation uses them: no throttle, no validation, no store, no retry,
no log. One byte on stdout for each task, so that one can count.

One accident is taken out: httpcore looks for the package `sniffio` several times a request, and where it is not
installed (anyio no longer brings it) these searches cost 0.3 ms a task. A floor should not be high for that.

Example: python benchmarks/floor_worker.py amqp://localhost/ QUEUE http://localhost:8000/v1
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress

sys.modules["sniffio"] = None  # type: ignore[assignment]  # «not there», said once: see above

import aio_pika  # noqa: E402 needs the line above
import httpx  # noqa: E402
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage  # noqa: E402
from selectolax.lexbor import LexborHTMLParser  # noqa: E402

CONSUMERS, PREFETCH = 3, 1  # as many as a worker of ours has by default
UNSEEN = ["script", "style", "template", "svg"]


async def main(broker_url: str, queue: str, model_url: str) -> None:
    async with await aio_pika.connect_robust(broker_url) as connection, httpx.AsyncClient(timeout=60) as client:
        consuming = asyncio.gather(*(_consume(connection, queue, client, model_url) for _ in range(CONSUMERS)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consuming.cancel)
        with suppress(asyncio.CancelledError):
            await consuming


async def _consume(connection: AbstractConnection, queue: str, client: httpx.AsyncClient, model_url: str) -> None:
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    async with (await channel.get_queue(queue)).iterator() as messages:
        async for message in messages:
            await _handle(message, client, model_url)


async def _handle(message: AbstractIncomingMessage, client: httpx.AsyncClient, model_url: str) -> None:
    task = json.loads(message.body)
    response = await client.post(f"{model_url}/chat/completions", json=_request(task))
    response.raise_for_status()
    json.loads(response.json()["choices"][0]["message"]["content"])
    await message.ack()
    os.write(1, b".")


def _request(task: dict[str, object]) -> dict[str, object]:
    schema = task["schema"]
    system = f"Extract data from the web page as JSON that fits this schema:\n{json.dumps(schema)}"
    return {
        "model": "stub",
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": _visible_text(str(task["html"]))},
        ],
        "temperature": 0,
        "max_tokens": 1024,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }


def _visible_text(html: str) -> str:
    tree = LexborHTMLParser(html)
    tree.strip_tags(UNSEEN)
    return tree.body.text(separator="\n", strip=True) if tree.body else ""


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
