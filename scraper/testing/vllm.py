"""A simulated vLLM server: the API surface, the physics and the failures of the real one, without a GPU.

    python -m scraper.testing.vllm --port 8000                        a small GPU at real speed
    async with SimulatedVLLM(preset="instant") as server: ...         in a test; server.base_url, server.stats

It names itself simulated in `model`. What it answers is found by a very simple reader in the text of the prompt and
fits the schema; how long that takes follows the physics in `vllm_engine`. The server is also the referee of what
clients do to it: `server.stats`, or `GET /_stats`. `POST /_control` (loopback only) changes faults and state.

| state    | connections | /health | chat                                                  |
|----------|-------------|---------|-------------------------------------------------------|
| up       | accepted    | 200     | answered                                              |
| frozen   | accepted    | 200     | taken, never answered until thawed                    |
| draining | accepted    | 200     | new ones 500, those in flight finish                  |
| dead     | accepted    | 503     | 500 at once; the process exits a few seconds later    |
| down     | refused     | –       | –                                                     |
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from scraper import __version__
from scraper.testing.http_server import Exchange, HttpServer
from scraper.testing.vllm_chat import answer_chat, spoil
from scraper.testing.vllm_control import control
from scraper.testing.vllm_engine import PRESETS
from scraper.testing.vllm_faults import Fault, FaultPlan, parse_faults
from scraper.testing.vllm_host import EngineHost, Generation, Tenant
from scraper.testing.vllm_metrics import Metrics
from scraper.testing.vllm_protocol import (
    ApiError,
    ChatRequest,
    check_model,
    dump,
    known_error,
    parse_chat,
    parse_json,
    parse_messages,
)
from scraper.testing.vllm_stats import Stats, Watched
from scraper.testing.vllm_tokens import chat_prompt, token_ids, tokenize

_log = logging.getLogger(__name__)

State: TypeAlias = Literal["up", "draining", "dead", "down"]
CRASH_SECONDS = 45.0  # of refused connections: a server of this size loading its weights again
_DEATH_NOTICE_SECONDS = 0.15  # from the engine's death to the 500s
_EXIT_SECONDS = {"busy": 2.5, "idle": 4.0}  # from the engine's death to the process's exit
_CHAT = "/v1/chat/completions"
ASKED_KEPT = 200


class SimulatedVLLM:
    """One server on one port. Every `seconds` is simulated: real time is `seconds / time_scale`."""

    def __init__(
        self,
        *,
        preset: str = "rtx5090-8b",
        time_scale: float = 1.0,
        host: str = "127.0.0.1",
        port: int = 0,
        model: str | None = None,
        max_model_len: int = 16_384,
        max_num_seqs: int | None = None,
        kv_tokens: int | None = None,
        max_num_queued_reqs: int | None = None,
        max_num_queued_tokens: int | None = None,
        api_key: str | None = None,
        faults: str | Iterable[Fault] = (),
        seed: int = 0,
        noise: float | None = None,
        oom: bool = True,
        metrics_lag_seconds: float = 0.0,
        metrics_loss: float = 0.0,
        without: Iterable[str] = (),
        tenant: Tenant | None = None,
        restart_seconds: float | None = None,
        keep_alive_on_engine_death: bool = False,
        keep_alive_seconds: float = 5.0,
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"unknown preset «{preset}»; known: {', '.join(PRESETS)}")
        changes: dict[str, Any] = {"max_num_seqs": max_num_seqs, "kv_tokens": kv_tokens, "noise": noise}
        physics = dataclasses.replace(
            PRESETS[preset], **{key: value for key, value in changes.items() if value is not None}
        )
        self.physics = physics if oom else dataclasses.replace(physics, oom_probability=0.0)
        if max_model_len > self.physics.kv_tokens:
            raise ValueError(
                f"max_model_len {max_model_len} needs more cache than the {self.physics.kv_tokens} tokens there are"
            )
        self.model = model or f"simulated-vllm/{preset}"
        self.time_scale = time_scale
        self.max_model_len = max_model_len
        self.max_num_queued_reqs = max_num_queued_reqs
        self.max_num_queued_tokens = max_num_queued_tokens
        self.api_key = api_key
        self.keep_alive_on_engine_death = keep_alive_on_engine_death
        self.restart_seconds = restart_seconds
        self.state: State = "down"
        self.stats = Stats()
        self.faults = FaultPlan(parse_faults(faults) if isinstance(faults, str) else list(faults), seed=seed)
        self.asked: deque[ChatRequest] = deque(maxlen=ASKED_KEPT)  # what was asked lately, faults of transport aside
        self.exited = asyncio.Event()  # the process would have ended now, and nothing restarts it
        self.http = HttpServer(
            self._handle, host=host, port=port, on_head=self._watch, keep_alive_seconds=keep_alive_seconds
        )
        self._seed = seed
        self._tenant = tenant
        self._metrics_lag_seconds = metrics_lag_seconds
        self._metrics_loss = metrics_loss
        self._metrics_random = random.Random(seed)
        self._last_scrape: tuple[float, bytes] | None = None
        self._routes = _without(self._all_routes(), without)
        self._host: EngineHost | None = None
        self._metrics = Metrics(model=self.model, created=time.time())
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.http.listen()
        self._host = EngineHost(
            self.physics,
            seed=self._seed,
            time_scale=self.time_scale,
            on_finish=self._generation_finished,
            on_crash=self.crash,
            tenant=self._tenant,
        )
        self.state = "up"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        await self.http.close()
        await self._engine_host.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.state = "down"

    @property
    def root_url(self) -> str:
        host = f"[{self.http.host}]" if ":" in self.http.host else self.http.host
        return f"http://{host}:{self.http.port}"

    @property
    def base_url(self) -> str:
        """What a client is configured with: ends in /v1."""
        return f"{self.root_url}/v1"

    @property
    def frozen(self) -> bool:
        return self._engine_host.frozen

    @property
    def engine(self) -> Any:
        """The engine's present state: running, waiting, kv_usage, counters."""
        return self._engine_host.engine

    # what can happen to a server

    def crash(self, seconds: float = CRASH_SECONDS) -> None:
        """The process dies: every connection is reset, new ones are refused for `seconds`, then it is back, cold."""
        _log.warning("simulated crash: refusing connections for %.1f simulated seconds", seconds)
        self._go_down()
        self._restart_after(seconds)

    def kill_engine(self) -> None:
        """The engine process dies under the API server, which tells those in flight and soon exits."""
        self.state = "dead"
        busy = self.stats.in_flight > 0
        self._later(_DEATH_NOTICE_SECONDS, self._engine_host.fail_all)
        self._engine_host.freeze()
        if not self.keep_alive_on_engine_death:
            self._later(_EXIT_SECONDS["busy" if busy else "idle"], self._exit)

    def freeze(self) -> None:
        """The engine stands still: health is fine, gauges keep their value, no token comes."""
        self._engine_host.freeze()

    def thaw(self) -> None:
        self._engine_host.thaw()

    def drain(self) -> None:
        """As after SIGTERM with a shutdown timeout: those in flight finish, new ones get a 500, health stays 200."""
        self.state = "draining"

    def undrain(self) -> None:
        if self.state == "draining":
            self.state = "up"

    def stop_listening(self) -> None:
        """As after a plain SIGTERM: the port refuses, and those in flight hang without a byte."""
        self.http.refuse()
        self.http.close_idle()
        self._engine_host.freeze()

    async def restart(self) -> None:
        """Back up with a cold cache and counters at zero; what the referee saw is kept."""
        self._engine_host.renew()
        self._metrics = Metrics(model=self.model, created=time.time())
        self._last_scrape = None
        self.exited.clear()
        await self.http.listen()
        self.state = "up"

    def slow_down(self, factor: float) -> None:
        """Every step takes `factor` times as long from the next one on."""
        self.engine.slow = factor

    def snapshot(self, *, window_seconds: float = 60.0, last: int = 1_000) -> dict[str, Any]:
        """What the referee and the engine know, ready for JSON."""
        engine = self.engine
        return {
            **self.stats.snapshot(window_seconds=window_seconds, last=last),
            "simulated": f"simulated-vllm {__version__}",
            "state": "frozen" if self.frozen and self.state == "up" else self.state,
            "time_scale": self.time_scale,
            "faults": [dataclasses.asdict(fault) for fault in self.faults.faults],
            "injected": dict(self.faults.injected),
            "engine": {
                "running": len(engine.running),
                "waiting": len(engine.waiting),
                "kv_usage": round(engine.kv_usage, 4),
                **dataclasses.asdict(engine.counters),
            },
        }

    # lifecycle

    @property
    def _engine_host(self) -> EngineHost:
        assert self._host is not None, "the server is used before `async with`"
        return self._host

    def _go_down(self) -> None:
        self.state = "down"
        self.http.refuse()
        self.http.reset_all()
        self._engine_host.renew()

    def _exit(self) -> None:
        self._go_down()
        if self.restart_seconds is not None:
            self._restart_after(self.restart_seconds)
        else:
            self.exited.set()

    def _restart_after(self, seconds: float) -> None:
        def begin() -> None:
            task = asyncio.get_running_loop().create_task(self.restart())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._later(seconds, begin)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > self._now()]
        self._timers.append(self._engine_host.call_later(seconds, call))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _generation_finished(self, generation: Generation) -> None:
        self._metrics.job_finished(generation.job, generation.finish_reason)

    # requests

    def _watch(self, exchange: Exchange) -> None:
        """Called with a request's head: chat requests are the referee's business from their first byte on."""
        if exchange.method == "POST" and exchange.path == _CHAT:
            watched = self.stats.arrived(exchange.first_byte_at, exchange.peer)
            exchange.on_end = lambda ended: self._watched_end(watched, ended)

    def _watched_end(self, watched: Watched, exchange: Exchange) -> None:
        outcome = "answered" if exchange.completed else "disconnected"
        self.stats.ended(watched, self._now(), status=exchange.status, outcome=outcome)

    async def _handle(self, exchange: Exchange) -> None:
        methods = self._routes.get(exchange.path)
        if methods is None:
            await exchange.respond(404, dump({"detail": "Not Found"}))
            return
        handler = methods.get(exchange.method)
        if handler is None:
            allow = {"allow": ", ".join(sorted(methods))}
            await exchange.respond(405, dump({"detail": "Method Not Allowed"}), headers=allow)
            return
        try:
            if exchange.path.startswith("/v1/"):
                self._check_key(exchange)
            await handler(exchange)
        except ApiError as error:
            await exchange.respond(error.status, dump(error.body()))

    def _all_routes(self) -> dict[str, dict[str, Callable[[Exchange], Awaitable[None]]]]:
        return {
            _CHAT: {"POST": self._chat},
            "/v1/models": {"GET": self._models},
            "/tokenize": {"POST": self._tokenize},
            "/health": {"GET": self._health},
            "/ping": {"GET": self._health, "POST": self._health},
            "/metrics": {"GET": self._metrics_page},
            "/load": {"GET": self._load},
            "/version": {"GET": self._version},
            "/_stats": {"GET": self._stats},
            "/_control": {"POST": self._control},
        }

    def _check_key(self, exchange: Exchange) -> None:
        if self.api_key and exchange.headers.get("authorization") != f"Bearer {self.api_key}":
            raise known_error("401")

    async def _chat(self, exchange: Exchange) -> None:
        fault = self.faults.draw()
        if fault is not None and await spoil(exchange, fault, host=self._engine_host):
            return
        if self.state == "dead":
            raise known_error("dead")
        if self.state == "draining":
            raise known_error("shutdown")
        body = parse_json(exchange.body)
        request = parse_chat(body, max_model_len=self.max_model_len)
        check_model(request.model, self.model)
        self.asked.append(request)
        await answer_chat(
            exchange,
            request,
            host=self._engine_host,
            model=self.model,
            max_model_len=self.max_model_len,
            fault=fault,
            admit=self._admit,
        )

    def _admit(self, prompt_tokens: int) -> None:
        engine = self.engine
        limit = self.max_num_queued_reqs
        if limit is not None and len(engine.waiting) + len(engine.running) >= limit:
            self._metrics.rejected["num_queued_reqs"] += 1
            raise known_error("503")
        limit = self.max_num_queued_tokens
        if limit is not None:
            jobs = (*engine.waiting, *engine.running)
            backlog = sum(max(0, job.target - job.computed) for job in jobs)
            if backlog and backlog + prompt_tokens > limit:
                self._metrics.rejected["num_queued_tokens"] += 1
                raise known_error("backlog")

    async def _models(self, exchange: Exchange) -> None:
        card = {
            "id": self.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": self.model,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }
        await exchange.respond(200, dump({"object": "list", "data": [card]}))

    async def _tokenize(self, exchange: Exchange) -> None:
        body = parse_json(exchange.body)
        check_model(body.get("model"), self.model)
        if "messages" in body:
            text = chat_prompt(parse_messages(body["messages"]))
        elif isinstance(body.get("prompt"), str):
            text = body["prompt"]
        else:
            raise ApiError(400, "1 validation error:\n  a prompt or messages are needed", kind="Bad Request")
        tokens = token_ids(tokenize(text))
        answer = {"count": len(tokens), "max_model_len": self.max_model_len, "tokens": tokens, "token_strs": None}
        await exchange.respond(200, dump(answer))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(503 if self.state == "dead" else 200, content_type=None)

    async def _metrics_page(self, exchange: Exchange) -> None:
        if self._metrics_random.random() < self._metrics_loss:
            exchange.reset()
            return
        now = self._engine_host.now()
        if self._last_scrape is None or now - self._last_scrape[0] >= self._metrics_lag_seconds:
            self._last_scrape = (now, self._metrics.render(self.engine))
        await exchange.respond(200, self._last_scrape[1], content_type="text/plain; version=1.0.0; charset=utf-8")

    async def _load(self, exchange: Exchange) -> None:
        await exchange.respond(200, dump({"server_load": self.stats.in_flight}))

    async def _version(self, exchange: Exchange) -> None:
        await exchange.respond(200, dump({"version": f"0.32.0+simulated.{__version__}"}))

    async def _stats(self, exchange: Exchange) -> None:
        try:
            window = float(exchange.query.get("window", "60"))
            last = int(exchange.query.get("last", "1000"))
        except ValueError:
            raise ApiError(400, "window and last are numbers", param="window") from None
        await exchange.respond(200, dump(self.snapshot(window_seconds=window, last=max(1, last))))

    async def _control(self, exchange: Exchange) -> None:
        await control(exchange, self)


def _without(
    routes: Mapping[str, dict[str, Callable[[Exchange], Awaitable[None]]]], names: Iterable[str]
) -> dict[str, dict[str, Callable[[Exchange], Awaitable[None]]]]:
    """The routes of a server that lacks some, named by path or by its last part (`tokenize`)."""
    lacking = set(names)
    known = {path.rsplit("/", 1)[-1] for path in routes} | set(routes)
    if lacking - known:
        raise ValueError(f"no such path to leave out: {', '.join(sorted(lacking - known))}")
    return {path: route for path, route in routes.items() if not {path, path.rsplit("/", 1)[-1]} & lacking}


if __name__ == "__main__":
    from scraper.testing.vllm_command import main

    main()
