"""The body of a model server's response, however it is packed, with an end.

We ask for bodies that are not packed, and some proxies pack them all the same. What one byte unpacks to is then for
whoever packed it to say: so nothing is unpacked at once, and never more than was allowed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from scraper.unpack import Broken, TooMuch, UnknownEncoding, Unpacker


def pieces_of(response: httpx.Response, *, at_most: int) -> AsyncIterator[bytes]:
    """As they come. Raises httpx.DecodingError where they are packed and cannot be unpacked, or to more than allowed.

    What is not packed is for the reader to count.
    """
    if response.is_stream_consumed:  # read already by its transport
        return response.aiter_bytes()
    packed = response.headers.get("content-encoding")
    if packed:
        return _unpacked(response, packed, at_most=at_most)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return aiter(response.stream)  # `aiter_raw` would count and cut what need not be


async def read_beginning(response: httpx.Response, *, at_most: int) -> bytes:
    """The body, cut where it is longer, or where it cannot be unpacked."""
    body = b""
    try:
        async for piece in pieces_of(response, at_most=at_most):
            body += piece
            if len(body) >= at_most:
                break
    except httpx.DecodingError:
        pass
    return body[:at_most]


async def _unpacked(response: httpx.Response, packed: str, *, at_most: int) -> AsyncIterator[bytes]:
    try:
        unpacker = Unpacker(packed, max_bytes=at_most)
        async for raw in response.aiter_raw():
            for piece in unpacker.feed(raw):
                yield piece
        unpacker.finish()
    except (Broken, TooMuch, UnknownEncoding) as error:
        raise httpx.DecodingError("the body cannot be unpacked") from error
