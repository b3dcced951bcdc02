#!/usr/bin/env python3
"""The floor: the least that plain libraries can do the work with.

aio-pika and httpx as their own documentation uses them: no throttle, no validation, no store, no retry, no log. Pages
are parsed as the service parses them, with what they say for machines, so that both sides send the same text; with
`--bare` selectolax takes their text as it stands. One byte on stdout for each task, so that one can count.

One accident is taken out: httpcore looks for the package `sniffio` several times a request, and where it is not
installed (anyio no longer brings it) these searches cost 0.3 ms a task. A floor should not be high for that.

Example: python benchmarks/floor_worker.py amqp://localhost/ QUEUE http://localhost:8000/v1 [--bare]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

sys.modules["sniffio"] = None  # type: ignore[assignment]  # «not there», said once: see above
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run by path: its own folder is what Python puts there

import aio_pika  # noqa: E402 needs the line above
import httpx  # noqa: E402
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage  # noqa: E402
from selectolax.lexbor import LexborHTMLParser  # noqa: E402

Parse: TypeAlias = Callable[[str], str]

CONSUMERS, PREFETCH = 3, 1  # as many as a worker of ours has by default
UNSEEN = ["script", "style", "template", "svg"]


async def main(broker_url: str, queue: str, model_url: str, parse: Parse) -> None:
    async with await aio_pika.connect_robust(broker_url) as connection, httpx.AsyncClient(timeout=60) as client:
        asking = Asking(client, model_url, parse)
        consuming = asyncio.gather(*(_consume(connection, queue, asking) for _ in range(CONSUMERS)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consuming.cancel)
        with suppress(asyncio.CancelledError):
            await consuming


async def _consume(connection: AbstractConnection, queue: str, asking: Asking) -> None:
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    async with (await channel.get_queue(queue)).iterator() as messages:
        async for message in messages:
            await asking.handle(message)


@dataclass(frozen=True, slots=True)
class Asking:
    """What becomes of a message."""

    client: httpx.AsyncClient
    model_url: str
    parse: Parse

    async def handle(self, message: AbstractIncomingMessage) -> None:
        task = json.loads(message.body)
        request = _request(self.parse(task["html"]), task["schema"])
        response = await self.client.post(f"{self.model_url}/chat/completions", json=request)
        response.raise_for_status()
        json.loads(response.json()["choices"][0]["message"]["content"])
        await message.ack()
        os.write(1, b".")


def _request(text: str, schema: dict[str, object]) -> dict[str, object]:
    system = f"Extract data from the web page as JSON that fits this schema:\n{json.dumps(schema)}"
    return {
        "model": "stub",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 1024,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
    }


def bare(html: str) -> str:
    """The text as it stands: hidden or not, tables in pieces, without what the page says for machines."""
    tree = LexborHTMLParser(html)
    tree.strip_tags(UNSEEN)
    return tree.body.text(separator="\n", strip=True) if tree.body else ""


def the_same() -> Parse:
    """As a worker of the service does it for these tasks."""
    from benchmarks.pages import SCHEMA  # noqa: PLC0415 a bare floor starts without any of these
    from scraper.pipeline.clean import clean  # noqa: PLC0415
    from scraper.pipeline.schema import compile_schema  # noqa: PLC0415
    from scraper.pipeline.structured.plan import sources_for  # noqa: PLC0415

    sources = sources_for(compile_schema(SCHEMA))
    return lambda html: clean(html, data_from=sources).text


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], parse=bare if "--bare" in sys.argv else the_same()))
