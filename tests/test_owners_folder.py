"""The service runs in its owner's folder, where other things may be called as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import Service

INSTALLED = Path(sys.executable).parent / "scraper"


def test_a_clone_beside_the_pages_is_not_taken_for_the_program(tmp_path):
    """A clone is a folder called scraper, and so an empty package to whatever Python starts beside it."""
    (tmp_path / "scraper").mkdir()
    command = [sys.executable, "-m", "scraper.main", "--version"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ran.stdout.startswith("scraper, version"), ran.stderr


@pytest.mark.parametrize("named", ["scraper.py", "scraper/__init__.py"])
def test_workers_run_the_program_and_not_a_file_of_its_name_in_the_folder(tmp_path, named):
    (tmp_path / named).parent.mkdir(exist_ok=True)
    (tmp_path / named).write_text("raise SystemExit('somebody else')\n")
    service = Service(tmp_path, VLLM_BASE_URL="http://127.0.0.1:9/v1")
    command = [INSTALLED, "--until-empty"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=service.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "0 tasks: 0 done, 0 parked" in ran.stderr
    assert "somebody else" not in ran.stderr
