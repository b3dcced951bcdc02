"""The coordinator's memory on disk: one small JSON file, replaced whole, checked when read.

It has to outlive a process, not the machine (a reboot voids the clock it speaks of), so nothing is synced to disk.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

FORMAT = 1
_LARGEST_BYTES = 8 << 20


class Unusable(Exception):
    """There is no snapshot to go by; the message says why."""


def write_snapshot(path: Path, content: dict[str, Any], *, boot: str) -> None:
    """Replace it. Raises OSError, and then the old one is still there."""
    body = json.dumps({"format": FORMAT, "boot": boot, **content}, separators=(",", ":")).encode()
    fresh = f"{path}.new"  # only the holder of the lock writes
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        left = memoryview(b"%08x\n" % crc32(body) + body)
        while left:
            left = left[os.write(number, left) :]
    finally:
        os.close(number)
    os.replace(fresh, path)  # noqa: PTH105 - a path object would cost as much as the call


def read_snapshot(path: Path, *, boot: str) -> dict[str, Any]:
    """What was written last. Raises Unusable."""
    try:
        with path.open("rb") as file:
            checksum, _, body = file.read(_LARGEST_BYTES).partition(b"\n")
    except FileNotFoundError:
        raise Unusable("there is no snapshot") from None
    except OSError as error:
        raise Unusable(f"the snapshot cannot be read: {error.strerror}") from error
    if checksum != b"%08x" % crc32(body):
        raise Unusable("the snapshot is damaged")
    try:
        content = json.loads(body)
    except ValueError:
        raise Unusable("the snapshot is damaged") from None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise Unusable("the snapshot is of another version")
    if not boot or content.pop("boot", None) != boot:
        raise Unusable("the snapshot is from before the last reboot")
    return content
