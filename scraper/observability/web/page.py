"""The status page in one piece: style and script stand inside, and the policy allows these two and nothing else."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files


def _part(name: str) -> str:
    return files("scraper.observability.web").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _part("status.css"), _part("status.js")

POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy."""


def page(title: str) -> str:
    """The whole page."""
    return (
        _part("status.html")
        .replace("{{title}}", escape(title))
        .replace("{{style}}", _STYLE)
        .replace("{{script}}", _SCRIPT)
    )
