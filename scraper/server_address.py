"""The address of a model server, as people write it: one rule for the setting and for whoever makes a client."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_NAME: Final = re.compile(r"\w[\w.-]*")
_IS_NONE: Final = "is no proper address: it must be http://host:port/v1 or https://…"


def server_address(url: str) -> str:
    """`url` without what stands around it. Raises ValueError where a request could never go out; quotes nothing of it.

    What it quotes might be a password, wherever in the URL that stands.
    """
    url = url.strip()
    if " " in url or not url.isprintable():
        raise ValueError("has a space or a character in it that cannot be seen: write http://host:port/v1 and no more")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" not in host:
            host.encode("idna")
    except ValueError:  # UnicodeError too: a label that no name server takes
        raise ValueError(_IS_NONE) from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(_IS_NONE)
    if port == 0 or not (":" in host or _NAME.fullmatch(host)):
        raise ValueError(_IS_NONE)
    if "?" in url or "#" in url:
        raise ValueError("must end with its path, as in http://host:port/v1, without ? and #")
    return url.rstrip("/")
