"""Settings: the one reader of the environment and of `.env`.

Flat names, as the owner writes them. Every field has its unit and bounds; a value out of bounds, two settings that
contradict each other, an unknown key in `.env`, or an environment name that is nearly a setting's stop start-up with
one line each that says which and why. Other environment names are ignored: vLLM itself has many that begin so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from scraper import __version__
from scraper.errors import Misconfigured
from scraper.host import default_run_dir
from scraper.server_address import server_address
from scraper.terminal_text import in_one_line

ENV_FILE = Path(".env")
NO_ENV_FILE = Path(os.devnull)
SHARE_OF_CONSUMER_TIMEOUT = 0.9
"""A delivery held longer than the broker's consumer timeout comes back and would run for ever; stay well below."""

_NEARLY = 0.9  # difflib ratio: one or two letters off in a name of this length
_LONG_ENOUGH_TO_COMPARE = 8
_SHOWN = 200  # characters of a wrong value
_LONGEST_NAME, _LONGEST_PATH = 255, 4000  # bytes of a file's name on the usual file systems; characters, roughly
_BYTES = re.compile(r"[0-9][0-9_]*(\.[0-9]+)?\s*([kmg]i?)?b?", re.IGNORECASE)

KIB = 1024
MIB = 1024 * KIB


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("is no proper address") from None  # its own words quote what may be a password


def _broker_url(value: str) -> str:
    kinds = {_parts(url.strip()).scheme for url in value.split(",")}
    if not kinds <= {"amqp", "amqps"} and kinds != {"sqlite"}:
        raise ValueError("must be sqlite:///path or amqp://… (several amqp URLs with commas)")
    if kinds == {"sqlite"}:
        _sqlite_url(value)
    return value


def _sqlite_url(value: str) -> str:
    parts = _parts(value)
    if parts.scheme != "sqlite" or parts.netloc or len(parts.path) < 2 or "?" in value or "#" in value:
        raise ValueError("must be sqlite:///relative/path.db or sqlite:////absolute/path.db")
    _spelt_out(Path(parts.path[1:]))
    return value


def _spelt_out(path: Path) -> Path:
    """A shell's `~` would become a folder of that name, and a stray blank one that nobody finds."""
    text = str(path)
    if text.startswith("~") or text != text.strip() or not text.isprintable():
        raise ValueError("must be spelt out: no ~, which only shells know, no blanks around it and nothing invisible")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts) or len(text) > _LONGEST_PATH:
        raise ValueError("is longer than a file system takes")
    return path


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has a character in it that cannot be seen: a line end, perhaps")
    return text


def _number_of_bytes(value: object) -> object:
    if isinstance(value, str) and not _BYTES.fullmatch(value.strip()):  # pydantic reads 1 from 1,5MB
        raise ValueError("must be a number of bytes, or one with its unit as in 5MiB")
    return value


BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
SqliteUrl = Annotated[str, AfterValidator(_sqlite_url)]
HttpUrl = Annotated[str, AfterValidator(server_address)]
Seconds = Annotated[float, Field(allow_inf_nan=False, le=1_000_000_000)]
"""31 years at most: clocks that count nanoseconds hold no more than 292."""
Tokens = Annotated[int, Field(le=100_000_000)]
Bytes = Annotated[ByteSize, BeforeValidator(_number_of_bytes), Field(ge=KIB, le=1024 * MIB)]
OneLine = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), AfterValidator(_printable)]
Folder = Annotated[Path, AfterValidator(_spelt_out)]


class Settings(BaseSettings):
    """Every setting of the service, checked; read once at start-up."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, env_file_encoding="utf-8")

    # throttle
    vllm_max_concurrent: int = Field(2, ge=1, le=1024, description="attempts in flight, over all workers")
    vllm_requests_per_minute: float = Field(20, ge=1, le=60_000, description="starts in any 60 s, over all workers")
    vllm_max_retries: int = Field(5, ge=0, le=100, description="retries after the first attempt of a call")
    vllm_base_backoff: Seconds = Field(1.0, ge=0.01, description="seconds before the first retry; doubles")
    vllm_max_backoff: Seconds = Field(60.0, ge=0.01, description="seconds, cap of a retry delay")
    vllm_circuit_breaker_threshold: int = Field(5, ge=1, le=1_000_000, description="failures in a row that open it")
    vllm_circuit_breaker_timeout: Seconds = Field(60.0, gt=0, le=1_000_000, description="seconds it stays open")
    concurrent_consumers_per_worker: int = Field(3, ge=1, le=256, description="consumers in each worker process")
    prefetch_count: int = Field(1, ge=1, le=1000, description="unacknowledged messages per consumer")

    # model server
    vllm_base_url: HttpUrl = Field("http://localhost:8000/v1", description="the vLLM server's OpenAI root")
    vllm_api_key: SecretStr = Field(SecretStr(""), description="sent as a bearer token; never printed")
    vllm_model: OneLine = Field("", description="served model name; empty = the only one served")
    vllm_timeout: Seconds = Field(120.0, gt=0, description="seconds per attempt, body included")
    vllm_max_tokens: Tokens = Field(1024, ge=1, description="tokens of one answer, before one is cut off")
    vllm_temperature: float = Field(0.0, ge=0, le=2, description="sampling temperature")
    vllm_context_tokens: Tokens = Field(0, ge=0, description="context length in tokens; 0 = ask the server")

    # queue and results
    broker_url: BrokerUrl = Field("sqlite:///data/scraper.db", description="where the tasks wait")
    queue_namespace: str = Field("scraper", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="prefix of queue names")
    results_queue: bool = Field(default=False, description="also publish each result to NAMESPACE.results")
    results_url: SqliteUrl = Field("sqlite:///data/scraper.db", description="where results are stored")

    # processes and time
    workers: int = Field(1, ge=1, le=256, description="worker processes")
    run_dir: Folder = Field(default_factory=default_run_dir, description="where workers of this host meet")
    task_deadline: Seconds = Field(900.0, gt=0, description="seconds of working time per delivery")
    hold_limit: Seconds = Field(600.0, gt=0, description="seconds a delivery may wait for the throttle")
    drain_seconds: Seconds = Field(30.0, ge=0, description="seconds a stopping worker may still finish in")
    consumer_timeout: Seconds = Field(1800.0, gt=0, description="seconds, consumer_timeout of the RabbitMQ server")
    broker_heartbeat: Seconds = Field(15.0, ge=1, le=600, description="seconds between AMQP heartbeats")
    max_attempts: int = Field(5, ge=1, le=1000, description="attempts of a task before it is parked")
    max_calls_per_task: int = Field(12, ge=1, le=1000, description="model calls one delivery of a task may cost")
    repair_rounds: int = Field(1, ge=0, le=10, description="times a wrong answer is fed back with its errors")
    task_max_bytes: Bytes = Field(ByteSize(8 * MIB), description="bytes of a queue message")

    # pages
    fetch_timeout: Seconds = Field(30.0, gt=0, description="seconds per page, redirects included")
    fetch_max_bytes: Bytes = Field(ByteSize(5 * MIB), description="bytes of a page, decompressed")
    fetch_delay: Seconds = Field(1.0, ge=0, le=3600, description="seconds between two pages of one host")
    user_agent: str = Field(
        f"scraper/{__version__}", pattern=r"^[!-~][ -~]*$", max_length=200, description="how it names itself, in ASCII"
    )
    robots: bool = Field(default=True, description="obey robots.txt")
    allow_private_addresses: bool = Field(default=False, description="fetch from private networks too")
    schemas_dir: Folder | None = Field(None, description="folder of own schemas, NAME.json")
    structured_data: Literal["first", "hint", "off"] = Field("first", description="use data embedded in pages")
    grounding: Literal["flag", "strict", "off"] = Field("flag", description="check answers against the page")
    cache: bool = Field(default=True, description="one call for the same page, schema and model")
    keep_pages: Literal["parked", "none"] = Field("parked", description="whose pages are kept")

    # seeing it
    http_port: int = Field(0, ge=0, le=65535, description="metrics, health and status page; 0 = off")
    http_host: OneLine = Field("127.0.0.1", min_length=1, description="address that HTTP_PORT listens on")
    dashboard_token: SecretStr = Field(SecretStr(""), description="needed to change anything on the status page")
    traces: bool = Field(default=False, description="OpenTelemetry traces, as the OTEL_* variables say")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty on a terminal")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.vllm_base_backoff > self.vllm_max_backoff:
            raise ValueError(
                f"VLLM_BASE_BACKOFF={self.vllm_base_backoff:g} is more than "
                f"VLLM_MAX_BACKOFF={self.vllm_max_backoff:g}: lower the first or raise the second"
            )
        longest = self.hold_limit + self.task_deadline
        if longest > SHARE_OF_CONSUMER_TIMEOUT * self.consumer_timeout:
            raise ValueError(
                f"HOLD_LIMIT + TASK_DEADLINE = {longest:g} s is more than {SHARE_OF_CONSUMER_TIMEOUT:.0%} of "
                f"CONSUMER_TIMEOUT={self.consumer_timeout:g} s: the broker would take tasks back that are still being "
                "worked on; lower one of the first two, or raise consumer_timeout on the broker and here"
            )
        if self.results_queue and self.broker_url.startswith("sqlite"):
            raise ValueError(
                "RESULTS_QUEUE=on needs RabbitMQ (BROKER_URL=amqp://…): nobody could take results from a queue in a "
                "file; set it off and read them with `scraper export`"
            )
        if 0 < self.vllm_context_tokens <= self.vllm_max_tokens:
            raise ValueError(
                f"VLLM_MAX_TOKENS={self.vllm_max_tokens} leaves no room for a page in "
                f"VLLM_CONTEXT_TOKENS={self.vllm_context_tokens}: lower the first"
            )
        return self

    @property
    def broker_urls(self) -> tuple[str, ...]:
        return tuple(url.strip() for url in self.broker_url.split(","))


def load_settings(env_file: Path = ENV_FILE, **overrides: Any) -> Settings:
    """The settings from the environment and `env_file`; raises Misconfigured with a line for each mistake."""
    nearly = list(_nearly_settings(os.environ))
    if os.path.lexists(env_file) and not (env_file.is_file() or env_file.is_char_device()):
        what = "a folder" if env_file.is_dir() else "a pipe, or a link that leads nowhere"
        raise Misconfigured(f"{env_file}: {what}; settings are read from a file of this name")
    try:
        if wrong := list(_wrong_lines(env_file)):
            raise Misconfigured("\n".join([*wrong, *nearly]))
        settings = Settings(_env_file=env_file if env_file.is_file() else None, **overrides)
    except ValidationError as error:
        raise Misconfigured("\n".join([*_explain(error, env_file), *nearly])) from None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{env_file}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    except OSError as error:
        raise Misconfigured(f"{env_file}: cannot be read ({error.strerror})") from None
    if nearly:
        raise Misconfigured("\n".join(nearly))
    return settings


CHANGE_AT_RUN_TIME = (
    "vllm_max_concurrent",
    "vllm_requests_per_minute",
    "vllm_circuit_breaker_threshold",
    "vllm_circuit_breaker_timeout",
)
"""What SIGHUP changes; everything else needs a restart."""


def taken_over(running: Settings, read: Settings) -> tuple[Settings, list[str], list[str]]:
    """What holds once `read` was read beside the `running` settings: (settings, names changed, names for a restart)."""
    differing = [name for name in Settings.model_fields if getattr(read, name) != getattr(running, name)]
    changed = [name for name in differing if name in CHANGE_AT_RUN_TIME]
    settings = running.model_copy(update={name: getattr(read, name) for name in changed})
    return settings, changed, [name for name in differing if name not in changed]


def as_environment(settings: Settings, names: Iterable[str] | None = None) -> dict[str, str]:
    """Everything that was set (or `names`), for a process that shall have the same whatever `.env` says by then."""
    chosen = settings.model_fields_set if names is None else names
    return {name.upper(): _written(getattr(settings, name)) for name in chosen}


def _written(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(int(value)) if isinstance(value, ByteSize) else str(value)


def surprises(settings: Settings) -> Iterator[tuple[str, str]]:
    """Settings that work but not as one may think: (name, what happens and what to change)."""
    consumers = settings.workers * settings.concurrent_consumers_per_worker
    line_seconds = consumers * 60.0 / settings.vllm_requests_per_minute
    if line_seconds > settings.hold_limit:
        message = (
            f"{consumers} consumers at {settings.vllm_requests_per_minute:g} requests a minute wait up to "
            f"{line_seconds:.0f} s for their turn, longer than HOLD_LIMIT={settings.hold_limit:g} s: tasks will go "
            "back to the queue unworked; lower WORKERS or CONCURRENT_CONSUMERS_PER_WORKER, or raise the pace"
        )
        yield "HOLD_LIMIT", message
    if settings.prefetch_count > 1:
        message = (
            f"the last of {settings.prefetch_count} messages that a consumer has taken waits for all others, and may "
            "outlast the broker's consumer_timeout; 1 costs nothing, since pages wait for the model anyway"
        )
        yield "PREFETCH_COUNT", message
    if consumers < settings.vllm_max_concurrent:
        message = (
            f"{settings.vllm_max_concurrent} slots but only {consumers} consumers (WORKERS × "
            "CONCURRENT_CONSUMERS_PER_WORKER): the other slots stay empty"
        )
        yield "VLLM_MAX_CONCURRENT", message
    if settings.schemas_dir is not None and not settings.schemas_dir.is_dir():
        message = (
            f"there is no folder {settings.schemas_dir}: only the ready-made schemas are known; make it or correct it"
        )
        yield "SCHEMAS_DIR", message


def sqlite_path(url: str) -> Path:
    """The file that a checked `sqlite:///…` URL names."""
    return Path(urlsplit(url).path.removeprefix("/"))


def _wrong_lines(env_file: Path) -> Iterator[str]:
    """What would be passed over in silence: no setting, or another value further down. Shows none: it may be a key."""
    if not env_file.is_file():
        return
    from dotenv.parser import parse_stream  # noqa: PLC0415 only where there is a file

    said: dict[str, tuple[int, str]] = {}  # name → line and value
    with env_file.open(encoding="utf-8") as file:
        for binding in parse_stream(file):
            text = binding.original.string
            line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            if not binding.error and binding.key is None:
                continue
            if binding.error or binding.key is None or binding.value is None:
                why = "is a quotation mark not closed?" if "=" in text else "no `=`"
                yield f"{env_file} line {line}: {why} (a line is NAME=value, or a remark that begins with #)"
                continue
            name = binding.key.upper()
            before, value = said.setdefault(name, (line, binding.value))
            if value != binding.value:
                yield f"{env_file} line {line}: {name} is set otherwise in line {before}; keep one of them"


def _nearly_settings(environment: Mapping[str, str]) -> Iterator[str]:
    settings = {name.upper() for name in Settings.model_fields}
    for name in environment:
        if name.upper() in settings or len(name) < _LONG_ENOUGH_TO_COMPARE:
            continue
        if meant := _meant(name, settings):
            yield f"{name}: there is no such setting; did you mean {meant}?"


def _meant(name: str, settings: set[str]) -> str | None:
    from difflib import get_close_matches  # noqa: PLC0415 only where a name is long enough to be a mistake

    return next(iter(get_close_matches(name.upper(), settings, n=1, cutoff=_NEARLY)), None)


def _explain(error: ValidationError, env_file: Path) -> Iterator[str]:
    names = {name.upper() for name in Settings.model_fields}
    for mistake in error.errors(include_url=False):
        name = str(mistake["loc"][0]).upper() if mistake["loc"] else ""
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            meant = _meant(name, names)
            yield f"{name} in {env_file}: there is no such setting" + (f"; did you mean {meant}?" if meant else "")
        elif not name:
            yield message
        else:
            field = Settings.model_fields[name.lower()]
            shown = _shown(name, str(mistake["input"]), is_secret=field.annotation is SecretStr)
            yield f"{name}={shown}: {message[:1].lower()}{message[1:]} ({field.description})"


def _shown(name: str, value: str, *, is_secret: bool) -> str:
    """A wrong value. Of an address nothing before its last @, which may be a password wherever it stands."""
    if is_secret:
        return "…"
    _, at, host = value.rpartition("@")
    return in_one_line(f"…@{host}" if at and name.endswith("_URL") else value, most=_SHOWN)
