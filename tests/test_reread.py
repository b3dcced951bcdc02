"""SIGHUP to a running service: what `.env` says now, told to the supervisor and all its workers."""

import asyncio
import fcntl
import os
import pty
import signal
import subprocess
import termios
from pathlib import Path

import pytest

from scraper.testing.vllm import SimulatedVLLM
from tests.service import SCRAPER, Service
from tests.test_whole_path import HANGS_SECONDS, alive, children_of, ended, submit, until

FAST = 1200
SLOW = 1  # a start in a minute: none while a test looks
SLOW_SECONDS = 60 / SLOW


@pytest.fixture
async def model():
    async with SimulatedVLLM(preset="instant") as server:
        yield server


@pytest.fixture
def service(tmp_path, model):
    return Service(tmp_path, VLLM_BASE_URL=model.base_url, WORKERS=2)


def write(service, **settings):
    (Path(service.folder) / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


async def hang_up(process, *events):
    process.send_signal(signal.SIGHUP)
    return [event async for event in until(process, *events)]


async def throttle(service):
    return await asyncio.to_thread(service.throttle)


async def pages(service, count):
    await submit(
        service, *[{"text": f"Kettle {number} costs 3 EUR", "task_id": str(number)} for number in range(count)]
    )


async def starts(model, more):
    before = model.stats.requests
    async with asyncio.timeout(HANGS_SECONDS):
        while model.stats.requests < before + more:  # noqa: ASYNC110 the referee has no event for it
            await asyncio.sleep(0.02)


async def test_limits_change_for_all_workers_and_nothing_is_restarted(service, model):
    write(service, VLLM_REQUESTS_PER_MINUTE=SLOW)
    await pages(service, 40)
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        workers = children_of(process.pid)
        write(
            service,
            VLLM_REQUESTS_PER_MINUTE=FAST,
            VLLM_MAX_CONCURRENT=3,
            VLLM_CIRCUIT_BREAKER_THRESHOLD=7,
            VLLM_CIRCUIT_BREAKER_TIMEOUT=33,
        )
        [reread] = [event for event in await hang_up(process, "settings_reread") if event["event"] == "settings_reread"]
        assert reread["changed"] == (
            "VLLM_MAX_CONCURRENT=3 VLLM_REQUESTS_PER_MINUTE=1200 "
            "VLLM_CIRCUIT_BREAKER_THRESHOLD=7 VLLM_CIRCUIT_BREAKER_TIMEOUT=33"
        )
        await starts(model, 6)
        model.freeze()  # so that there is something left to wait for when the pace is lowered again
        status = await throttle(service)
        assert (status["max_concurrent"], status["requests_per_minute"]) == (3, FAST)
        assert (status["circuit"]["threshold"], status["circuit"]["timeout_s"]) == (7, 33)
        assert {each["brings"]["max_concurrent"] for each in status["processes"]} == {3}
        assert children_of(process.pid) == workers

        write(service, VLLM_REQUESTS_PER_MINUTE=SLOW)
        await hang_up(process, "settings_reread")
        async with asyncio.timeout(HANGS_SECONDS):
            while (await throttle(service))["requests_per_minute"] != SLOW:
                pass
            model.thaw()
            while (status := await throttle(service))["in_flight"] or (
                status["next_start_in_s"] or 0
            ) < SLOW_SECONDS / 2:
                pass
        before = model.stats.requests
        status = await throttle(service)
        assert (status["blocked_by"], status["in_flight"]) == ("rate", 0)
        assert status["waiting"] > 0
        assert model.stats.requests == before
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0, log


async def test_limits_set_by_command_stay_and_what_the_settings_say_now_is_named(service):
    write(service, VLLM_MAX_CONCURRENT=2)
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        assert (await asyncio.to_thread(service, "throttle", "set", "--max-concurrent", 4)).returncode == 0
        write(service, VLLM_MAX_CONCURRENT=1, VLLM_REQUESTS_PER_MINUTE=SLOW)
        said = await hang_up(process, "settings_reread", "throttle_settings_overruled")
        [overruled] = [event for event in said if event["event"] == "throttle_settings_overruled"]
        assert (overruled["settings"], overruled["in_force"]) == ("1 in flight, 1/min", "4 in flight, 1/min")
        shown = (await asyncio.to_thread(service, "throttle")).stdout
        assert "until scraper throttle reset; the settings say 1 in flight, 1 a minute" in shown
        assert (await asyncio.to_thread(service, "throttle", "reset")).returncode == 0
        assert (await throttle(service))["max_concurrent"] == 1
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_a_wrong_env_file_is_refused_by_name_and_a_worker_started_again_has_the_old_settings(service, model):
    write(service, VLLM_REQUESTS_PER_MINUTE=FAST)
    await pages(service, 6)
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        write(service, VLLM_MAX_CONCURRENT=0, VLLM_REQUEST_PER_MINUTE=3)
        [refused] = await hang_up(process, "settings_refused")
        assert "VLLM_MAX_CONCURRENT=0: " in refused["mistakes"]
        assert "did you mean VLLM_REQUESTS_PER_MINUTE?" in refused["mistakes"]
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        async for event in until(process, "worker_restarted", "worker_started"):
            if event["event"] == "worker_started":
                assert (event["max_concurrent"], event["requests_per_minute"]) == (2, FAST)
        (Path(service.folder) / ".env").unlink()
        assert (await throttle(service))["requests_per_minute"] == FAST
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0, log


async def test_a_worker_started_later_has_the_new_limits(service, model):
    write(service, VLLM_REQUESTS_PER_MINUTE=FAST)
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        write(service, VLLM_REQUESTS_PER_MINUTE=600)
        await hang_up(process, "settings_reread")
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        [started] = [event async for event in until(process, "worker_started") if "max_concurrent" in event]
        assert started["requests_per_minute"] == 600
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_what_needs_a_restart_is_named_and_stays(service):
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        write(service, PREFETCH_COUNT=2, VLLM_MODEL="other")
        warnings = await hang_up(process, "settings_reread", "setting_warning", "setting_warning")
        named = {event["setting"]: event["message"] for event in warnings if event["event"] == "setting_warning"}
        assert set(named) == {"PREFETCH_COUNT", "VLLM_MODEL"}
        assert all("next start" in message for message in named.values())
        assert len(children_of(process.pid)) == 2
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


async def test_the_throttle_names_the_supervisor_to_signal_and_a_worker_passes_a_hangup_on_to_it(service):
    with service.running() as process:
        [_ async for _ in until(process, "worker_started", "worker_started")]
        assert f"kill -HUP {process.pid} reads .env again" in (await asyncio.to_thread(service, "throttle")).stdout
        assert (await throttle(service))["supervisors"] == [process.pid]
        write(service, VLLM_MAX_CONCURRENT=3)
        workers = children_of(process.pid)
        os.kill(workers[0], signal.SIGHUP)
        *_, reread = [event async for event in until(process, "settings_reread")]
        assert reread["changed"] == "VLLM_MAX_CONCURRENT=3"
        assert children_of(process.pid) == workers
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 0


def on_a_terminal(service, *, stderr=None):
    """A run on a terminal of its own, and our end of it."""
    ours, theirs = pty.openpty()

    def take_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs these tests may be under nohup
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        SCRAPER,
        env=service.environment,
        cwd=service.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if stderr is None else stderr,
        text=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 no other way to a terminal of its own
    )
    os.close(theirs)
    return process, ours


async def test_a_terminal_that_goes_away_ends_the_run_as_ctrl_c_does(service):
    process, ours = await asyncio.to_thread(on_a_terminal, service, stderr=subprocess.PIPE)
    with process:
        try:
            [_ async for _ in until(process, "worker_started", "worker_started")]
            workers = children_of(process.pid)
            os.close(ours)
            code, log = await ended(process)
        finally:
            process.kill()
    assert code == 0, log
    assert log.count('"event": "worker_stopped"') == 2
    assert not any(alive(worker) for worker in workers)


async def test_a_terminal_that_goes_away_with_the_log_on_it_is_no_failure(service):
    service.environment.pop("PYTHONUNBUFFERED", None)  # with it nothing is left over that cannot be written
    process, ours = await asyncio.to_thread(on_a_terminal, service)
    with process:
        try:
            said = b""
            while said.count(b"worker_started") < 2:
                said += await asyncio.to_thread(os.read, ours, 65536)
            os.close(ours)
            assert await asyncio.to_thread(process.wait, HANGS_SECONDS) == 0
        finally:
            process.kill()
