"""What a process pays for with its imports."""

import subprocess
import sys

WORKER = "import scraper.main, scraper.app, scraper.observability.logs, scraper.llm_client, scraper.llm_transport, sys"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_worker_does_not_import_what_its_libraries_have_for_terminals():
    loaded = set(run(f"{WORKER}; print(*sys.modules)").split())
    assert {"httpx", "structlog"} <= loaded
    assert not {"rich.console", "pygments", "markdown_it", "aiohttp"} & loaded


def test_what_was_missing_for_a_moment_can_be_imported_later():
    assert run(f"{WORKER}; import rich.console; print(rich.console.Console().__class__.__name__)") == "Console\n"


def test_what_is_imported_already_stays():
    assert run(f"import rich, httpx._main; before = rich; {WORKER}; import rich; print(rich is before)") == "True\n"
