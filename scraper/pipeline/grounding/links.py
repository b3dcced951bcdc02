"""The addresses of a page: its own, those its links lead to, and those that stand in its text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

MAX_CHARS: Final = 2000


class Links:
    """Addresses, compared without what makes no difference: scheme, `www.`, a slash at the end, the fragment."""

    def __init__(self, addresses: Iterable[str], *, base_url: str = "") -> None:
        self._base_url = base_url
        self._known = {key: address for address in addresses if (key := address_key(address))}

    def find(self, value: str) -> str | None:
        """The page's own form of the address `value`, which may be relative."""
        key = self.key(value)
        return self._known.get(key) if key else None

    def key(self, value: str) -> str:
        """What of `value` is compared; nothing where it is no address."""
        if len(value) > MAX_CHARS:
            return ""
        return address_key(value) or address_key(_absolute(self._base_url, value))


def is_address(value: str) -> bool:
    return _ADDRESS.fullmatch(value) is not None


def _absolute(base_url: str, reference: str) -> str:
    try:
        return urljoin(base_url, reference.strip())
    except ValueError:
        return ""


def address_key(address: str) -> str:
    """Nothing for what is no address with a host."""
    try:
        parts = urlsplit(address.strip() if "//" in address else f"//{address.strip()}")
        host = (parts.hostname or "").removeprefix("www.")
        port = f":{parts.port}" if parts.port not in {None, 80, 443} else ""
    except ValueError:
        return ""
    if "." not in host and host != "localhost":
        return ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{host}{port}{unquote(parts.path).rstrip('/')}{unquote(query)}"


_ADDRESS: Final = re.compile(r"(?:https?:)?//\S+|www\.\S+\.\S+", re.IGNORECASE)
