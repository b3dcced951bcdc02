"""URLs that are fit to be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_USER_AND_PASSWORD = re.compile(r"(?<=://)(?:(?!,\w+://)\S)*@")  # to the last @: passwords hold any character


def without_credentials(text: str) -> str:
    """`text` with user and password of every URL in it replaced by `***`."""
    return _USER_AND_PASSWORD.sub("***@", text)


def address_without_credentials(url: str) -> str:
    """One URL without its user and password, also where it is no proper one. An @ in its path stays where it is."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # a password with a slash in it looks like a port that is no number
    except ValueError:
        return without_credentials(url)
    _, at, host = parts.netloc.rpartition("@")
    return url.replace(parts.netloc, f"***@{host}", 1) if at else url
