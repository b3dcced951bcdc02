"""What `check` finds where something is away."""

from scraper.commands import check
from scraper.config import Settings


async def test_check_says_why_a_broker_does_not_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "CHECK_SECONDS", 0.5)
    database = f"sqlite:///{tmp_path / 'results.db'}"
    settings = Settings(_env_file=None, broker_url="amqp://me:hunter2@127.0.0.1:9/", results_url=database)
    [finding] = [each for each in await check.look_at_everything(settings) if each.what == "BROKER_URL"]
    assert finding.verdict == "failed"
    assert "127.0.0.1" in finding.message
    assert "hunter2" not in finding.message
