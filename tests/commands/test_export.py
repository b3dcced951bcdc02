"""`export` as its owner types it, over a real results store."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from scraper.main import main
from scraper.store.sqlite import SqliteStore
from tests.store.results import FULL


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESULTS_URL", f"sqlite:///{tmp_path / 'scraper.db'}")

    async def save():
        async with SqliteStore("scraper.db") as store:
            await store.save(FULL)

    asyncio.run(save())


def exported(tmp_path, name, *options):
    said = CliRunner().invoke(main, ["export", "-o", name, *options])
    assert (said.exit_code, said.stderr) == (0, f"1 result in {name}\n"), said.output
    return (tmp_path / name).read_bytes()


def test_a_file_gets_the_format_its_name_promises(tmp_path):
    assert exported(tmp_path, "products.csv").decode("utf-8-sig").startswith("task_id,")
    assert exported(tmp_path, "products.CSV").decode("utf-8-sig").startswith("task_id,")
    assert exported(tmp_path, "products.parquet").startswith(b"PAR1")
    for name in ("products.jsonl", "products"):
        assert json.loads(exported(tmp_path, name))["task_id"] == FULL.task_id


def test_a_dash_is_standard_output_as_everywhere(tmp_path):
    said = CliRunner().invoke(main, ["export", "--format", "jsonl", "-o", "-"])
    assert json.loads(said.stdout)["task_id"] == FULL.task_id
    assert not (tmp_path / "-").exists()


def test_an_ending_that_promises_another_format_is_refused_by_name(tmp_path):
    said = CliRunner().invoke(main, ["export", "-o", "all.xlsx"])
    assert said.exit_code == 2
    assert "all.xlsx: no format for .xlsx; let it end in .jsonl, .csv or .parquet" in said.stderr
    assert not (tmp_path / "all.xlsx").exists()
    assert json.loads(exported(tmp_path, "all.xlsx", "--format", "jsonl"))["task_id"] == FULL.task_id


def test_a_format_that_is_named_is_meant(tmp_path):
    assert json.loads(exported(tmp_path, "products.csv", "--format", "jsonl"))["task_id"] == FULL.task_id
