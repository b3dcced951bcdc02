"""How processes of this host learn what a supervisor knows: a Unix socket in RUN_DIR that gives its picture away.

    main-<endpoint>-<random>.sock   whoever connects gets one JSON document, and the connection ends

The folder is its user's alone, so nobody else can ask or answer. Containers may share it, and in each of them the
supervisor may be process 1, so no pid is in the name.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from scraper.events import Observe, SettingWarning
from scraper.throttle.run_dir import MeetingPlace

ANSWER_SECONDS = 5.0
LONGEST_PICTURE = 16 << 20


@asynccontextmanager
async def telling(
    endpoint: str, run_dir: Path, picture: Callable[[], Mapping[str, Any]], *, observe: Observe
) -> AsyncIterator[None]:
    """Answer whoever asks, while inside. Where that is not possible, a warning says so and the work goes on."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(json.dumps(picture()).encode())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        writer.transport.abort()

    path = _socket(endpoint, run_dir, secrets.token_hex(4))
    unborn = path.with_suffix(".new")  # until it listens, whoever asks would take it for one that was left behind
    server: asyncio.Server | None = None
    try:
        server = await asyncio.start_unix_server(answer, path=os.fspath(unborn))
        unborn.chmod(0o600)
        unborn.rename(path)
        await asyncio.to_thread(_tidy_up, path)
    except OSError as error:
        if server is not None:
            server.close()
        _remove(unborn)
        observe(SettingWarning("RUN_DIR", f"no socket for those who watch can be made: {error.strerror or error}"))
        yield
        return
    try:
        yield
    finally:
        server.close()
        _remove(path)


def _tidy_up(own: Path) -> None:
    """Remove the sockets of supervisors that were killed; nobody else does, and each start would add one."""
    name, _, _ = own.stem.rpartition("-")
    for path in own.parent.glob(f"{name}-*.sock"):
        if path == own:
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.setblocking(False)  # noqa: FBT003 the socket module's signature
            try:
                asking.connect(os.fspath(path))
            except ConnectionRefusedError:
                _remove(path)
            except OSError:
                pass  # busy, or gone by now


def _remove(path: Path) -> None:
    """If that is possible: whoever asks at it, or starts, tries again."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


async def ask_all(endpoint: str, run_dir: Path) -> list[Mapping[str, Any]]:
    """What every supervisor of this endpoint and RUN_DIR tells now."""
    every = _socket(endpoint, run_dir, "*")
    paths = await asyncio.to_thread(lambda: sorted(every.parent.glob(every.name)))
    answers = await asyncio.gather(*(_ask(path) for path in paths))
    return [answer for answer in answers if answer is not None]


async def _ask(path: Path) -> Mapping[str, Any] | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(os.fspath(path), limit=LONGEST_PICTURE)
            try:
                answer = json.loads(await reader.read(-1))
            finally:
                writer.transport.abort()
    except ConnectionRefusedError:  # its process is gone
        await asyncio.to_thread(_remove, path)
        return None
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _socket(endpoint: str, run_dir: Path, which: str) -> Path:
    throttle = MeetingPlace.of(endpoint, run_dir).socket
    endpoint_name = throttle.stem.rpartition("-")[2][:8]
    return throttle.with_name(f"main-{endpoint_name}-{which}.sock")
