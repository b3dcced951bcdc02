"""The composition root: with `commands`, the only place that knows concrete classes. Settings in, running things out.

Imports stand inside the functions that need them: a worker pays in memory only for what it runs.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scraper.config import Settings, sqlite_path
from scraper.credentials import without_credentials
from scraper.errors import Misconfigured
from scraper.events import Event, Observe, WorkerStarted, WorkerStopped
from scraper.lean_imports import started
from scraper.lifeline import Stop, lifeline, pass_hangup_on
from scraper.models import Result, Task
from scraper.observability.logs import log_events
from scraper.observability.tally import Tally
from scraper.ports import Answers, Broker, Message, Pruner, Workbench
from scraper.trace import Record
from scraper.worker import Limits, Worker

if TYPE_CHECKING:
    from scraper.llm_client import LLMClient
    from scraper.observability.traces import Traces
    from scraper.pipeline import PagePipeline
    from scraper.sqlite_thread import SqliteThread
    from scraper.store.sqlite import SqliteStore
    from scraper.throttle.seam import Throttle
    from scraper.throttle.shared_limiter import SharedRateLimiter

T = TypeVar("T")


def open_broker(settings: Settings, *, observe: Observe, thread: SqliteThread | None = None) -> Broker:
    """`thread`: of the results, where the queue is in their file."""
    if settings.broker_url.startswith("sqlite"):
        from scraper.broker.sqlite import SqliteBroker

        return SqliteBroker(
            sqlite_path(settings.broker_url),
            namespace=settings.queue_namespace,
            prefetch_count=settings.prefetch_count,
            observe=observe,
            thread=thread,
        )
    from scraper.broker.rabbitmq import RabbitMQBroker

    return RabbitMQBroker(
        settings.broker_urls,
        namespace=settings.queue_namespace,
        prefetch_count=settings.prefetch_count,
        heartbeat_seconds=settings.broker_heartbeat,
        results_queue=settings.results_queue,
        observe=observe,
    )


def open_store(settings: Settings, *, create: bool = True, acks_follow: bool = False) -> SqliteStore:
    """With `create` off a mistyped RESULTS_URL is refused instead of looking like an empty store."""
    from scraper.store.sqlite import SqliteStore

    path = sqlite_path(settings.results_url)
    return SqliteStore(path, keep_pages=settings.keep_pages, create=create, acks_follow=acks_follow)


def open_workbench(settings: Settings) -> Workbench:
    """What is parked in the results store, for its owner."""
    from scraper.store.sqlite_workbench import SqliteWorkbench

    return SqliteWorkbench(sqlite_path(settings.results_url))


def open_pruner(settings: Settings) -> Pruner:
    from scraper.store.sqlite_prune import SqlitePruner

    return SqlitePruner(sqlite_path(settings.results_url))


def shared_throttle(settings: Settings, *, observe: Observe) -> SharedRateLimiter:
    """One throttle for every process of this host that uses the model server."""
    from scraper.throttle.circuit_breaker import CircuitBreaker
    from scraper.throttle.shared_limiter import SharedRateLimiter

    return SharedRateLimiter(
        settings.vllm_base_url,
        run_dir=settings.run_dir,
        max_concurrent=settings.vllm_max_concurrent,
        requests_per_minute=settings.vllm_requests_per_minute,
        breaker=CircuitBreaker(
            threshold=settings.vllm_circuit_breaker_threshold,
            timeout_seconds=settings.vllm_circuit_breaker_timeout,
        ),
        observe=observe,
    )


def open_llm_client(settings: Settings, *, throttle: Throttle | None, observe: Observe) -> LLMClient:
    """`throttle` may be missing where nothing is generated."""
    from scraper.llm_client import LLMClient

    return LLMClient(
        settings.vllm_base_url,
        api_key=settings.vllm_api_key.get_secret_value(),
        model=settings.vllm_model,
        timeout_seconds=settings.vllm_timeout,
        max_retries=settings.vllm_max_retries,
        base_backoff_seconds=settings.vllm_base_backoff,
        max_backoff_seconds=settings.vllm_max_backoff,
        temperature=settings.vllm_temperature,
        rate_limiter=throttle,
        observe=observe,
    )


@asynccontextmanager
async def open_pipeline(
    settings: Settings, *, throttle: Throttle, answers: Answers, observe: Observe
) -> AsyncIterator[PagePipeline]:
    from scraper.pipeline import Extract, PagePipeline
    from scraper.pipeline.answer_once import AnswerOnce
    from scraper.pipeline.extract import Extractor
    from scraper.pipeline.fetch import Fetcher
    from scraper.pipeline.isolation import Cleaner

    async with AsyncExitStack() as stack:
        fetcher = await stack.enter_async_context(
            Fetcher(
                timeout_seconds=settings.fetch_timeout,
                max_bytes=settings.fetch_max_bytes,
                delay_seconds=settings.fetch_delay,
                user_agent=settings.user_agent,
                obey_robots=settings.robots,
                allow_private_addresses=settings.allow_private_addresses,
                run_dir=settings.run_dir,
            )
        )
        client = await stack.enter_async_context(open_llm_client(settings, throttle=throttle, observe=observe))
        extract: Extract = Extractor(
            client,
            max_tokens=settings.vllm_max_tokens,
            context_tokens=settings.vllm_context_tokens,
            attempt_seconds=settings.vllm_timeout,
            repair_rounds=settings.repair_rounds,
            max_calls=settings.max_calls_per_task,
            structured_data=settings.structured_data,
            grounding=settings.grounding,
            observe=observe,
        )
        if settings.cache:
            asked_with = settings.model_dump(mode="json", include=DECIDES_THE_ANSWER)
            extract = AnswerOnce(extract, answers=answers, model_name=client.model_name, asked_with=asked_with)
        clean = await stack.enter_async_context(Cleaner(read_data=settings.structured_data != "off"))
        yield PagePipeline(decode=task_decoder(settings), fetch=fetcher, clean=clean, extract=extract)


DECIDES_THE_ANSWER = {"vllm_temperature", "vllm_max_tokens", "vllm_context_tokens", "structured_data", "grounding"}
"""Settings with which the same page may get another answer."""


def task_decoder(settings: Settings) -> Callable[[bytes], Task]:
    from scraper.pipeline.task import decode
    from scraper.schemas import named_schema

    return partial(
        decode, named_schema=partial(named_schema, folder=settings.schemas_dir), max_bytes=settings.task_max_bytes
    )


async def work(settings: Settings) -> None:
    """One worker process, until its supervisor or a signal says stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group; the supervisor passes it on
    pass_hangup_on()
    tally = Tally()
    log = log_events(level=settings.log_level, style=settings.log_format)

    def observe(event: Event) -> None:
        tally.add(event)
        tally.remember(event)
        log(event)

    stop = Stop()
    stop.on_signals(signal.SIGTERM)
    throttle = shared_throttle(settings, observe=observe)
    worker: Worker | None = None

    def tell() -> bytes:
        tally.in_hand = worker.in_hand if worker is not None else 0
        return tally.to_line()

    async with lifeline(stop, tell=tell, set_limits=throttle.set_limits) as tell_ready, AsyncExitStack() as stack:
        opening = _open_worker(settings, stack, throttle=throttle, away=tally.away, observe=observe)
        worker = await _unless(stop, opening)
        if worker is not None:
            started()
            tell_ready()
            observe(_started(settings))
            await worker.run(stop.drain, stop.now)
    observe(WorkerStopped("now" if stop.now.is_set() else "drained", tally.outcomes["done"], tally.outcomes["park"]))


async def _open_worker(
    settings: Settings, stack: AsyncExitStack, *, throttle: SharedRateLimiter, away: Mapping[str, str], observe: Observe
) -> Worker:
    """A worker with everything it needs, to be closed by `stack`. Waits for a store or a broker that is away.

    `away`: what it waits for, as `observe` has heard.
    """
    from scraper.census import count_consumers
    from scraper.patience import until_available

    one_file = in_one_file(settings)
    store = await until_available(
        "store",
        lambda: stack.enter_async_context(open_store(settings, acks_follow=one_file)),
        observe=observe,
    )
    thread = store.thread if one_file else None
    broker = await stack.enter_async_context(open_broker(settings, observe=observe, thread=thread))
    await stack.enter_async_context(throttle)
    pipeline = await stack.enter_async_context(
        open_pipeline(settings, throttle=throttle, answers=store.answers, observe=observe)
    )
    consumers = settings.concurrent_consumers_per_worker
    say = partial(throttle.takes, settings.queue_namespace, consumers=consumers)
    stack.push_async_callback(ended, asyncio.create_task(count_consumers(broker, say=say)))
    return Worker(
        pipeline,
        broker=broker,
        store=store,
        consumers=consumers,
        limits=_limits(settings),
        publish_result=_to_results_queue(broker) if settings.results_queue else None,
        record=_records(settings, stack, observe=observe),
        model_away=lambda: throttle.blocked_by in {"circuit", "server_pause"},
        store_away=lambda: "store" in away,
        observe=observe,
    )


def in_one_file(settings: Settings) -> bool:
    """Whether queue and results are."""
    queue, results = settings.broker_url, settings.results_url
    return queue.startswith("sqlite") and sqlite_path(queue).resolve() == sqlite_path(results).resolve()


def _records(settings: Settings, stack: AsyncExitStack, *, observe: Observe) -> list[Callable[[Message], Record]]:
    """Who is told the steps of every delivery; usually nobody."""
    found: list[Callable[[Message], Record]] = []
    if settings.log_level == "debug":
        from scraper.observability.step_lines import StepLines

        found.append(lambda _: StepLines(observe))
    if settings.traces:
        found.append(open_traces(stack).record)
    return found


def open_traces(stack: AsyncExitStack) -> Traces:
    """OpenTelemetry, as its own OTEL_* variables say; closed, and sent to the end, by `stack`."""
    try:
        from scraper.observability.traces import exporting
    except ImportError as error:
        raise Misconfigured(
            f"TRACES=on needs more packages: pip install -e '.[otel]' where scraper lies ({error.name} is missing)"
        ) from None
    traces = exporting()
    stack.callback(traces.close)
    return traces


async def _unless(stop: Stop, opening: Coroutine[Any, Any, T]) -> T | None:
    """What `opening` gives, or None where it was told to stop first: a broker may be away for days."""
    task = asyncio.create_task(opening)
    stopped = asyncio.create_task(stop.drain.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(stopped)
        await ended(task)
    return None if task.cancelled() else task.result()


def _to_results_queue(broker: Broker) -> Callable[[Result], Awaitable[None]]:
    from scraper.broker.rabbitmq import RabbitMQBroker
    from scraper.export import as_line

    assert isinstance(broker, RabbitMQBroker)  # Settings refuse a results queue of any other
    return lambda result: broker.publish_result(as_line(result))


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_attempts=settings.max_attempts,
        task_deadline_seconds=settings.task_deadline,
        hold_limit_seconds=settings.hold_limit,
        drain_seconds=settings.drain_seconds,
    )


def _started(settings: Settings) -> WorkerStarted:
    return WorkerStarted(
        consumers=settings.concurrent_consumers_per_worker,
        broker=without_credentials(settings.broker_url),
        model_server=without_credentials(settings.vllm_base_url),
        max_concurrent=settings.vllm_max_concurrent,
        requests_per_minute=settings.vllm_requests_per_minute,
    )


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel `task` unless it has ended; its error, if it met one, is the run's. Whoever is cancelled here stays so."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
