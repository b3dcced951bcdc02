"""What goes over the wire: requests checked as vLLM checks them, and bodies in its words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from scraper.testing.vllm_grammar import GrammarError, check_schema

_NAME = re.compile(r"[\w.-]{1,200}")
MAX_MESSAGES = 1_000
MAX_CHOICES = 1
_ROLES = ("system", "developer", "user", "assistant", "tool")


class ApiError(Exception):
    """An answer that is an error. The body is vLLM's: an object, a string for 401, or `detail`."""

    def __init__(self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param

    def body(self) -> Any:
        if self.status == 401:
            return {"error": self.message}
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}


_KNOWN = {
    "400": (400, "The request was refused by the simulated server.", "BadRequestError"),
    "401": (401, "Unauthorized", ""),
    "404": (404, "The model `(fault)` does not exist.", "NotFoundError"),
    "429": (429, "Too many requests.", "RateLimitError"),
    "500": (500, "Internal server error", "InternalServerError"),
    "503": (503, "The engine is currently busy. Please try again later.", "ServiceUnavailableError"),
    "backlog": (503, "The prefill token backlog limit is exceeded. Please try again.", "ServiceUnavailableError"),
    "dead": (
        500,
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "InternalServerError",
    ),
    "shutdown": (500, "cannot schedule new futures after shutdown", "InternalServerError"),
}
STATUS_FAULTS = frozenset({"400", "401", "404", "429", "500", "503"})


def known_error(name: str) -> ApiError:
    """A fresh one each time: a shared exception's traceback would grow."""
    status, message, kind = _KNOWN[name]
    return ApiError(status, message, kind=kind)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request that passed the checks. `max_tokens` None: whatever fits."""

    messages: tuple[tuple[str, str], ...]
    model: str | None
    max_tokens: int | None
    stream: bool
    include_usage: bool
    schema: dict[str, Any] | None
    json_object: bool

    @property
    def user_messages(self) -> list[str]:
        return [content for role, content in self.messages if role == "user"]

    @property
    def system_message(self) -> str:
        return next((content for role, content in self.messages if role == "system"), "")


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises ApiError 400."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid({"type": "json_invalid", "loc": ["body"], "msg": f"JSON decode error: {error}"}) from error
    if not isinstance(value, dict):
        raise _invalid({"type": "model_attributes_type", "loc": ["body"], "msg": "Input should be a valid dictionary"})
    return value


def check_model(model: Any, served: str) -> None:
    """Raise ApiError 404 for a model that is not served. No model at all means the served one."""
    if model is not None and model != served:
        shown = str(model)[:200]
        raise ApiError(404, f"The model `{shown}` does not exist.", kind="NotFoundError", param="model")


def parse_chat(value: dict[str, Any], *, max_model_len: int) -> ChatRequest:
    """Check a chat request as far as it needs no tokenizer. Unknown fields are ignored, `guided_json` among them."""
    model = value.get("model")
    if model is not None and not isinstance(model, str):
        raise _invalid({"type": "string_type", "loc": ["body", "model"], "msg": "Input should be a valid string"})
    temperature = value.get("temperature")
    if temperature is not None and not 0 <= _number(temperature, "temperature") <= 2:
        raise ApiError(400, f"temperature must be in [0, 2], got {temperature}.", param="temperature")
    if value.get("n") not in (None, MAX_CHOICES):
        raise ApiError(400, "the simulated server gives one choice: n must be 1.", param="n")
    if value.get("seed") is not None and not isinstance(value["seed"], int):
        raise _invalid({"type": "int_type", "loc": ["body", "seed"], "msg": "Input should be a valid integer"})
    options = value.get("stream_options") or {}
    if not isinstance(options, dict):
        raise _invalid({"type": "model_type", "loc": ["body", "stream_options"], "msg": "Input should be an object"})
    stream = value.get("stream") is True
    if options and not stream:
        raise _invalid({"type": "value_error", "msg": "Stream options can only be defined when `stream=True`."})
    schema, json_object = _response_format(value.get("response_format"))
    return ChatRequest(
        messages=parse_messages(value.get("messages")),
        model=model,
        max_tokens=_max_tokens(value, max_model_len),
        stream=stream,
        include_usage=options.get("include_usage") is True,
        schema=schema,
        json_object=json_object,
    )


def parse_messages(value: Any) -> tuple[tuple[str, str], ...]:
    """(role, text) pairs. Raises ApiError 400 for none, too many, or odd ones."""
    if not isinstance(value, list) or not value:
        raise _invalid({"type": "too_short", "loc": ["body", "messages"], "msg": "at least one message is needed"})
    if len(value) > MAX_MESSAGES:
        raise ApiError(400, f"more than {MAX_MESSAGES} messages.", param="messages")
    return tuple(_message(message) for message in value)


def context_error(max_model_len: int, prompt_tokens: int) -> ApiError:
    return ApiError(
        400,
        f"This model's maximum context length is {max_model_len} tokens. However, your request has {prompt_tokens} "
        "input tokens. Please reduce the length of the input messages.",
        param="input_tokens",
    )


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens} if cached_tokens else None,
    }


def completion(head: dict[str, Any], *, text: str, finish_reason: str, tokens: dict[str, Any]) -> dict[str, Any]:
    """A whole answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason,
        "stop_reason": None,
    }
    return {**head, "object": "chat.completion", "choices": [choice], "usage": tokens, "prompt_logprobs": None}


def chunk(
    head: dict[str, Any], *, delta: dict[str, Any] | None, finish_reason: str | None = None, **more: Any
) -> bytes:
    """One event of a streamed answer; without `delta` the one that carries only usage."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    choices = [] if delta is None else [choice]
    return event({**head, "object": "chat.completion.chunk", "choices": choices, **more})


def event(value: Any) -> bytes:
    return b"data: " + dump(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _invalid(detail: dict[str, Any]) -> ApiError:
    return ApiError(400, f"1 validation error:\n  {detail}", kind="Bad Request")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid({"type": "float_type", "loc": ["body", name], "msg": "Input should be a valid number"})
    return value


def _max_tokens(value: dict[str, Any], max_model_len: int) -> int | None:
    name = "max_completion_tokens" if value.get("max_completion_tokens") is not None else "max_tokens"
    tokens = value.get(name)
    if tokens is None:
        return None
    if isinstance(tokens, bool) or not isinstance(tokens, int):
        raise _invalid({"type": "int_type", "loc": ["body", name], "msg": "Input should be a valid integer"})
    if tokens < 1:
        raise ApiError(400, f"max_tokens must be at least 1, got {tokens}.", param="max_tokens")
    if tokens > max_model_len:
        raise ApiError(
            400,
            f"max_tokens={tokens} cannot be greater than max_model_len={max_model_len}. Please request fewer tokens.",
            param="max_tokens",
        )
    return tokens


def _message(value: Any) -> tuple[str, str]:
    if not isinstance(value, dict) or value.get("role") not in _ROLES:
        raise _invalid({"type": "value_error", "loc": ["body", "messages"], "msg": "a message needs a known role"})
    content = value.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise _invalid({"type": "string_type", "loc": ["body", "messages"], "msg": "content should be a string"})
    return value["role"], (content or "").encode("utf-8", "replace").decode()


def _response_format(value: Any) -> tuple[dict[str, Any] | None, bool]:
    """(schema or None, any JSON object wanted). Raises ApiError 400 with the grammar's words."""
    if value is None:
        return None, False
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None, False
    if kind == "json_object":
        return None, True
    wrapped = value.get("json_schema") if isinstance(value, dict) else None
    if kind != "json_schema" or not isinstance(wrapped, dict) or not isinstance(wrapped.get("schema"), dict):
        raise _invalid({"type": "value_error", "loc": ["body", "response_format"], "msg": "a json_schema is needed"})
    if not isinstance(wrapped.get("name"), str) or not _NAME.fullmatch(wrapped["name"]):
        raise _invalid({"type": "missing", "loc": ["body", "response_format", "json_schema", "name"]})
    try:
        check_schema(wrapped["schema"])
    except (GrammarError, RecursionError) as error:
        raise ApiError(400, f"Grammar error: {error}") from error
    return wrapped["schema"], False
