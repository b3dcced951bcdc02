"""The service as its owner runs it: commands in processes of their own, settings in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCRAPER = [sys.executable, "-m", "scraper.main"]


class Service:
    """One namespace with its own results, in `folder`."""

    def __init__(self, folder: Path, *, broker_url: str | None = None, **settings: object) -> None:
        database = f"sqlite:///{folder / 'scraper.db'}"
        self.folder = folder
        self.environment = {
            **os.environ,
            "BROKER_URL": broker_url or database,
            "RESULTS_URL": database,
            "RUN_DIR": str(folder / "run"),
            **{name: str(value) for name, value in settings.items()},
        }

    def __call__(self, *arguments: object, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, from an empty folder so that no .env of the developer's gets in."""
        return subprocess.run(
            [*SCRAPER, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """One command beside the test; its stderr can be read, and nothing of it is left afterwards."""
        process = subprocess.Popen(
            [*SCRAPER, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def results(self) -> list[dict[str, Any]]:
        """What `export` writes."""
        exported = self("export")
        assert exported.returncode == 0, exported.stderr
        return [json.loads(line) for line in exported.stdout.splitlines()]

    def throttle(self) -> dict[str, Any]:
        """What `throttle --json` says."""
        said = self("throttle", "show", "--json")
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        said = self("status", "--json")
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)
