"""What a process pays for with its imports."""

import subprocess
import sys

WORKER = "import scraper.main, scraper.app, scraper.observability.logs, scraper.llm_client, scraper.llm_transport, sys"


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout


def test_a_worker_does_not_import_what_its_libraries_have_for_terminals():
    loaded = set(run(f"{WORKER}; print(*sys.modules)").split())
    assert "httpx" in loaded
    assert not {"rich.console", "pygments", "markdown_it", "aiohttp", "structlog"} & loaded


def test_a_pretty_log_does_without_what_its_library_has_for_tracebacks():
    loaded = set(run(f"{WORKER}; scraper.observability.logs.log_events(style='pretty'); print(*sys.modules)").split())
    assert "structlog" in loaded
    assert not {"rich.console", "pygments", "markdown_it"} & loaded


def test_what_was_missing_for_a_moment_can_be_imported_later():
    assert run(f"{WORKER}; import rich.console; print(rich.console.Console().__class__.__name__)") == "Console\n"


def test_what_is_imported_already_stays():
    assert run(f"import rich, httpx._main; before = rich; {WORKER}; import rich; print(rich is before)") == "True\n"


def test_garbage_is_looked_for_as_usual_once_the_process_has_started():
    code = "import gc; usual = gc.get_threshold(); from scraper.lean_imports import started; {}; print(gc.get_threshold() == usual)"
    assert run(code.format("pass")) == "False\n"
    assert run(code.format("started()")) == "True\n"


def test_commands_that_soon_begin_their_work_look_for_garbage_as_usual():
    code = "import gc; usual = gc.get_threshold(); from scraper.main import main; main({}, standalone_mode=False); print(gc.get_threshold() == usual)"
    assert run(code.format(["schema", "list"])).splitlines()[-1] == "True"
