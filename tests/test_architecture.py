"""The arrows of the design, kept true: a level imports only from levels below it, and neighbours never each other."""

import ast
from functools import cache
from pathlib import Path

import pytest

from benchmarks.duties import DUTIES, FOR_WHOEVER_CALLS, RUNS_THE_LOOP

PACKAGE = Path(__file__).parent.parent / "scraper"

LEVELS = [
    {"main"},
    {"commands"},
    {"app"},
    {
        "worker",
        "supervisor",
        "pipeline",
        "broker",
        "store",
        "observability",
        "export",
        "submit",
        "replay",
        "check",
        "census",
    },
    {"shelf"},
    {"llm_client", "settle", "rows", "lifeline", "patience", "task_files", "schema_source", "lean_imports"},
    {"throttle", "ports", "sqlite_thread"},
    {
        "models",
        "errors",
        "exit_codes",
        "events",
        "event_loop",
        "config",
        "deadline",
        "trace",
        "trace_context",
        "trail",
        "schemas",
        "json_text",
        "write_ahead",
        "database",
        "credentials",
        "terminal_text",
        "standard_output",
        "host",
        "server_address",
        "http_connection",
        "unpack",
    },
]
OUTSIDE = {"testing"}  # simulations: imported by nothing in the product
NEAR = {  # arrows inside the lowest levels and from a part to what only it leans on
    ("errors", "models"),
    ("trace", "models"),
    ("trail", "models"),
    ("standard_output", "errors"),
    ("trail", "json_text"),
    ("config", "errors"),
    ("config", "server_address"),
    ("config", "terminal_text"),
    ("host", "errors"),
    ("rows", "settle"),
    ("supervisor", "lifeline"),
    ("ports", "models"),
    ("schemas", "models"),
    ("database", "errors"),
    ("config", "credentials"),
    ("config", "host"),
    ("schemas", "errors"),
}
HTTP_LIBRARIES = {"httpx", "httptools"}


def rooms():
    """(room, file) of every module: the top-level name inside the package that it belongs to."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


@cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path):
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "scraper")


def level_of(room):
    base = "llm_client" if room.startswith("llm_") else room
    return next((number for number, names in enumerate(LEVELS) if base in names), None)


def arrows():
    for room, path in rooms():
        for name in imports(path):
            if name.startswith("scraper."):
                target = name.split(".")[1]
                if target not in {room, "__version__"}:
                    yield room, target, path


def test_every_module_has_its_level():
    unknown = {room for room, _ in rooms() if room not in OUTSIDE and level_of(room) is None}
    assert unknown == set()


@pytest.mark.parametrize("room", sorted({room for room, _ in rooms()} - OUTSIDE))
def test_arrows_point_one_way(room):
    for source, target, path in arrows():
        if source != room or (source, target) in NEAR:
            continue
        if source.startswith("llm_") and target.startswith("llm_"):
            continue
        assert target not in OUTSIDE, f"{path} imports a simulation"
        assert level_of(source) < level_of(target), f"{path}: {source} may not import {target}"


BESIDE_THE_WORKERS = {"check", "commands", "export", "replay", "schema_source", "standard_output", "submit"}
BESIDE_THE_WORKERS |= {"supervisor", "task_files", "testing"}


def test_the_benchmark_knows_what_each_module_of_a_worker_is_there_for():
    places = [*DUTIES.values(), RUNS_THE_LOOP, FOR_WHOEVER_CALLS]
    for room, path in rooms():
        frame = f"{path.relative_to(PACKAGE.parent)}:"
        found = [names for names in places if frame.startswith(tuple(names))]
        assert len(found) == 1 or room in BESIDE_THE_WORKERS, f"add {frame} to one list of benchmarks/duties.py"


def test_the_benchmark_knows_of_no_module_that_is_gone():
    frames = [f"{path.relative_to(PACKAGE.parent)}:" for _, path in rooms()]
    for names in [*DUTIES.values(), RUNS_THE_LOOP, FOR_WHOEVER_CALLS]:
        for name in names:
            module = name.partition(":")[0]
            assert not name.startswith("scraper/") or any(frame.startswith(module) for frame in frames), name


def test_simulations_share_no_code_with_the_product():
    assert {target for source, target, _ in arrows() if source == "testing"} == set()


def test_only_commands_and_app_see_settings():
    for room, path in rooms():
        if room not in {"commands", "app", "config"}:
            assert "scraper.config" not in set(imports(path)), path


def test_only_the_model_client_and_fetch_know_the_http_library():
    for room, path in rooms():
        if room.startswith(("llm_", "http_")) or room in OUTSIDE or path.stem.startswith(("fetch", "robots")):
            continue
        assert not HTTP_LIBRARIES & {name.split(".")[0] for name in imports(path)}, path


def test_only_its_own_module_knows_amqp():
    for _, path in rooms():
        if not path.stem.startswith("rabbitmq"):
            assert not {"aio_pika", "aiormq", "pamqp"} & {name.split(".")[0] for name in imports(path)}, path


def swallows_everything(handler):
    everything = handler.type is None or getattr(handler.type, "id", "") in {"Exception", "BaseException"}
    return everything and not any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def test_exceptions_of_every_kind_are_caught_around_awaits_in_one_place_only():
    """Synchronous code may carry an error across a thread or wrap a user's module; cleaning up raises it again."""
    catches = [
        path.name
        for room, path in rooms()
        if room not in OUTSIDE
        for node in nodes(path)
        if isinstance(node, ast.Try) and any(swallows_everything(handler) for handler in node.handlers)
        if any(isinstance(inner, ast.Await) for statement in node.body for inner in ast.walk(statement))
    ]
    assert catches == ["worker.py"]
