"""Undoing Content-Encoding piece by piece, with an end.

A gzip stream unpacks to a thousand times its size, and to a million where it was packed twice. Each layer therefore
gives out at most `PIECE_BYTES` at once and a bounded sum: a bomb is stopped there and never held in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 65536
MAX_LAYERS = 2
"""Twice packed is a misconfigured server; more is meant."""
ACCEPT_ENCODING = "gzip, deflate"
"""What is asked for: exactly what can be unpacked here."""


class UnknownEncoding(Exception):
    """Packed in a way that was not asked for."""


class Broken(Exception):
    """Not what it says, or its end is missing."""


class TooMuch(Exception):
    """More than `max_bytes`."""


class Unpacker:
    """Feed it what comes over the wire; get back what was meant."""

    def __init__(self, content_encoding: str, *, max_bytes: int) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        names = [
            name for name in names if name not in {"", "identity", "none", "utf-8"}
        ]  # charsets stand here at times
        unknown = [name for name in names if name not in _WINDOW_BITS]
        if unknown or len(names) > MAX_LAYERS:
            raise UnknownEncoding(unknown[0] if unknown else f"{len(names)} layers")
        self._layers = [
            _Layer(name, max_bytes=max_bytes) for name in reversed(names)
        ]  # the last one applied comes off first
        self._left = max_bytes
        self._packed_left = max_bytes + PIECE_BYTES  # gzip can also go on for ever and hold nothing

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that `data` completes. Raises Broken, and TooMuch after the last byte that fits."""
        self._packed_left -= len(data)
        if self._layers and self._packed_left < 0:
            raise TooMuch
        for piece in self._through(data, 0):
            if len(piece) > self._left:
                yield piece[: self._left]
                raise TooMuch
            self._left -= len(piece)
            yield piece

    def finish(self) -> None:
        """Raises Broken if the end is missing."""
        for layer in self._layers:
            layer.finish()

    def _through(self, data: bytes, depth: int) -> Iterator[bytes]:
        if depth == len(self._layers):
            yield data
            return
        for piece in self._layers[depth].feed(data):
            yield from self._through(piece, depth + 1)


_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE = -15


class _Layer:
    def __init__(self, name: str, *, max_bytes: int) -> None:
        self._bits = _WINDOW_BITS[name]
        self._unzip = zlib.decompressobj(self._bits)
        self._left = max_bytes
        self._seen = False
        self._plain = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._seen and data:
            self._seen = True
            self._look_at_start(data)
        while data:
            piece, data = (data, b"") if self._plain else self._step(data)
            self._left -= len(piece)
            if self._left < 0:
                raise TooMuch
            if piece:
                yield piece

    def finish(self) -> None:
        if self._seen and not self._plain and not self._unzip.eof:
            raise Broken

    def _look_at_start(self, data: bytes) -> None:
        """Two lies so common that browsers see through them: deflate without its frame, and gzip that is none."""
        if self._bits == 15 and data[0] & 0x0F != 8:  # RFC 1950: a zlib stream begins with method 8
            self._bits = _RAW_DEFLATE
            self._unzip = zlib.decompressobj(self._bits)
        elif self._bits == 31 and data[0] != 0x1F:
            self._plain = True

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        if self._unzip.eof:
            if self._bits != 31 or data[0] != 0x1F:
                return b"", b""  # padding after the end
            self._unzip = zlib.decompressobj(self._bits)  # gzip allows several members in a row
        try:
            piece = self._unzip.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise Broken from error
        return piece, self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
