"""What `check` finds where something is away."""

import errno
import os

from scraper.commands import check, reaching
from scraper.config import Settings
from tests.scripted_server import ScriptedServer


def checked(**settings):
    async def look(tmp_path):
        database = f"sqlite:///{tmp_path / 'results.db'}"
        all_of_them = {"broker_url": database, "results_url": database, "vllm_base_url": "http://127.0.0.1:9/v1"}
        found = await check.look_at_everything(Settings(_env_file=None, **all_of_them | settings))
        return {finding.what: finding for finding in found}

    return look


async def test_a_run_dir_too_long_for_a_socket_is_said_with_the_length_that_fits(tmp_path):
    found = await checked(run_dir=tmp_path / ("x" * 80))(tmp_path)
    assert found["RUN_DIR"].verdict == "failed"
    assert "use one shorter than 77 bytes" in found["RUN_DIR"].message


async def test_a_run_dir_that_everybody_may_write_to_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    found = await checked(run_dir=tmp_path / "run")(tmp_path)
    assert found["RUN_DIR"].verdict == "failed"
    assert "everybody may write there" in found["RUN_DIR"].message


async def test_a_run_dir_without_room_for_files_is_refused(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fcntl.flock", full)
    found = await checked(run_dir=tmp_path / "run")(tmp_path)
    assert "No space left on device" in found["RUN_DIR"].message
    assert list((tmp_path / "run").iterdir()) == []


async def test_consumers_that_cannot_get_their_turn_within_the_hold_limit_are_a_warning(tmp_path):
    crowded = await checked(run_dir=tmp_path / "run", workers=4, concurrent_consumers_per_worker=60)(tmp_path)
    assert crowded["HOLD_LIMIT"].verdict == "warning"
    assert "240 consumers at 20 requests a minute wait up to 720 s" in crowded["HOLD_LIMIT"].message


async def test_check_says_why_a_broker_does_not_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 0.5)
    database = f"sqlite:///{tmp_path / 'results.db'}"
    settings = Settings(_env_file=None, broker_url="amqp://me:hunter2@127.0.0.1:9/", results_url=database)
    [finding] = [each for each in await check.look_at_everything(settings) if each.what == "BROKER_URL"]
    assert finding.verdict == "failed"
    assert "amqp://***@127.0.0.1:9/ cannot be reached within 0.5 s (" in finding.message
    assert "is RabbitMQ running there? Start it, or correct BROKER_URL" in finding.message
    assert "hunter2" not in finding.message


async def test_what_a_model_is_called_steers_no_terminal(tmp_path):
    async with ScriptedServer(model="m\x1b[2J\n") as server:
        found = await checked(run_dir=tmp_path / "run", vllm_base_url=server.base_url)(tmp_path)
    assert found["VLLM_BASE_URL"].verdict == "ok"
    assert found["VLLM_BASE_URL"].message.startswith(r"m\x1b[2J at http://")


async def test_a_good_run_dir_says_who_shares_the_limits(tmp_path):
    found = await checked(run_dir=tmp_path)(tmp_path)
    assert "share the limits if they share this folder; containers mount it" in found["RUN_DIR"].message


async def test_a_run_dir_that_had_to_be_made_may_be_a_slip_and_is_said(tmp_path):
    mistyped = checked(run_dir=tmp_path / "nosuch" / "deep")
    assert (await mistyped(tmp_path))["RUN_DIR"].verdict == "warning"
    assert (await mistyped(tmp_path))["RUN_DIR"].verdict == "ok"


async def test_a_folder_of_schemas_that_is_not_there_is_a_warning(tmp_path):
    found = await checked(run_dir=tmp_path / "run", schemas_dir=tmp_path / "nosuch")(tmp_path)
    assert found["SCHEMAS_DIR"].verdict == "warning"


async def test_check_says_where_settings_are_read_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    look = checked(run_dir=tmp_path / "run")
    assert f"none in {tmp_path}" in (await look(tmp_path))[".env"].message
    (tmp_path / ".env").touch()
    assert (await look(tmp_path))[".env"].message == f"read from {tmp_path / '.env'}"
