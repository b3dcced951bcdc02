"""Names of schema.org, whichever way a page writes them."""

from __future__ import annotations

import re
from typing import Final

from scraper.models import Json

MAX_TYPES: Final = 8
_PREFIX: Final = re.compile(
    r"^(?:https?://(?:www\.)?(?:schema\.org|data-vocabulary\.org)/#?|schema:|product:)", re.IGNORECASE
)


def short(term: str) -> str:
    """`https://schema.org/InStock` → `InStock`; other names as they are."""
    return _PREFIX.sub("", term.strip()) if ":" in term else term.strip()


def types_of(value: Json) -> list[str]:
    """The types that `@type`, `itemtype` or `typeof` names."""
    each = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [short(name)[:100] for name in each[:MAX_TYPES] if isinstance(name, str)]
