"""A cable that can be cut: TCP from one port to another that stops forwarding, without a word to either side."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class Cable:
    """Listens on a free port and forwards to `port`. While cut, connections stay open and nothing arrives anywhere."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """What was sent meanwhile arrives now, as it does where packets are sent again."""
        self._whole.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.closing(writer):
            await self._whole.wait()
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                return
            with contextlib.closing(far_writer):
                await _first(self._forward(reader, far_writer), self._forward(far_reader, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        await self._whole.wait()  # that one side has gone is not heard through a cut cable either


async def _first(*coroutines):
    """Until one of them has ended; the others with it."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
