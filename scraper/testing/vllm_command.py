"""The command line of the simulated vLLM server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from typing import Any

import click

from scraper import __version__
from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_engine import PRESETS
from scraper.testing.vllm_faults import KINDS, BadFault, Fault, parse_faults
from scraper.testing.vllm_host import Tenant

_FAULTS = "\n".join(f"  {kind:13} {text}" for kind, text in KINDS.items())
_HELP = f"""A simulated vLLM server, to try things without a GPU.

Prints its base URL on standard output once it listens; everything else goes to standard error.
Seconds and rates are simulated: with --time-scale 20 everything is twenty times as fast.

\b
Examples:
  python -m scraper.testing.vllm --port 8000
  python -m scraper.testing.vllm --preset instant --port 0
  python -m scraper.testing.vllm --time-scale 20 --fault 503=0.1,hang=0.02 --seed 7
  python -m scraper.testing.vllm --fault 429=3x:30 --max-num-queued-reqs 8
  curl -d '{{"do": "crash", "seconds": 10}}' http://127.0.0.1:8000/_control
  curl http://127.0.0.1:8000/_stats

\b
Faults (KIND=0.1 share, KIND=3x next three, KIND=on until cleared; each with :SECONDS):
{_FAULTS}

SIGTERM behaves as vLLM's: the port closes and requests in flight hang until their clients leave, or with
--shutdown-timeout finish. SIGINT, or a second SIGTERM, stops at once.
"""


class _Faults(click.ParamType[list[Fault]]):
    name = "fault"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Fault]:
        if isinstance(value, list):
            return value
        try:
            return parse_faults(value)
        except BadFault as error:
            self.fail(str(error), param, ctx)


@click.command(help=_HELP, context_settings={"show_default": True, "max_content_width": 120})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--preset", default="rtx5090-8b", type=click.Choice(sorted(PRESETS)), help="Which GPU and model.")
@click.option("--time-scale", default=1.0, type=click.FloatRange(0, 10_000, min_open=True), help="20: 20 x as fast.")
@click.option("--seed", default=0, help="Of noise and faults.")
@click.option("--served-model-name", "--model", "model", help="Instead of simulated-vllm/PRESET.")
@click.option("--max-model-len", default=16_384, type=click.IntRange(16), help="Context in tokens.")
@click.option("--max-num-seqs", type=click.IntRange(1), help="Requests that run at once; the preset's otherwise.")
@click.option("--kv-tokens", type=click.IntRange(16), help="Size of the KV cache; the preset's otherwise.")
@click.option("--max-num-queued-reqs", type=click.IntRange(0), help="503 when that many wait or run.")
@click.option("--max-num-queued-tokens", type=click.IntRange(0), help="503 when that many tokens wait for prefill.")
@click.option("--api-key", help="Demand this key under /v1.")
@click.option("--fault", "faults", multiple=True, type=_Faults(), help="See above; may be given several times.")
@click.option("--no-oom", is_flag=True, help="Never crash on a full KV cache.")
@click.option("--restart-seconds", type=click.FloatRange(0), help="Come back after the engine died; else exit.")
@click.option("--shutdown-timeout", type=click.FloatRange(0), help="Real seconds for those in flight after SIGTERM.")
@click.option("--metrics-lag", default=0.0, type=click.FloatRange(0), help="Seconds that /metrics lags behind.")
@click.option("--metrics-loss", default=0.0, type=click.FloatRange(0, 1), help="Share of scrapes that are reset.")
@click.option("--without", multiple=True, help="Leave a path out, for example tokenize.")
@click.option("--tenant", default=0.0, type=click.FloatRange(0), help="Somebody else's requests per minute.")
@click.version_option(__version__, message="simulated-vllm %(version)s")
def main(
    *, faults: tuple[list[Fault], ...], no_oom: bool, shutdown_timeout: float | None, tenant: float, **settings: Any
) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="simulated-vllm: %(message)s")
    settings["metrics_lag_seconds"] = settings.pop("metrics_lag")
    settings["faults"] = [fault for group in faults for fault in group]
    settings["oom"] = not no_oom
    settings["tenant"] = Tenant(tenant) if tenant else None
    try:
        code = asyncio.run(_serve(shutdown_timeout, settings))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {settings['host']}:{settings['port']}: {error.strerror or error}; "
            "--port 0 takes a free port"
        ) from error
    sys.exit(code)


async def _serve(shutdown_timeout: float | None, settings: dict[str, Any]) -> int:
    loop = asyncio.get_running_loop()
    terminate, stop = asyncio.Event(), asyncio.Event()

    def on_terminate() -> None:
        (stop if terminate.is_set() else terminate).set()

    loop.add_signal_handler(signal.SIGTERM, on_terminate)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    async with SimulatedVLLM(**settings) as server:
        click.echo(server.base_url)
        logging.getLogger(__name__).info(
            "%s serves %s, %g x real time", server.base_url, server.model, server.time_scale
        )
        ends = [asyncio.ensure_future(event.wait()) for event in (terminate, stop, server.exited)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if terminate.is_set() and not stop.is_set():
            await _shut_down(server, shutdown_timeout, stop)
        for end in ends:
            end.cancel()
        return 1 if server.exited.is_set() else 0


async def _shut_down(server: SimulatedVLLM, shutdown_timeout: float | None, stop: asyncio.Event) -> None:
    if shutdown_timeout is None:
        server.stop_listening()
    else:
        server.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(shutdown_timeout):
            while server.stats.in_flight and not stop.is_set():  # noqa: ASYNC110 - clients leave without an event
                await asyncio.sleep(0.05)
