"""URLs that are fit to be shown."""

from __future__ import annotations

import re

_USER_AND_PASSWORD = re.compile(r"(?<=://)(?:(?!,\w+://)\S)*@")  # to the last @: passwords hold any character


def without_credentials(text: str) -> str:
    """`text` with user and password of every URL in it replaced by `***`."""
    return _USER_AND_PASSWORD.sub("***@", text)
