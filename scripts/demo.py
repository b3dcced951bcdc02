#!/usr/bin/env python3
"""The whole path in under two minutes: submit pages, run the workers, look at the results.

Without settings everything is simulated and local: a web site, a vLLM server with the physics of one RTX 5090, and
the queue in a file. With VLLM_BASE_URL or BROKER_URL in the environment, yours are used instead. No `.env` is read.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "data" / "demo"
TASKS = 24
SHOWN = 8
LONGEST = 90
TROUBLE = ("/status/404", "/type/pdf", "/redirect-loop", "/private/1", "/flaky/1")
LIMITS = {"VLLM_MAX_CONCURRENT": "2", "VLLM_REQUESTS_PER_MINUTE": "60", "FETCH_DELAY": "0.2"}
SCRAPER = [sys.executable, "-m", "scraper.main"]

console = Console()


def main() -> int:
    """Run it; 0 if every task ended as a result or parked with its reason."""
    with ExitStack() as stack:
        site = stack.enter_context(simulated("scraper.testing.site"))
        model = os.environ.get("VLLM_BASE_URL") or stack.enter_context(simulated("scraper.testing.vllm")) + "/v1"
        environment = _environment(model)
        console.rule("scraper demo")
        own = "VLLM_BASE_URL" in os.environ
        console.print(f"pages   {site} (simulated)")
        console.print(f"model   {model}" + (" (simulated; VLLM_BASE_URL takes yours)" if not own else ""))
        console.print(f"queue   {environment['BROKER_URL']}" + _hint("BROKER_URL"))
        console.print("limits  " + ", ".join(f"{name}={environment[name]}" for name in LIMITS))
        urls = FOLDER / "urls.txt"
        urls.write_text("".join(f"{url}\n" for url in _urls(site)))
        _step(["submit", "--schema", "product", str(urls)], environment)
        started = time.monotonic()
        _step(["run", "--until-empty"], environment)
        seconds = time.monotonic() - started
        results = FOLDER / "results.jsonl"
        _step(["export", "-o", str(results)], environment)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    parked = [row for row in rows if row["status"] == "parked"]
    done = len(rows) - len(parked)
    console.print(f"\nthe first {SHOWN} of {done} that are done, and all that are parked:")
    console.print(_table([row for row in rows if row["status"] == "done"][:SHOWN] + parked))
    console.print(f"{len(rows)} tasks: {done} done, {len(parked)} parked, in {seconds:.0f} s. All of them: {results}")
    return 0 if len(rows) == TASKS else 1


def _environment(model: str) -> dict[str, str]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for left_over in FOLDER.glob("*.db*"):
        left_over.unlink()
    own = {
        "BROKER_URL": f"sqlite:///{FOLDER / 'demo.db'}",
        "LOG_LEVEL": "warning",
        "QUEUE_NAMESPACE": "scraper-demo",
        "RUN_DIR": str(FOLDER / "run"),
        **LIMITS,
    }
    forced = {"RESULTS_URL": f"sqlite:///{FOLDER / 'demo.db'}", "VLLM_BASE_URL": model, "ALLOW_PRIVATE_ADDRESSES": "on"}
    if "VLLM_BASE_URL" not in os.environ:
        forced["VLLM_MODEL"] = ""  # the simulated server serves its own alone
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**own, **os.environ, **forced, "PYTHONPATH": path}


def _urls(site: str) -> Iterator[str]:
    """Mostly good pages, and one of each kind of trouble."""
    yield from (f"{site}/product/{number}" for number in range(1, TASKS + 1 - len(TROUBLE)))
    yield from (site + path for path in TROUBLE)


def _hint(setting: str) -> str:
    return "" if setting in os.environ else f" ({setting}=amqp://… takes yours)"


def _step(arguments: list[str], environment: dict[str, str]) -> None:
    shown = [re.sub(rf"^{re.escape(str(ROOT))}/", "", argument) for argument in arguments]
    console.print(f"\n[bold]$ python -m scraper.main {' '.join(shown)}[/bold]")
    # not in ROOT, whose `.env` is for the owner's own server
    code = subprocess.run([*SCRAPER, *arguments], env=environment, cwd=FOLDER, check=False).returncode
    if code:
        sys.exit(f"python -m scraper.main {arguments[0]} ended with exit code {code}")


@contextmanager
def simulated(module: str, *options: str) -> Iterator[str]:
    """A simulated server on a free port; its first line on stdout names the address."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", "0", *options], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\w.:]+", line)
        if not found:
            sys.exit(f"{module} did not start: {line!r}")
        yield found.group()
    finally:
        process.terminate()
        process.wait()


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("page", "status", "data or reason")
    for row in rows:
        data = (
            json.dumps(row["data"], ensure_ascii=False)
            if row["status"] == "done"
            else f"{row['reason']}: {row['error']}"
        )
        table.add_row(
            str(row["url"]).split("/", 3)[-1], row["status"], data if len(data) <= LONGEST else f"{data[:LONGEST]}…"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
