"""Where the processes of one host meet for one endpoint: the endpoint's name, and its three files in RUN_DIR.

    throttle-<hash>.lock    held by the process that hosts the coordinator; its pid is the content
    throttle-<hash>.sock    where the coordinator listens
    throttle-<hash>.state   its snapshot

The folder is its user's alone: whoever can write there could hand out grants.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from scraper.errors import Misconfigured
from scraper.host import own_folder
from scraper.server_address import server_address

LONGEST_SOCKET_PATH = 107
"""Bytes of a Unix socket's path that the kernel takes (sun_path, less its end)."""
_PORTS = {"http": 80, "https": 443}


def endpoint_key(url: str) -> str:
    """Scheme, host and port of a server, the same for every way to write them: all loopback names are one."""
    try:
        parts = urlsplit(server_address(url))
    except ValueError as error:
        raise Misconfigured(f"VLLM_BASE_URL {error}") from None
    host = (parts.hostname or "").rstrip(".")
    return f"{parts.scheme}://{_one_name(host)}:{parts.port or _PORTS[parts.scheme]}"


def _one_name(host: str) -> str:
    with suppress(UnicodeError):  # bücher.example is xn--bcher-kva.example, as the resolver asks for it
        host = host.encode("idna").decode("ascii")
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    with suppress(OSError):  # 127.1 or 0x7f000001, as whoever connects reads them
        host = socket.inet_ntoa(socket.inet_aton(host))
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    # Connecting to the unspecified address reaches this host.
    return "loopback" if address.is_loopback or address.is_unspecified else str(address)


@dataclass(frozen=True, slots=True)
class MeetingPlace:
    """The three files of one endpoint."""

    lock: Path
    socket: Path
    state: Path

    @classmethod
    def of(cls, endpoint: str, run_dir: Path) -> Self:
        """For the server at the URL `endpoint`; makes RUN_DIR. Raises Misconfigured where it cannot be trusted."""
        name = f"throttle-{sha256(endpoint_key(endpoint).encode()).hexdigest()[:16]}"
        folder = Path(os.path.abspath(run_dir))  # noqa: PTH100 - resolving links would hide whose they are
        own_folder(folder)
        place = cls(*(folder / f"{name}.{kind}" for kind in ("lock", "sock", "state")))
        if len(os.fsencode(place.socket)) > LONGEST_SOCKET_PATH:
            raise Misconfigured(
                f"RUN_DIR={run_dir}: the path is too long for a socket in it; use one shorter than "
                f"{LONGEST_SOCKET_PATH - len(place.socket.name)} bytes"
            )
        return place


def try_out(place: MeetingPlace) -> None:
    """Raises Misconfigured where files, locks or sockets cannot be made there. Leaves nothing behind."""
    trial = place.lock.with_name(f"try-{os.getpid()}")
    try:
        with trial.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        trial.unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.fspath(trial))
    except OSError as error:
        raise Misconfigured(
            f"RUN_DIR={trial.parent}: files, locks and sockets cannot be made there: {error.strerror or error}"
        ) from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
