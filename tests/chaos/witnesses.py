"""Those who see what a service does, without asking it: a trigger in its database, its log, and /proc."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.audit import DONE, Stored

_WITNESS = """
CREATE TABLE IF NOT EXISTS witness_stored (task_id TEXT, reason TEXT, attempts INTEGER);
CREATE TRIGGER IF NOT EXISTS witness_added AFTER INSERT ON results_rows BEGIN
    INSERT INTO witness_stored VALUES (new.task_id, new.reason, new.attempts);
END;
CREATE TRIGGER IF NOT EXISTS witness_replaced AFTER UPDATE ON results_rows BEGIN
    INSERT INTO witness_stored VALUES (new.task_id, new.reason, new.attempts);
END;
"""


def call_witness(path: Path) -> None:
    """From now on, each time that the results database takes a result is written down, in the same transaction."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(_WITNESS)


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)


def ended_so_far(path: Path) -> int:
    """Tasks that it has written down."""
    with contextlib.closing(_reading(path)) as database:
        (tasks,) = database.execute("SELECT count(DISTINCT task_id) FROM witness_stored").fetchone()
    return int(tasks)


def statement_of(path: Path) -> list[Stored]:
    """What it has written."""
    with contextlib.closing(_reading(path)) as database:
        rows = database.execute("SELECT task_id, reason, attempts FROM witness_stored ORDER BY rowid").fetchall()
    return [Stored(task_id, reason or DONE, attempts) for task_id, reason, attempts in rows]


def events(log: str) -> Iterator[dict[str, Any]]:
    """The lines of a log that are events."""
    for line in log.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError):  # its process was killed while it wrote
                yield json.loads(line)


def processes_with(start: str) -> list[int]:
    """Pids of those that have a variable in their environment that begins so."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _environ_has(pid, start)]


def _environ_has(pid: int, start: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return any(each.startswith(start.encode()) for each in environ.split(b"\0"))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far; 0 once it is gone."""
    with contextlib.suppress(OSError):
        _, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def seconds_at_work_and_waiting(pid: int) -> tuple[float, float]:
    """How long its main thread has run so far, and has had to wait for a processor; 0 where nobody counts it."""
    with contextlib.suppress(OSError, ValueError):
        at_work, waiting, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return int(at_work) / 1e9, int(waiting) / 1e9
    return 0.0, 0.0


def seconds_stolen() -> float:
    """How long other machines have kept this one's processors so far, as its host tells it, in steps of 10 ms."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return "?"
