"""`check`: is everything reachable and sanely set?"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from scraper.commands import read_settings
from scraper.commands.reaching import reach_broker
from scraper.config import ENV_FILE, Settings, surprises
from scraper.credentials import without_credentials
from scraper.event_loop import run
from scraper.events import ignore
from scraper.terminal_text import in_one_line

if TYPE_CHECKING:
    from scraper.check import Finding


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def command(*, as_json: bool) -> None:
    """Is everything reachable and sanely set? Exit code 1 if not.

    \b
    Example:
      scraper check
    """
    findings = run(look_at_everything(read_settings()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            click.echo(in_one_line(f"{_MARKS[finding.verdict]} {finding.what}: {finding.message}"))
    sys.exit(1 if any(finding.verdict == "failed" for finding in findings) else 0)


_MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


async def look_at_everything(settings: Settings) -> list[Finding]:
    """Look at everything the settings name; queues and files that are missing are made, nothing else changes."""
    from scraper.app import open_llm_client, open_store
    from scraper.check import Finding, look, throttled_elsewhere
    from scraper.observability.view import number_of
    from scraper.throttle import operations
    from scraper.throttle.run_dir import MeetingPlace, try_out

    counted: int | None = None
    known: int | None = None

    async def broker() -> str:
        nonlocal counted
        async with AsyncExitStack() as stack:
            depth = await (await reach_broker(settings, stack, observe=ignore)).depth()
            counted = depth.consumers
        where = without_credentials(settings.broker_url)
        consumers = number_of("consumer", depth.consumers or 0)
        return f"{where}: {number_of('task', depth.tasks)}, {depth.waiting} waiting, {consumers}"

    async def store() -> str:
        async with open_store(settings) as opened:
            counts = await opened.counts()
        return f"{settings.results_url}: {number_of('result', sum(counts.values()))}"

    async def model() -> str:
        async with open_llm_client(settings, throttle=None, observe=ignore) as client:
            served = await client.served_model()
        where, tokens = without_credentials(settings.vllm_base_url), served.max_model_len or "?"
        return f"{in_one_line(served.name, most=200)} at {where}, {tokens} tokens"

    async def meeting_place() -> str:
        nonlocal known
        try_out(MeetingPlace.of(settings.vllm_base_url, settings.run_dir))
        shared = f"{settings.run_dir}: {_SHARING}"
        try:
            status = await operations.show(settings.vllm_base_url, settings.run_dir)
        except operations.NotRunning:
            return f"{shared}; no process throttles the model server at present"
        known = sum(queue["known"] for queue in status["queues"] if queue["queue"] == settings.queue_namespace)
        processes = number_of("process", len(status["processes"]), several="processes")
        return f"{shared}; process {status['host_pid']} hosts the throttle of {processes}"

    is_new = "run_dir" in settings.model_fields_set and not settings.run_dir.exists()
    findings = [
        Finding(str(ENV_FILE), "ok", _where_settings_come_from()),
        await look("BROKER_URL", broker),
        await look("RESULTS_URL", store),
        await look("VLLM_BASE_URL", model),
        await look("RUN_DIR", meeting_place),
    ]
    if is_new and findings[-1].verdict == "ok":
        findings[-1] = Finding("RUN_DIR", "warning", f"{findings[-1].message}. {_IS_NEW}")
    elsewhere = throttled_elsewhere(settings.queue_namespace, counted=counted, known=known)
    findings += [] if elsewhere is None else [elsewhere]
    return findings + [Finding(setting, "warning", message) for setting, message in surprises(settings)]


def _where_settings_come_from() -> str:
    """Whoever stands in another folder than he thinks has the defaults, and no mistake to be told of."""
    if ENV_FILE.is_file():
        return f"read from {ENV_FILE.absolute()}"
    return f"none in {ENV_FILE.absolute().parent}: settings are the environment's and the defaults"


_IS_NEW = "It was not there and has just been made: correct it if others use the model server from another folder"
_SHARING = "processes share the limits if they share this folder; containers mount it and run as the same user"
