"""The small questions to a model server, which are not generation requests: is it well, what does it serve, how long
is this prompt. They ask for no permit and are asked sparingly.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from scraper.errors import Misconfigured
from scraper.llm_body import read_beginning
from scraper.llm_errors import WrongScheme, ending_of, error_text, misconfiguration, transport_text, wrong_scheme
from scraper.models import Json
from scraper.server_address import server_address
from scraper.terminal_text import in_one_line
from scraper.throttle.verdict import Ending, Misconfiguration, ending_of_status

QUESTION_SECONDS = 10.0
HEALTH_SECONDS = 5.0
LONGEST_ANSWER_BYTES = 8 << 20
"""Some 20,000 models."""
_NO_SUCH_PATH = {404, 405, 501}
_PERHAPS_HTTPS = " (if it speaks https, the address must begin with https://)"
"""uvicorn, which vLLM runs on, says nothing at all to plain http at such a port."""

Message: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the server answers with. `max_model_len`: tokens of prompt and answer together; None: it does not say."""

    name: str
    max_model_len: int | None


@dataclass(frozen=True, slots=True)
class Away:
    """The server could not be asked."""

    error: str


Served: TypeAlias = ServedModel | Away | Misconfiguration


class ModelServer:
    """The addresses of one server. `model` is the name set by its owner; empty: the only one it serves.

    `secret` is never quoted; what lets us in stands in the headers of `http`.
    """

    def __init__(self, http: httpx.AsyncClient, base_url: str, *, secret: str, model: str) -> None:
        url = str(checked(base_url).copy_with(userinfo=b"")).rstrip("/")
        root = url.removesuffix("/v1")
        self.chat_url = httpx.URL(f"{url}/chat/completions")
        self._models_url = httpx.URL(f"{url}/models")
        self._health_url = httpx.URL(f"{root}/health")
        self._tokenize_url = httpx.URL(f"{root}/tokenize")
        self._http = http
        self._secret = secret
        self._model = model
        self._tokenizes = True

    async def served(self) -> Served:
        """Ask /v1/models, and whether the answer fits the settings."""
        answer = await self._ask("GET", self._models_url, within=QUESTION_SECONDS)
        if not isinstance(answer, httpx.Response):
            return answer
        if answer.status_code in _NO_SUCH_PATH and self._model:
            return ServedModel(self._model, None)  # a gateway that lists nothing; the name is known
        if answer.status_code == 404:
            return Misconfiguration(
                404,
                "VLLM_BASE_URL",
                "no /models at this address: it should look like http://host:8000/v1 "
                "(a server that lists no models needs VLLM_MODEL)",
            )
        if ending_of(answer.status_code, answer.content) is Ending.MISCONFIGURED:
            return misconfiguration(answer.status_code, answer.content, model=self._model)
        if answer.status_code != 200:
            return Away(error_text(answer.status_code, answer.content, secret=self._secret))
        return _choice(answer.content, self._model)

    async def healthy(self) -> bool:
        """Whether /health says so; a server without that path is taken at its word."""
        answer = await self._ask("GET", self._health_url, within=HEALTH_SECONDS)
        if not isinstance(answer, httpx.Response):
            return False
        return answer.status_code == 200 or ending_of_status(answer.status_code) is Ending.MISCONFIGURED

    async def count_tokens(self, messages: Sequence[Message], *, model: str) -> int | None:
        """Tokens of a prompt with its chat template, by /tokenize; None where the server cannot say."""
        if not self._tokenizes:
            return None
        body = json.dumps({"model": model, "messages": list(messages)}).encode("utf-8", "replace")
        answer = await self._ask("POST", self._tokenize_url, within=QUESTION_SECONDS, content=body)
        if not isinstance(answer, httpx.Response):
            return None
        said = _object(answer.content)
        if answer.status_code in _NO_SUCH_PATH and "error" not in said:  # an error there speaks of the model
            self._tokenizes = False
        count = said.get("count") if answer.status_code == 200 else None
        return count if type(count) is int and count >= 0 else None

    def forget(self) -> None:
        """It may be another server by now."""
        self._tokenizes = True

    async def _ask(
        self, method: str, url: httpx.URL, *, within: float, content: bytes | None = None
    ) -> httpx.Response | Away | Misconfiguration:
        try:
            async with asyncio.timeout(within):
                async with self._http.stream(method, url, content=content) as response:
                    body = await read_beginning(response, at_most=LONGEST_ANSWER_BYTES)
                    return httpx.Response(response.status_code, content=body)
        except TimeoutError:
            return Away(f"no answer from {url.path} within {within:.0f} s")
        except WrongScheme as error:
            return wrong_scheme(error)
        except httpx.RemoteProtocolError as error:
            return Away(transport_text(error) + (_PERHAPS_HTTPS if url.scheme == "http" else ""))
        except (httpx.HTTPError, httpx.StreamError) as error:
            return Away(transport_text(error))


def _choice(body: bytes, model: str) -> Served:
    """The entry of /v1/models that is meant. Adapters name their base as `parent`; without a name the base is meant."""
    entries = _object(body).get("data")
    cards = [card for card in entries if isinstance(card, dict)] if isinstance(entries, list) else []
    named = {card["id"]: card for card in cards if isinstance(card.get("id"), str)}
    if not named:
        return Away("/v1/models lists no model")
    names = ", ".join(in_one_line(name, most=60) for name in list(named)[:8])
    if model:
        if model not in named:
            return Misconfiguration(404, "VLLM_MODEL", f"the model server does not serve «{model[:100]}», but: {names}")
        return _served(model, named[model])
    bases = [name for name, card in named.items() if not card.get("parent")] or list(named)
    if len(bases) > 1:
        return Misconfiguration(404, "VLLM_MODEL", f"the model server serves several models, name one of: {names}")
    return _served(bases[0], named[bases[0]])


def _served(name: str, card: dict[str, Json]) -> ServedModel:
    length = card.get("max_model_len")
    return ServedModel(name, length if type(length) is int and length > 0 else None)


def _object(body: bytes) -> dict[str, Json]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def checked(base_url: str) -> httpx.URL:
    """The address of a model server. Raises Misconfigured where it is none."""
    try:
        return httpx.URL(server_address(base_url))
    except ValueError as error:
        raise Misconfigured(f"VLLM_BASE_URL {error}") from None
    except httpx.InvalidURL:
        raise Misconfigured("VLLM_BASE_URL is no proper address") from None
