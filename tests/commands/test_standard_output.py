"""Commands whose output goes nowhere: one clear line, or silence; never a traceback."""

import asyncio
import subprocess

import pytest

from scraper.models import Remains
from scraper.store.sqlite import SqliteStore
from tests.service import SCRAPER, Service
from tests.store.results import done, parked


@pytest.fixture
def service(tmp_path):
    async def save():
        async with SqliteStore(tmp_path / "scraper.db") as store:
            await asyncio.gather(
                *(store.save(done(f"d{number}", data={"text": "x" * 2000})) for number in range(300)),
                *(store.save(parked(f"p{number}", error="y" * 2000), Remains(b"{}")) for number in range(300)),
            )

    asyncio.run(save())
    return Service(tmp_path)


def shell(service, redirected):
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f'"$@" {redirected}', "bash", *SCRAPER],
        env=service.environment,
        cwd=service.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command", ["export", "status", "check --json", "dead list", "dead export", "--help", "dead --help"]
)
def test_a_full_disk_is_one_line(service, command):
    ran = shell(service, f"{command} > /dev/full")
    assert ran.returncode == 1
    assert "standard output: cannot be written (No space left on device)" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


@pytest.mark.parametrize("command", ["export --format csv", "status --json", "dead show p1"])
def test_a_closed_output_is_one_line(service, command):
    ran = shell(service, f"{command} >&-")
    assert ran.returncode == 1
    assert "standard output: cannot be written (it is closed)" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("command", ["export", "dead list --limit 0", "dead export"])
def test_a_reader_that_stops_reading_ends_it_quietly(service, command):
    ran = shell(service, f"{command} | head -n 1")
    assert ran.stderr == ""
    assert ran.returncode == 0
    assert ran.stdout


def test_a_command_that_writes_nothing_minds_no_closed_output(service):
    ran = shell(service, "dead drop p1 --yes >&-")
    assert (ran.returncode, ran.stderr) == (0, "1 forgotten\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_log_goes_nowhere_works_all_the_same(service, closed):
    ran = shell(service, f"--until-empty {closed}")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
