"""What an operator can do to an endpoint's throttle while it runs. The order holds for every process of this host.

Each function returns the throttle's status after it, as plain values; see `SharedAdmission.status`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from scraper.credentials import without_credentials
from scraper.errors import Unavailable
from scraper.throttle.election import holder_of
from scraper.throttle.nanoseconds import ns
from scraper.throttle.protocol import VERSION, BadLine, Command, Hello, Report, Welcome, decode, encode
from scraper.throttle.rate_limiter import loop_time
from scraper.throttle.run_dir import MeetingPlace

ANSWER_SECONDS = 5.0


class NotRunning(Unavailable):
    """No process uses the endpoint here at present."""


_LONGEST_REPORT = 8 << 20


async def show(endpoint: str, run_dir: Path) -> dict[str, Any]:
    """Raises NotRunning where no process uses the endpoint, Unavailable where its host does not answer."""
    return await _order(endpoint, run_dir, "show")


async def set_limits(
    endpoint: str, run_dir: Path, *, max_concurrent: int | None = None, requests_per_minute: float | None = None
) -> dict[str, Any]:
    """Instead of what the processes bring, until `reset_limits` or until all of them have left."""
    return await _order(
        endpoint, run_dir, "set", max_concurrent=max_concurrent, requests_per_minute=requests_per_minute
    )


async def reset_limits(endpoint: str, run_dir: Path) -> dict[str, Any]:
    """Back to the strictest limits that the processes bring."""
    return await _order(endpoint, run_dir, "reset")


async def pause(endpoint: str, run_dir: Path, *, seconds: float | None = None) -> dict[str, Any]:
    """Nothing starts for `seconds`, or until `resume`; a longer pause is not shortened."""
    return await _order(endpoint, run_dir, "pause", seconds=seconds)


async def resume(endpoint: str, run_dir: Path) -> dict[str, Any]:
    """End a pause, also one that the server asked for."""
    return await _order(endpoint, run_dir, "resume")


async def open_circuit(endpoint: str, run_dir: Path) -> dict[str, Any]:
    """Leave the server alone for the breaker's timeout; then one request probes it."""
    return await _order(endpoint, run_dir, "open")


async def close_circuit(endpoint: str, run_dir: Path) -> dict[str, Any]:
    """Call the server well at once."""
    return await _order(endpoint, run_dir, "close")


async def _order(
    endpoint: str,
    run_dir: Path,
    verb: str,
    *,
    max_concurrent: int | None = None,
    requests_per_minute: float | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    place = MeetingPlace.of(endpoint, run_dir)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(os.fspath(place.socket), limit=_LONGEST_REPORT)
            try:
                writer.write(encode([Hello(VERSION, "", ns(loop_time()))]))  # alone: a host of any release reads it
                writer.write(encode([Command(verb, max_concurrent, requests_per_minute, seconds)]))
                return await _report(reader)
            finally:
                writer.close()
    except TimeoutError:
        raise Unavailable(
            f"process {holder_of(place.lock)} hosts the throttle but does not answer: is it stopped?"
        ) from None
    except BadLine as error:
        raise Unavailable(
            f"process {holder_of(place.lock)} hosts the throttle, but {error}: use one release of scraper for all"
        ) from error
    except OSError as error:
        raise NotRunning(
            f"no process throttles {without_credentials(endpoint)} at present (RUN_DIR={run_dir}): start one "
            "(python -m scraper.main), or use the RUN_DIR and VLLM_BASE_URL of the one that runs"
        ) from error


async def _report(reader: asyncio.StreamReader) -> dict[str, Any]:
    while line := await reader.readline():
        for message in decode(line.rstrip(b"\n")):
            if isinstance(message, Report):
                return message.status
            if isinstance(message, Welcome) and message.version != VERSION:
                raise BadLine(f"speaks version {message.version} of its protocol, not {VERSION}")
    raise ConnectionResetError("hung up")
