"""Documents are part of the product: what they list is what there is."""

import dataclasses
import json
import re
import shlex
from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from scraper import events
from scraper.config import Settings
from scraper.llm_client import LLMClient
from scraper.main import main
from scraper.models import ParkReason
from scraper.pipeline.task import decode
from scraper.schemas import named_schema
from tests.scripted_server import ScriptedServer

ROOT = Path(__file__).parent.parent
EVENTS = sorted(
    (
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    ),
    key=lambda kind: kind.name,
)


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.name)
def test_the_architecture_lists_every_event_with_its_level_and_fields(kind):
    fields = " ".join(field.name for field in dataclasses.fields(kind))
    listed = [" ".join(line.split()) for line in (ROOT / "ARCHITECTURE.txt").read_text().splitlines()]
    assert f"{kind.name} {kind.level} {fields}" in listed


README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^(?:python -m scraper\.main|scraper) ([a-z]+)", README, re.MULTILINE)))
)
def test_every_command_of_the_readme_exists_and_has_an_example(command):
    helped = CliRunner().invoke(main, [command, "--help"])
    assert helped.exit_code == 0
    assert "Example" in helped.output


@pytest.mark.parametrize(
    "line",
    sorted(set(re.findall(r"^(?:python -m scraper\.main|scraper) ([^#|\n]*?) *(?:#.*)?$", README, re.MULTILINE))),
)
def test_every_command_of_the_readme_takes_its_options(line):
    helped = CliRunner().invoke(main, [*shlex.split(line), "--help"])
    assert helped.exit_code == 0, helped.output


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_whatever_a_document_links_to_is_there(document):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nothing_says_to_install_a_package_of_this_name_from_a_registry():
    said = [*ROOT.glob("*.md"), ROOT / ".env.example", *(ROOT / "scraper").rglob("*.py")]
    assert [path.name for path in said if re.search(r"pip install ['\"]?scraper", path.read_text())] == []


def test_the_readmes_table_of_commands_is_the_list_of_commands():
    context = click.Context(main)
    listed = set(re.findall(r"^\| `([a-z]+)", README, re.MULTILINE)) & set(main.list_commands(context))
    shown = {name for name in main.list_commands(context) if not main.get_command(context, name).hidden}
    assert listed == shown


def test_the_readmes_task_is_one():
    [example] = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    task = decode(example.encode(), named_schema=partial(named_schema, folder=None), max_bytes=10_000)
    assert task.metadata == json.loads(example)["metadata"]


def test_the_readmes_schema_can_be_used(tmp_path):
    [schema] = re.findall(r"<<'END'\n(.*?)\nEND\n", README, re.DOTALL)
    (tmp_path / "chair.json").write_text(schema)
    checked = CliRunner().invoke(main, ["schema", "check", str(tmp_path / "chair.json")])
    assert checked.exit_code == 0
    assert checked.stderr.endswith("chair.json: usable\n")
    assert not re.search(r"^(refused|loose|hint)", checked.stdout, re.MULTILINE)


def test_the_systemd_unit_runs_the_service_and_lets_it_drain():
    unit = (ROOT / "deploy" / "scraper.service").read_text()
    service = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert service["ExecStart"] == f"{service['WorkingDirectory']}/.venv/bin/python -m scraper.main"
    assert float(service["TimeoutStopSec"]) > Settings.model_fields["drain_seconds"].default


def test_the_readme_names_every_reason_for_parking():
    assert set(ParkReason) <= set(re.findall(r"`([a-z_]+)`", README))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_every_make_target_of_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.virtual_time
async def test_the_readmes_program_asks_the_model(tmp_path, capsys):
    [program] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    async with ScriptedServer() as server:
        exec(program.replace("http://localhost:8000/v1", server.base_url).replace("asyncio.run(ask())", ""), names)
        names["LLMClient"] = partial(LLMClient, run_dir=tmp_path)
        await names["ask"]()
    assert capsys.readouterr().out == "fine\n"
