"""The demo as a newcomer meets it: beside the `.env` that the README told him to write."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "demo.py"
HANGS_SECONDS = 600
ENV = """VLLM_MODEL=my-model
VLLM_API_KEY=sk-mine
VLLM_CONTEXT_TOKENS=1200
HTTP_PORT=1
SCHEMAS_DIR=/nowhere
A_SLIP=1
"""


def test_it_simulates_everything_whatever_the_owners_env_file_says(tmp_path, monkeypatch):
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    (tmp_path / ".env").write_text(ENV)
    faster = {"VLLM_REQUESTS_PER_MINUTE": "6000", "VLLM_MAX_CONCURRENT": "16", "FETCH_DELAY": "0", "VLLM_MODEL": "mine"}
    for name in ("VLLM_BASE_URL", "BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "scripts" / "demo.py")],
        env={**os.environ, **faster},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    assert "24 tasks: 20 done, 4 parked" in ran.stdout
