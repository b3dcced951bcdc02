"""`dashboard`: the status page of all workers of this host."""

from __future__ import annotations

import signal
import sys

import click

from scraper.commands import read_settings
from scraper.config import Settings
from scraper.event_loop import run

DEFAULT_PORT = 8080


@click.command("dashboard", short_help="Serve the status page for all workers of this host.")
@click.option("--host", help="Address to listen on; HTTP_HOST if not given.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"HTTP_PORT if not given, or {DEFAULT_PORT}; 0 takes a free one."
)
def command(*, host: str | None, port: int | None) -> None:
    """Serve the status page for all workers of this host (same VLLM_BASE_URL and RUN_DIR).

    It shows live what they do and what limits them. With DASHBOARD_TOKEN set, whoever knows it can pause, resume,
    change limits and replay parked tasks from there. Listens on this machine alone unless told otherwise.

    \b
    Examples:
      scraper dashboard
      DASHBOARD_TOKEN=secret scraper dashboard --port 8088
    """
    settings = read_settings()
    run(serve(settings, host or settings.http_host, (settings.http_port or DEFAULT_PORT) if port is None else port))


async def serve(settings: Settings, host: str, port: int) -> None:
    """Until a signal says stop."""
    from scraper.commands.attached import Attachment
    from scraper.commands.serving import HostSource, status_app
    from scraper.lifeline import Stop
    from scraper.observability.logs import log_events
    from scraper.observability.web.serving import CannotListen, listen, serving

    observe = log_events(level=settings.log_level, style=settings.log_format)
    stop = Stop()
    stop.on_signals(signal.SIGINT, signal.SIGTERM)
    try:
        listening = listen(host, port)
    except CannotListen as error:
        click.echo(f"{error}: choose another with --port or HTTP_PORT", err=True)
        sys.exit(1)
    async with (
        Attachment(settings) as attachment,
        HostSource(settings, attachment.picture, observe=observe) as source,
        serving(status_app(settings, source), listening),
    ):
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"http://{shown}:{listening.getsockname()[1]}/", err=True)
        await stop.drain.wait()
