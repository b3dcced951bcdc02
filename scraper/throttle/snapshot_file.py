"""The coordinator's memory on disk: two places in one file, written in turn, each checked when read.

A write that its process did not survive spoils one place and leaves the other, which holds what was known before: the
guarantee of «write beside it and rename», at a twentieth of its cost, because every grant is preceded by a write. It
has to outlive a process, not the machine (a reboot voids the clock it speaks of), so nothing is synced to disk.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from pydantic_core import to_json

from scraper.throttle.forked import keep_from_children

FORMAT = 3
PLACE_BYTES = 1 << 20
"""Room for each; 1,024 leases of 256 processes need a fifth of it. What is not written takes no room on disk."""
_HEAD = b"%08x %016x %08x\n"  # checksum of the rest, number of the write, bytes of the body
_HEAD_BYTES = 35


class Unusable(Exception):
    """There is no snapshot to go by; the message says why."""


class SnapshotFile:
    """Only the holder of the endpoint's lock may open it. Raises OSError where it cannot be read or written."""

    def __init__(self, path: Path, *, boot: str, pids: str = "") -> None:
        self._boot = boot
        self._about = to_json({"format": FORMAT, "boot": boot, "pids": pids})[:-1]
        self._kept: dict[str, tuple[object, bytes]] = {}  # what was written last, and its bytes
        self._number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._writes = 0
        keep_from_children(self)

    def fileno(self) -> int:
        return self._number

    def close(self) -> None:
        if self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)

    def read(self) -> dict[str, Any]:
        """What was written last. Raises Unusable."""
        if os.fstat(self._number).st_size == 0:
            raise Unusable("there is no snapshot")
        found = [place for number in (0, 1) if (place := self._read_place(number)) is not None]
        if not found:
            raise Unusable("the snapshot is damaged")
        self._writes, body = max(found)
        content: Any = None
        with suppress(ValueError):
            content = json.loads(body)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise Unusable("the snapshot is of another version")
        if not self._boot or content.get("boot") != self._boot:
            raise Unusable("the snapshot is from before the last reboot")
        return content

    def write(self, content: Mapping[str, object]) -> None:
        """When this returns, whoever comes next reads `content`; when it raises OSError, what was written before.

        A value that is the very object of the write before keeps its bytes: nothing in it may have changed since.
        """
        body, kept = self._about, self._kept
        for name, value in content.items():
            before, part = kept.get(name, (None, b""))
            if before is not value or not part:
                part = b',"%s":%s' % (name.encode(), to_json(value))
                kept[name] = value, part
            body += part
        body += b"}"
        number = self._writes + 1
        head = _HEAD % (0, number, len(body))
        data = _HEAD % (crc32(body, crc32(head[9:])), number, len(body)) + body
        if len(data) > PLACE_BYTES:
            raise OSError(errno.EFBIG, "too much to remember")
        if os.pwrite(self._number, data, number % 2 * PLACE_BYTES) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._writes = number

    def _read_place(self, which: int) -> tuple[int, bytes] | None:
        head = os.pread(self._number, _HEAD_BYTES, which * PLACE_BYTES)
        try:
            checksum, number, length = (int(field, 16) for field in head.split())
        except ValueError:
            return None
        if not 0 <= length <= PLACE_BYTES:
            return None
        body = os.pread(self._number, length, which * PLACE_BYTES + _HEAD_BYTES)
        return (number, body) if checksum == crc32(body, crc32(head[9:])) else None
