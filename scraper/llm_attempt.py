"""One request for a chat completion, from its first byte written to its connection's end or reuse.

Whatever happens inside, the response is closed when this returns or raises, its socket included: a server whose
client has gone stops generating within a second, and whoever gets the slot next is not in flight beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from scraper.llm_body import pieces_of, read_beginning
from scraper.llm_errors import WrongScheme, ending_of, error_text, misconfiguration, transport_text, wrong_scheme
from scraper.llm_runaway import AnswerWatch, Runaway
from scraper.llm_stream import (
    BrokenReply,
    Reply,
    begins_tokens,
    ends_stream,
    parse_reply,
    parse_stopped,
)
from scraper.throttle.backoff import retry_after_seconds
from scraper.throttle.verdict import UNSENT, Ending, Verdict

LONGEST_ERROR_BYTES = 64 * 1024
AFTER_DONE_SECONDS = 1.0
"""How long a server may take to end a body after its last event; then its connection is closed instead."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one request ended."""

    verdict: Verdict
    reply: Reply | None = None
    error: str = ""


class ConnectedTooLate(httpx.PoolTimeout):
    """Nothing was written: the connection was not open before `write_by`. It is now, for whoever comes next."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a request may take, body included; `deadline_first`: it is the task's time that is over then.

    `write_by`: loop time until which it may be written; None: any time. `body_bytes`: of an answer.
    """

    seconds: float
    deadline_first: bool
    body_bytes: int
    write_by: float | None = None


async def attempt(
    transport: httpx.AsyncBaseTransport,
    request: httpx.Request,
    *,
    limits: Limits,
    watch: AnswerWatch,
    on_first_token: Callable[[], None],
    prompt: Callable[[], str],
    secret: str,
    model: str,
) -> Attempt:
    """Send `request` and judge what comes. Raises nothing but what cancels it.

    Straight through the `transport`: a client's redirects, cookies and authentication are not for a model server.
    """
    clock = asyncio.get_running_loop().time
    started = clock()
    first_token: list[float] = []

    def token_seen() -> None:
        first_token.append(clock() - started)
        on_first_token()

    request.extensions = {**request.extensions, "write_by": limits.write_by}
    try:
        async with asyncio.timeout(limits.seconds), _opened(transport, request) as response:
            if response.status_code != 200:
                body = await read_beginning(response, at_most=LONGEST_ERROR_BYTES)
                return _refused(response, body, prompt=prompt(), secret=secret, model=model)
            body, stopped = await _read_answer(response, token_seen, watch, at_most=limits.body_bytes)
        reply = parse_reply(body) if stopped is None else parse_stopped(body, stopped)
    except TimeoutError:
        ending = Ending.OUT_OF_TIME if limits.deadline_first else Ending.NO_ANSWER
        return Attempt(Verdict(ending), error=f"no whole answer within {limits.seconds:.0f} s")
    except ConnectedTooLate:
        return Attempt(UNSENT)
    except (httpx.HTTPError, httpx.StreamError) as error:
        return _unanswered(error)
    except BrokenReply as error:
        return Attempt(Verdict(error.ending), error=str(error))
    total = clock() - started
    verdict = Verdict(
        Ending.ANSWERED,
        usage=reply.usage,
        first_token_seconds=first_token[0] if first_token else total,
        total_seconds=total,
    )
    return Attempt(verdict, reply)


@asynccontextmanager
async def _opened(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    try:
        response = await transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()
    finally:
        await asyncio.sleep(0)  # asyncio closes a socket one turn of the loop after it was told to


async def _read_answer(
    response: httpx.Response, token_seen: Callable[[], None], watch: AnswerWatch, *, at_most: int
) -> tuple[bytes, Runaway | None]:
    """The body, to its end or to where it had stopped making sense."""
    pieces: list[bytes] = []
    size = 0
    seen = False
    begins_line = True
    arriving = pieces_of(response, at_most=at_most)
    async for piece in arriving:
        pieces.append(piece)
        size += len(piece)
        if size > at_most:
            raise BrokenReply(Ending.NOT_A_COMPLETION, f"an answer of more than {at_most >> 20} MiB")
        if not seen and begins_tokens(piece):
            seen = True
            token_seen()
        if ends_stream(piece, begins_line=begins_line):
            await _read_to_end(arriving)
            break
        begins_line = piece.endswith(b"\n")
        if stopped := watch.sees(piece):
            return b"".join(pieces), stopped
    return b"".join(pieces), None


async def _read_to_end(arriving: AsyncIterator[bytes]) -> None:
    """Nothing but the body's end is to come; a connection is only used again after it."""
    try:
        async with asyncio.timeout(AFTER_DONE_SECONDS):
            async for _ in arriving:
                pass
    except TimeoutError:
        pass  # the answer is whole; closing the connection ends the rest


def _unanswered(error: httpx.HTTPError | httpx.StreamError) -> Attempt:
    if isinstance(error, WrongScheme):
        return Attempt(Verdict(Ending.MISCONFIGURED, misconfiguration=wrong_scheme(error)), error=str(error))
    return Attempt(Verdict(Ending.NO_ANSWER), error=transport_text(error))


def _refused(response: httpx.Response, body: bytes, *, prompt: str, secret: str, model: str) -> Attempt:
    status = response.status_code
    ending = ending_of(status, body)
    hint = retry_after_seconds(response.headers) if status in {429, 503} else None
    verdict = Verdict(
        ending,
        pause_seconds=hint or 0.0,
        pause_reason=f"{status} with Retry-After" if hint else "",
        misconfiguration=misconfiguration(status, body, model=model) if ending is Ending.MISCONFIGURED else None,
    )
    return Attempt(verdict, error=error_text(status, body, prompt=prompt, secret=secret))
