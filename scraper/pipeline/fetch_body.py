"""From an open response to a page: unpacked as it comes, recognised by its first kilobyte, never more than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx

from scraper.errors import Permanent, Transient
from scraper.models import Page, ParkReason
from scraper.pipeline.charset import decode
from scraper.pipeline.content_types import SNIFF_BYTES, Kind, NotAPage, charset_of, kind_of
from scraper.unpack import Broken, TooMuch, UnknownEncoding, Unpacker

DECODE_ON_LOOP_BYTES = 256 * 1024
"""Larger bodies are decoded in a thread; the event loop is not stopped for them."""


async def read_page(response: httpx.Response, *, max_bytes: int) -> Page:
    """The page that `response` carries. Permanent if it is none or too large, Transient if its end is missing."""
    host = response.url.host
    try:
        body, kind = await _body_and_kind(response, max_bytes=max_bytes)
    except TooMuch:
        limit = f"{max_bytes / 1024 / 1024:.3g} MiB"
        raise Permanent(ParkReason.TOO_LARGE, f"{host}: the page is larger than {limit} (FETCH_MAX_BYTES)") from None
    except UnknownEncoding as error:
        why = f"{host}: the page is packed in a way that was not asked for ({_word(str(error))})"
        raise Permanent(ParkReason.NOT_HTML, why) from error
    except Broken as error:
        raise Transient(f"{host}: the answer broke off or is damaged (it cannot be unpacked)") from error
    text = await _decoded(body, charset_of(_content_type(response)))
    return Page(str(response.url), text, is_html=kind == "html")


async def read_beginning(response: httpx.Response, *, max_bytes: int) -> bytes:
    """The body up to `max_bytes`, or up to where it makes no sense any more."""
    body = bytearray()
    try:
        async with aclosing(_unpacked(response, max_bytes=max_bytes)) as pieces:
            async for piece in pieces:
                body += piece
    except (TooMuch, Broken, UnknownEncoding):
        pass
    return bytes(body)


async def _body_and_kind(response: httpx.Response, *, max_bytes: int) -> tuple[bytes, Kind]:
    body = bytearray()
    kind: Kind | None = None
    async with aclosing(_unpacked(response, max_bytes=max_bytes)) as pieces:
        async for piece in pieces:
            body += piece
            if kind is None and len(body) >= SNIFF_BYTES:
                kind = _page_kind(response, body)
                if _announced_bytes(response) > max_bytes:
                    raise TooMuch
    return bytes(body), kind or _page_kind(response, body)


async def _unpacked(response: httpx.Response, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
    unpacker = Unpacker(response.headers.get("content-encoding", ""), max_bytes=max_bytes)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        for piece in unpacker.feed(chunk):
            yield piece
    unpacker.finish()


def _page_kind(response: httpx.Response, body: bytearray) -> Kind:
    kind = kind_of(_content_type(response), bytes(body[:SNIFF_BYTES]))
    if isinstance(kind, NotAPage):
        raise Permanent(ParkReason.NOT_HTML, f"{response.url.host}: not a web page but {kind.what}")
    return kind


def _announced_bytes(response: httpx.Response) -> int:
    """What the server says the body will come to; 0 if it does not say, or says it of the packed one."""
    length = response.headers.get("content-length", "")
    packed = response.headers.get("content-encoding")
    return int(length) if not packed and length.isdecimal() and len(length) < 20 else 0


async def _decoded(body: bytes, charset: str | None) -> str:
    if len(body) <= DECODE_ON_LOOP_BYTES:
        return decode(body, header_charset=charset)
    return await asyncio.to_thread(decode, body, header_charset=charset)


def _content_type(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", ""))


def _word(text: str) -> str:
    return "".join(character for character in text[:30] if character.isalnum() or character in "-_ ")
