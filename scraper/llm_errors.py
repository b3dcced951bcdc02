"""What a model server's refusals mean and how they may be quoted.

Servers like to quote the request they refuse, and the request holds a page. So an error text keeps the status, the
error's type and its message only as far as it holds nothing of the prompt: quoted passages and any stretch that
occurs in the prompt are left out, and the rest is cut to 300 characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx

from scraper.models import Json
from scraper.throttle.verdict import Ending, Misconfiguration, ending_of_status

LONGEST_CHARS = 300
_SHORTEST_OVERLAP = 20
"""A stretch of a message this long that also occurs in the prompt is taken for a quotation."""
_STEP = 4

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\{[^{}]*\}")
_LONGEST_NAME = 40  # names of fields, models and keywords are worth keeping; what is longer is content
_PLAIN_HTTP = re.compile(
    rb"HTTP request (was sent )?to (an )?HTTPS|plain HTTP to an SSL|host and port requires TLS", re.IGNORECASE
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class WrongScheme(httpx.ConnectError):
    """An https:// address of a server that speaks plain http; the text says so."""


def error_text(status: int, body: bytes, *, prompt: str = "", secret: str = "") -> str:
    """One line about a refusal: `400 BadRequestError: max_tokens is too large`. Holds neither prompt nor secret."""
    kind, message = _kind_and_message(body)
    if secret:  # before anything is cut: half a key is no less of a secret
        kind, message = kind.replace(secret, "…"), message.replace(secret, "…")
    parts = [str(status)]
    if kind:
        parts.append(_UNPRINTABLE.sub(" ", kind)[:_LONGEST_NAME])
    shown = _without_quotations(message, prompt)
    if shown:
        parts[-1] += ":"
        parts.append(shown)
    return " ".join(parts)


def transport_text(error: httpx.HTTPError | httpx.StreamError) -> str:
    """Why there was no answer: `llm_transport` words what happens to a connection, other messages may quote bytes."""
    if isinstance(error, (httpx.ConnectError, httpx.RemoteProtocolError)) and str(error):
        return str(error)
    return type(error.__cause__ or error).__name__


def wrong_scheme(error: WrongScheme) -> Misconfiguration:
    """Which setting it speaks of; no status, since nothing was asked."""
    return Misconfiguration(0, "VLLM_BASE_URL", str(error))


def ending_of(status: int, body: bytes) -> Ending:
    """As the status says, but for a 400 that speaks of the address: no request is to blame for that one."""
    return Ending.MISCONFIGURED if _wants_https(status, body) else ending_of_status(status)


def _wants_https(status: int, body: bytes) -> bool:
    """As nginx, Go, Apache and Tomcat tell it. vLLM's own errors are JSON, and may quote a page that says the same."""
    return status == 400 and not _object(body) and _PLAIN_HTTP.search(body) is not None


def misconfiguration(status: int, body: bytes, *, model: str) -> Misconfiguration:
    """Which setting a 401, 403, 404, 405, a redirect or a port for https speaks of."""
    if status in {401, 403}:
        return Misconfiguration(
            status, "VLLM_API_KEY", "the model server refuses the key: set the one it was started with (--api-key)"
        )
    if status == 404 and isinstance(_object(body).get("error"), dict):
        return Misconfiguration(
            status,
            "VLLM_MODEL",
            f"the model server does not serve «{model[:100]}»: set a name that its /v1/models lists, or leave it empty",
        )
    if _wants_https(status, body):
        return Misconfiguration(
            status, "VLLM_BASE_URL", "this port wants https: the address must begin with https:// instead of http://"
        )
    return Misconfiguration(
        status,
        "VLLM_BASE_URL",
        "no chat completions at this address: it should look like http://host:8000/v1, without a path behind /v1",
    )


def _kind_and_message(body: bytes) -> tuple[str, str]:
    """vLLM: {"error": {"type", "message"}}; 401: {"error": "…"}; unknown paths: {"detail": …}; others: anything."""
    answer = _object(body)
    error = answer.get("error", answer)
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    message = error.get("message", error.get("detail", ""))
    kind = error.get("type") or ""
    return (kind if isinstance(kind, str) else ""), (message if isinstance(message, str) else "")


def _object(body: bytes) -> dict[str, Json]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _without_quotations(message: str, prompt: str) -> str:
    message = message[: 4 * LONGEST_CHARS]
    message = _QUOTED.sub(lambda found: _quotation(found.group(), prompt), message)
    message = " ".join(_UNPRINTABLE.sub(" ", message).split())
    if any(stretch in prompt for stretch in _stretches(message)):
        return "(message left out: it quotes the prompt)"
    return message if len(message) <= LONGEST_CHARS else message[: LONGEST_CHARS - 1] + "…"


def _quotation(quoted: str, prompt: str) -> str:
    inside = quoted[1:-1]
    if len(inside) > _LONGEST_NAME or (len(inside) > 3 and inside in prompt):
        return f"{quoted[0]}…{quoted[-1]}"
    return quoted


def _stretches(message: str) -> Iterator[str]:
    for begin in range(0, max(1, len(message) - _SHORTEST_OVERLAP + 1), _STEP):
        stretch = message[begin : begin + _SHORTEST_OVERLAP]
        if len(stretch) == _SHORTEST_OVERLAP:
            yield stretch
