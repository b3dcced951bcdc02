"""One Unix socket between a client and the coordinator: lines in, lines out, all messages of one moment in one line."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import cast

from scraper.host import Process, process_of
from scraper.throttle.forked import keep_from_children
from scraper.throttle.protocol import LONGEST_LINE, MESSAGES_PER_LINE, BadLine, Message, decode, encode

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED

LONGEST_BACKLOG = 8 << 20
"""Bytes waiting for a peer that does not read, being stopped: it is hung up on, and tells all again when back."""


class Wire(asyncio.Protocol):
    """`heard` gets what has arrived, `closed` comes once and last. A BadLine, here or from `heard`, hangs up."""

    def __init__(
        self,
        *,
        heard: Callable[[Wire, list[Message]], None],
        closed: Callable[[Wire], None],
        opened: Callable[[Wire], None] | None = None,
    ) -> None:
        self._heard = heard
        self._closed = closed
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._parts = b""
        self._unsent: list[Message] = []
        self._flushing: asyncio.Handle | None = None
        self.peer, self.user = Process(0, 0), -1
        self.token: str | None = None  # whose it is, once that was said; empty: an operator's
        self._loop = asyncio.get_running_loop()  # looking it up for each line is a system call
        self.lost = self._loop.create_future()

    # --- for its owner --------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Goes out with the next loop turn but one: who gives back and asks again says both in one line."""
        self._unsent.append(message)
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush_next)

    def _flush_next(self) -> None:
        self._flushing = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send now what was said so far."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self.write([])

    def write(self, messages: list[Message]) -> None:
        """Send these now, after all that was said before."""
        if self._unsent:
            messages, self._unsent = [*self._unsent, *messages], []
        if self._transport is None or self._transport.is_closing():
            return
        for first in range(0, len(messages), MESSAGES_PER_LINE):
            self._transport.write(encode(messages[first : first + MESSAGES_PER_LINE]))
        if self._transport.get_write_buffer_size() > LONGEST_BACKLOG:
            self._transport.abort()

    def hang_up(self) -> None:
        """Close when all that was said is sent."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    # --- for asyncio ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one without being derived from it
        self._transport = transport
        connected = transport.get_extra_info("socket")
        self._socket = connected
        keep_from_children(self)
        self.peer, self.user = _peer_of(connected)
        if self.user not in {os.geteuid(), 0}:  # the folder's mode should have kept it out
            transport.abort()
        if self._opened is not None:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        *lines, self._parts = (self._parts + data).split(b"\n")
        if len(self._parts) > LONGEST_LINE:
            lines.append(b"")  # no line at all: refused below
        if self._transport is None or self._transport.is_closing():
            return
        messages: list[Message] = []
        try:
            try:
                for line in lines:
                    messages += decode(line)
            finally:
                if messages:
                    self._heard(self, messages)
        except BadLine:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = self._socket = None
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if not self.lost.done():
            self.lost.set_result(None)
        self._closed(self)


def _peer_of(connected: socket.socket) -> tuple[Process, int]:
    """The process at the other end of a Unix socket and its user id, by the kernel's word."""
    pid, uid, _ = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return process_of(pid), uid
