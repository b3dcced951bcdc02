"""The command line of the simulated site."""

from __future__ import annotations

import asyncio
import signal

import click

from scraper.testing.site import SimulatedSite

_HELP = """A simulated web site to fetch pages from: thousands of good ones, and every kind of trouble.

Prints its URL on standard output once it listens; GET / lists what there is.

\b
Examples:
  python -m scraper.testing.site --port 8081
  curl http://127.0.0.1:8081/product/7
  python -m scraper.testing.site --urls product 100 --port 8081 > urls.txt
"""


@click.command(help=_HELP, context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8081, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--delay", default=0.0, type=click.FloatRange(0), help="Seconds before every answer.")
@click.option("--crawl-delay", type=click.FloatRange(0), help="Ask for this in robots.txt, seconds.")
@click.option("--urls", type=(str, click.IntRange(1)), metavar="KIND COUNT", help="Print page addresses and exit.")
def main(host: str, port: int, delay: float, crawl_delay: float | None, urls: tuple[str, int] | None) -> None:
    if urls is not None:
        kind, count = urls
        click.echo("\n".join(f"http://{host}:{port}/{kind}/{number}" for number in range(1, count + 1)))
        return
    try:
        asyncio.run(_serve(SimulatedSite(host=host, port=port, delay_seconds=delay, crawl_delay_seconds=crawl_delay)))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror or error}; --port 0 takes a free port"
        ) from error


async def _serve(site: SimulatedSite) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with site:
        click.echo(site.url())
        await stop.wait()
