"""`throttle`: look at the throttle of the model server while it works, and change it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from scraper.commands import read_settings
from scraper.credentials import without_credentials
from scraper.event_loop import run
from scraper.host import parent_in_group, pid_namespace

Order = Callable[[str, Path], Coroutine[Any, Any, dict[str, Any]]]
"""What to ask the throttle of (endpoint, RUN_DIR)."""


class _Number(click.FloatRange):
    """«nan» is within every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


_as_json = click.option("--json", "as_json", is_flag=True, help="For a program to read.")


@click.group("throttle", invoke_without_command=True, short_help="See what the throttle does, and change it at work.")
@click.pass_context
def command(context: click.Context) -> None:
    """Look at the throttle of the model server, and change it while it works. Shows it without a command.

    All processes of this host that use VLLM_BASE_URL and RUN_DIR share it; an order holds for all of them at once.
    What is set here holds until `reset`, or until all of them have left.

    \b
    Examples:
      scraper throttle
      scraper throttle set --max-concurrent 1 --requests-per-minute 10
      scraper throttle pause --seconds 600
      scraper throttle show --json | jq .circuit.state
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@command.command("show", short_help="Who is in flight, who waits, and for what.")
@_as_json
def show(*, as_json: bool) -> None:
    """Who is in flight, who waits, what holds them back, and which processes share it.

    \b
    Example:
      scraper throttle show
    """
    from scraper.throttle import operations

    _obey(operations.show, as_json=as_json)


@command.command("set", short_help="Set other limits, at once and for all processes.")
@click.option("--max-concurrent", type=click.IntRange(1, 1024), help="Requests in flight.")
@click.option("--requests-per-minute", type=_Number(1, 60_000), help="Starts in any 60 s, evenly spaced.")
@_as_json
def set_(*, max_concurrent: int | None, requests_per_minute: float | None, as_json: bool) -> None:
    """Set limits instead of those in the settings, at once and for all processes.

    Lowering revokes nothing that is in flight; nothing more starts until it fits.

    \b
    Examples:
      scraper throttle set --requests-per-minute 6
      scraper throttle set --max-concurrent 4 --requests-per-minute 40
    """
    from scraper.throttle import operations

    if max_concurrent is None and requests_per_minute is None:
        raise click.UsageError("set what? --max-concurrent, --requests-per-minute, or both")
    _obey(
        lambda endpoint, run_dir: operations.set_limits(
            endpoint, run_dir, max_concurrent=max_concurrent, requests_per_minute=requests_per_minute
        ),
        as_json=as_json,
    )


@command.command("reset", short_help="Back to the limits in the settings.")
@_as_json
def reset(*, as_json: bool) -> None:
    """Back to the limits in the settings.

    \b
    Example:
      scraper throttle reset
    """
    from scraper.throttle import operations

    _obey(operations.reset_limits, as_json=as_json)


@command.command("pause", short_help="Start nothing more, until resume or for so long.")
@click.option("--seconds", type=_Number(0, 86_400, min_open=True), help="How long; until `resume` without.")
@_as_json
def pause(*, seconds: float | None, as_json: bool) -> None:
    """Start nothing more; what is in flight goes on, and tasks in hand are held. A longer pause is not shortened.

    \b
    Example:
      scraper throttle pause --seconds 600
    """
    from scraper.throttle import operations

    _obey(lambda endpoint, run_dir: operations.pause(endpoint, run_dir, seconds=seconds), as_json=as_json)


@command.command("resume", short_help="End a pause, also one that the server asked for.")
@_as_json
def resume(*, as_json: bool) -> None:
    """End a pause, also one that the model server asked for.

    \b
    Example:
      scraper throttle resume
    """
    from scraper.throttle import operations

    _obey(operations.resume, as_json=as_json)


@command.command("open", short_help="Open the circuit: leave the model server alone.")
@_as_json
def open_(*, as_json: bool) -> None:
    """Open the circuit: leave the model server alone for VLLM_CIRCUIT_BREAKER_TIMEOUT, then let one request try.

    \b
    Example:
      scraper throttle open
    """
    from scraper.throttle import operations

    _obey(operations.open_circuit, as_json=as_json)


@command.command("close", short_help="Close the circuit: go on at once.")
@_as_json
def close(*, as_json: bool) -> None:
    """Close the circuit: the model server is well again, go on at once.

    \b
    Example:
      scraper throttle close
    """
    from scraper.throttle import operations

    _obey(operations.close_circuit, as_json=as_json)


def _obey(order: Order, *, as_json: bool) -> None:
    """Carry out an order and show the throttle as it is then."""
    settings = read_settings()
    status = run(order(settings.vllm_base_url, settings.run_dir))
    status["supervisors"] = _supervisors(status)
    where = {"endpoint": without_credentials(settings.vllm_base_url), "run_dir": str(settings.run_dir)}
    if as_json:
        click.echo(json.dumps(where | status))
        return
    from scraper.observability.throttle_report import lines

    click.echo(f"{'endpoint':<12}{where['endpoint']}   RUN_DIR={where['run_dir']}")
    for line in lines(status):
        click.echo(line)


def _supervisors(status: dict[str, Any]) -> list[int]:
    """Whom SIGHUP is for: the parents of those that take tasks, as far as they are visible from here."""
    if status["host_pids"] != pid_namespace():
        return []
    workers = [process["pid"] for process in status["processes"] if process["consumers"]]
    return sorted({parent for pid in workers if (parent := parent_in_group(pid))})
