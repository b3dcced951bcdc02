"""scripts/test_throttling.py as a person starts it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scraper.testing.vllm import SimulatedVLLM
from tests.rabbitmq import free_ports

SCRIPT = Path(__file__).parents[2] / "scripts" / "test_throttling.py"
HANGS_SECONDS = 600
QUICK = {"VLLM_MAX_RETRIES": "1", "VLLM_BASE_BACKOFF": "0.05", "VLLM_CIRCUIT_BREAKER_TIMEOUT": "0.5"}
"""For tests that are about something else than the trials."""


@pytest.fixture
def check(tmp_path):
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}/v1"

    def run(*arguments, code=0, **settings):
        ended = subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            env={**os.environ, "RUN_DIR": str(tmp_path / "run"), "VLLM_BASE_URL": nobody, **settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=HANGS_SECONDS,
            check=False,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended

    return run


def verdicts(ended):
    return {row["what"]: row["verdict"] for row in json.loads(ended.stdout)["checks"]}


def test_the_owners_defaults_protect_the_server_and_it_says_so_in_plain_words(check):
    said = check().stdout
    assert "does not answer: only the simulated server was tried" in said
    assert "These settings protect the model server" in " ".join(said.split())
    assert "BROKEN" not in said
    for promise in ("requests in flight", "starts in a minute", "the circuit opens", "delay before retry 5"):
        assert promise in said


def test_four_processes_are_held_to_the_limits_of_one(check):
    ended = check("--processes", "4", "--json")
    told = json.loads(ended.stdout)
    assert (told["protects"], told["processes"]) == (True, 4)
    assert set(verdicts(ended).values()) == {"kept"}
    assert "all 4 processes together" in told["conclusion"][0]


def test_processes_that_share_nothing_flood_the_server_and_the_check_fails(check):
    """The same processes, settings and measurements, with a throttle for each: what the check is there to see."""
    broken = verdicts(check("--processes", "4", "--apart", "--json", code=1, **QUICK))
    assert broken["requests in flight"] == "BROKEN"
    assert broken["starts in a minute"] == "BROKEN"
    assert broken["smallest gap of two starts"] == "BROKEN"


def test_in_real_time_the_settings_own_seconds_are_kept(check):
    quick = {
        "VLLM_REQUESTS_PER_MINUTE": "600",
        "VLLM_CIRCUIT_BREAKER_TIMEOUT": "1",
        "VLLM_BASE_BACKOFF": "0.1",
        "VLLM_MAX_RETRIES": "3",
    }
    ended = check("--real-time", "--json", **quick)
    assert set(verdicts(ended).values()) == {"kept"}
    assert "in real time this takes about" in ended.stderr


async def test_a_server_that_answers_gets_a_handful_of_one_token_requests(check):
    async with SimulatedVLLM(preset="instant") as server:
        settings = QUICK | {"VLLM_BASE_URL": server.base_url, "VLLM_REQUESTS_PER_MINUTE": "1200"}
        ended = await asyncio.to_thread(check, "--json", **settings)
        assert server.stats.requests == 5
        assert server.engine.counters.generation_tokens == 5
        assert server.stats.max_in_flight == 1
    mine = [row for row in json.loads(ended.stdout)["checks"] if row["section"] == "your server"]
    assert [row["verdict"] for row in mine] == ["kept", "kept", "not measured"]


async def test_a_server_that_fails_is_not_asked_again(check):
    async with SimulatedVLLM(preset="instant", faults="500=on") as server:
        settings = QUICK | {"VLLM_BASE_URL": server.base_url, "VLLM_REQUESTS_PER_MINUTE": "1200"}
        ended = await asyncio.to_thread(check, "--json", code=1, **settings)
        assert server.stats.requests == 1
    assert json.loads(ended.stdout)["protects"] is False


def test_settings_that_are_wrong_are_named(check):
    assert "VLLM_MAX_CONCURRENT=0: " in check(code=2, VLLM_MAX_CONCURRENT="0").stderr
    assert "RUN_DIR=" in check(code=2, RUN_DIR="/proc/nowhere").stderr


def test_its_help_has_examples(check):
    assert "python scripts/test_throttling.py --processes 4" in check("--help").stdout
