"""`run`: the workers under their supervisor, what happens without a command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from scraper.commands import EXIT_INTERRUPTED, read_settings
from scraper.config import Settings, as_environment, load_settings, surprises, taken_over
from scraper.credentials import without_credentials
from scraper.errors import Misconfigured, Unavailable
from scraper.events import (
    Event,
    Observe,
    RunInterrupted,
    SettingsRefused,
    SettingsReread,
    SettingWarning,
    WorkerCannotStart,
    ignore,
)
from scraper.lean_imports import started
from scraper.lifeline import Stop, limits_word

if TYPE_CHECKING:
    from scraper.observability.panel import Panel
    from scraper.observability.picture import Picture
    from scraper.observability.progress import UntilEmpty
    from scraper.observability.view import View
    from scraper.supervisor import Supervisor


@click.command("run")
@click.option("--until-empty", is_flag=True, help="End when no task is left, waiting ones included.")
def command(*, until_empty: bool) -> None:
    """Run the workers (what happens without a command).

    The first ctrl-c or SIGTERM lets them finish what the model works on (DRAIN_SECONDS), the second stops at once.
    With --until-empty the exit code is then 130, and the last words say how many tasks are left; without, it is 0.
    SIGHUP reads .env again: the throttle's limits change at once, the rest is named and waits for a restart.

    \b
    Example:
      WORKERS=2 python -m scraper.main run --until-empty
    """
    from scraper.event_loop import run

    settings = read_settings()
    if not until_empty and _is_for_people(settings):
        _say(_welcome(settings))
    exit_code, last_words = run(supervise(settings, until_empty=until_empty, say=_say))
    if last_words:
        _say(last_words)
    sys.exit(exit_code)


LAST_LOOK_SECONDS = 5.0
"""How long an interrupted run may ask its broker what is left."""


def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads stderr any more: that ends no run
        click.echo(line, err=True)


async def supervise(settings: Settings, *, until_empty: bool, say: Callable[[str], None]) -> tuple[int, str]:
    """The workers under one supervisor, until a signal or, with `until_empty`, until nothing is left to do.

    Returns the exit code and the last words: with `until_empty` the run in one line, and why no worker could be
    started. Where there is no terminal for a panel, `say` gets a line on how far it has come every now and then.
    """
    from scraper.app import ended
    from scraper.observability.picture import Picture
    from scraper.observability.progress import UntilEmpty, summary, what_now
    from scraper.observability.told import telling
    from scraper.observability.watching import watch_throttle
    from scraper.supervisor import Supervisor
    from scraper.throttle import operations
    from scraper.throttle.coordinator import Coordinator

    stop = Stop()
    stop.on_signals(signal.SIGINT, signal.SIGTERM)
    endpoint, run_dir = settings.vllm_base_url, settings.run_dir
    picture, ending = Picture(), UntilEmpty(workers=settings.workers) if until_empty else None
    with _panel(until_empty=until_empty) as panel:
        log = _log(settings, panel)

        def observe(event: Event) -> None:
            picture.hear(event, at=time.time(), pid=os.getpid())
            log(event)
            if ending is not None and isinstance(event, WorkerCannotStart) and event.given_up:
                ending.worker_given_up()

        for setting, message in surprises(settings):
            observe(SettingWarning(setting, message))
        given = as_environment(settings)  # a worker that is started again has the settings of the others
        supervisor = Supervisor(
            [sys.executable, "-P", "-m", "scraper.main", "worker", "--no-env-file"],  # -P: nothing of the folder's
            workers=settings.workers,
            drain_seconds=settings.drain_seconds,
            ends_by_itself=until_empty,
            observe=observe,
            on_status=partial(_take_status, picture, ending),
            on_log=panel.log if panel else None,
            environment=given | _PANEL_ENVIRONMENT if panel else given,
        )

        def reread() -> None:
            nonlocal settings
            settings = read_again(settings, supervisor, observe=observe)

        stop.on_hangup(reread)
        stop.on_interrupt = partial(_interrupted, settings, picture, panel, observe=observe, say=say)
        show = panel.show if panel else _every(PLAIN_LINE_SECONDS, say) if until_empty else _nothing
        async with AsyncExitStack() as stack:
            # this process has nothing else to do, so it is the best home of the throttle; workers only ask
            await stack.enter_async_context(Coordinator(endpoint, run_dir=run_dir, observe=observe))
            await stack.enter_async_context(telling(endpoint, run_dir, picture.plain, observe=observe))
            for watching in (
                watch_throttle(picture, partial(operations.show, endpoint, run_dir), show=show),
                watch(settings, picture, stop, ending=ending, observe=observe),
            ):
                stack.push_async_callback(ended, asyncio.create_task(watching))
            if settings.http_port:
                await stack.enter_async_context(_served(settings, picture, observe=observe))
            started()
            await supervisor.run(stop)
    if supervisor.refused or not until_empty:
        return int(supervisor.refused or bool(supervisor.cannot_start)), supervisor.cannot_start
    total = picture.total()
    last_words = summary(total.outcomes, total.reasons)
    if supervisor.cannot_start:
        return 1, f"{last_words}; {supervisor.cannot_start}"
    if stop.interrupted:
        return EXIT_INTERRUPTED, f"{last_words}; {await _left(settings)}"
    return 0, last_words + what_now(total.outcomes, queue=without_credentials(settings.broker_url))


def _interrupted(
    settings: Settings, picture: Picture, panel: Panel | None, *, observe: Observe, say: Callable[[str], None]
) -> None:
    """Whoever pressed ctrl-c learns what happens now: in the panel, or in a line where lines are for people."""
    from scraper.observability.progress import finishing

    in_hand = picture.total().in_hand
    observe(RunInterrupted(in_hand, settings.drain_seconds))
    text = finishing(in_hand=in_hand, drain_seconds=settings.drain_seconds)
    if panel:
        panel.note(text)
    elif _is_for_people(settings):
        say(text)


def _is_for_people(settings: Settings) -> bool:
    return settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())


def _welcome(settings: Settings) -> str:
    from scraper.observability.progress import welcome

    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return welcome(
        workers=settings.workers,
        consumers=settings.concurrent_consumers_per_worker,
        queue=without_credentials(settings.broker_url),
        model_server=without_credentials(settings.vllm_base_url),
        limits=f"{settings.vllm_max_concurrent} in flight and {settings.vllm_requests_per_minute:g} a minute at most",
        page=f"http://{host}:{settings.http_port}/" if settings.http_port else "",
    )


async def _left(settings: Settings) -> str:
    """What an interrupted run leaves behind, as the broker knows it once its workers have ended."""
    from scraper.app import open_broker
    from scraper.observability.progress import left_behind

    try:
        async with asyncio.timeout(LAST_LOOK_SECONDS), open_broker(settings, observe=ignore) as broker:
            depth = await broker.depth()
    except (Unavailable, Misconfigured, TimeoutError):
        return left_behind(None)
    return left_behind(depth.tasks + depth.parked + depth.waiting + (depth.in_hand or 0))


@asynccontextmanager
async def _served(settings: Settings, picture: Picture, *, observe: Observe) -> AsyncIterator[None]:
    """Metrics, health and the status page of this supervisor's workers."""
    from scraper.commands.serving import HostSource, status_app
    from scraper.observability.web.serving import serving_if_possible

    async def own() -> Picture:
        return picture

    async with HostSource(settings, own, observe=observe) as source:
        app = status_app(settings, source)
        async with serving_if_possible(app, host=settings.http_host, port=settings.http_port, observe=observe):
            yield


def read_again(settings: Settings, supervisor: Supervisor, *, observe: Observe) -> Settings:
    """SIGHUP: the settings in force after `.env` was read again. A mistake in it changes nothing."""
    try:
        read = load_settings()
    except Misconfigured as error:
        observe(SettingsRefused("; ".join(str(error).splitlines())))
        return settings
    settings, changed, for_a_restart = taken_over(settings, read)
    if changed:
        supervisor.change(_limits_word(settings), environment=as_environment(settings, changed))
    observe(SettingsReread(" ".join(f"{name.upper()}={getattr(settings, name):g}" for name in changed)))
    for name in for_a_restart:
        observe(SettingWarning(name.upper(), "has changed, and takes effect at the next start"))
    for setting, message in surprises(settings):
        observe(SettingWarning(setting, message))
    return settings


def _limits_word(settings: Settings) -> bytes:
    return limits_word(
        max_concurrent=settings.vllm_max_concurrent,
        requests_per_minute=settings.vllm_requests_per_minute,
        threshold=settings.vllm_circuit_breaker_threshold,
        timeout_seconds=settings.vllm_circuit_breaker_timeout,
    )


PLAIN_LINE_SECONDS = 10.0
READING_SECONDS = 1.0
QUEUE_SECONDS = 5.0
"""How often the queue is looked at while nobody waits for its end."""
_PANEL_ENVIRONMENT = {"LOG_FORMAT": "pretty", "LOG_LEVEL": "warning"}
"""Under a live panel only what goes wrong is worth a line."""


async def watch(
    settings: Settings, picture: Picture, stop: Stop, *, ending: UntilEmpty | None, observe: Observe
) -> None:
    """Look regularly how many tasks are left; with `ending`, end the run when nothing is."""
    from scraper import app
    from scraper.observability.watching import watch_queue

    clock = asyncio.get_running_loop().time
    while True:
        try:
            await watch_queue(
                lambda: app.open_broker(settings, observe=observe),
                tell=lambda queue: picture.queue_says(queue, at=time.time()),
                in_hand=lambda: picture.total().in_hand,
                seconds=QUEUE_SECONDS if ending is None else READING_SECONDS,
                over=lambda left: ending is not None and ending.over(left=left, now=clock()),
                observe=observe,
            )
        except Misconfigured:  # the workers say it, and end the run unless it has worked for one of them
            await asyncio.sleep(QUEUE_SECONDS)
        else:
            break
    stop.drain.set()


def _panel(*, until_empty: bool) -> AbstractContextManager[Panel | None]:
    if not until_empty or not sys.stderr.isatty():
        return nullcontext()
    from scraper.observability.panel import Panel

    return Panel("scraper")


def _log(settings: Settings, panel: Panel | None) -> Observe:
    """The supervisor's own lines: above the panel where there is one, like its workers'."""
    from scraper.observability.logs import log_events

    if panel is None:
        return log_events(level=settings.log_level, style=settings.log_format)
    return log_events(level="warning", style="pretty", stream=panel.log_stream())


def _nothing(_: View) -> None:
    """Nobody looks."""


def _take_status(picture: Picture, ending: UntilEmpty | None, worker: int, line: bytes) -> None:
    from scraper.observability.tally import Tally

    with suppress(ValueError):  # a line cut off by the death of its worker
        picture.worker_says(worker, Tally.from_line(line), at=time.time())
        if ending is not None:
            ending.worker_said(worker)


def _every(seconds: float, say: Callable[[str], None]) -> Callable[[View], None]:
    from scraper.observability.view import plain_line

    clock = asyncio.get_running_loop().time
    due = clock() + seconds

    def show(view: View) -> None:
        nonlocal due
        if clock() >= due:
            due = clock() + seconds
            say(plain_line(view))

    return show
