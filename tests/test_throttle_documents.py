"""What the owner reads about the throttle is what there is."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest

from scraper import events
from scraper.config import CHANGE_AT_RUN_TIME, Settings
from scraper.main import main

ROOT = Path(__file__).parent.parent
GUIDE, SHEET = ((ROOT / name).read_text() for name in ("VLLM_THROTTLING.md", "THROTTLING_CHEATSHEET.md"))
PICTURES = sorted(re.findall(r"!\[.+?\]\((docs/pictures/[a-z]+\.svg)\)", GUIDE))
SETTINGS = re.findall(r"^\| (\**)`([A-Z_]+)`\** \| (.+?) \|", GUIDE, re.MULTILINE)


def test_every_setting_of_the_throttle_is_explained_with_its_default():
    explained = {name: default for _, name, default in SETTINGS}
    of_the_throttle = {name.upper() for name in list(Settings.model_fields)[:9]} | {"HOLD_LIMIT", "TASK_DEADLINE"}
    assert set(explained) == of_the_throttle | {"VLLM_TIMEOUT", "RUN_DIR"}
    for name, default in explained.items():
        if name != "RUN_DIR":
            assert float(default.removesuffix(" s")) == Settings.model_fields[name.lower()].default, name


def test_the_settings_in_bold_are_those_that_change_at_run_time():
    assert {name.lower() for bold, name, _ in SETTINGS if bold} == set(CHANGE_AT_RUN_TIME)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("preset", ["conservative", "balanced", "aggressive"])
def test_the_presets_are_those_of_the_example(preset):
    block = (ROOT / ".env.example").read_text().split(f"# {preset}")[1].split("\n\n")[0]
    example = dict(re.findall(r"^# ([A-Z_]+)=(\d+)$", block, re.MULTILINE))
    header, _, *rows = [cells(line) for line in SHEET.splitlines() if line.startswith("|")][:5]
    sheet = {row[0].strip("`"): row[header.index(preset)] for row in rows}
    assert example.items() <= sheet.items()
    [line] = [line for line in GUIDE.splitlines() if line.startswith(f"| {preset} |")]
    numbers = [example["VLLM_MAX_CONCURRENT"], example["VLLM_REQUESTS_PER_MINUTE"]]
    assert cells(line)[1:3] == numbers


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"scraper ([a-z]+(?: [a-z]+)?)(?: +--?[a-z-]+)*", GUIDE + SHEET)))
)
def test_every_command_exists_with_its_options(words):
    command, context = main, click.Context(main)
    for word in words.split():
        if isinstance(command, click.Group):
            command = command.get_command(context, word)
            assert command is not None, f"scraper {words}"


@pytest.mark.parametrize("option", sorted(set(re.findall(r"scraper throttle ([a-z]+ --[a-z-]+)", GUIDE + SHEET))))
def test_every_option_of_throttle_exists(option):
    name, flag = option.split()
    command = main.get_command(click.Context(main), "throttle").commands[name]
    assert flag in {each for parameter in command.params for each in parameter.opts}


def test_every_event_that_is_named_exists():
    known = {kind.name for kind in vars(events).values() if hasattr(kind, "name") and isinstance(kind, type)}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", GUIDE + SHEET)) - {"model_refused"}
    assert named
    assert named <= known


def test_all_pictures_are_made_by_the_script_and_shown():
    sys.path.insert(0, str(ROOT / "scripts"))
    import throttle_pictures  # noqa: PLC0415 a script

    made = {*throttle_pictures.COMPUTED, *throttle_pictures.MEASURED}
    assert {Path(each).name for each in PICTURES} == made
    assert {path.name for path in (ROOT / "docs" / "pictures").iterdir()} == made


@pytest.mark.parametrize("picture", PICTURES)
def test_each_picture_says_what_it_shows_and_knows_light_and_dark(picture):
    text = (ROOT / picture).read_text()
    root = ET.fromstring(text)
    assert root.find("{*}title").text
    assert root.find("{*}desc").text
    assert "prefers-color-scheme: dark" in text


def test_the_computed_pictures_are_what_the_script_makes_now(tmp_path):
    script = ROOT / "scripts" / "throttle_pictures.py"
    subprocess.run([sys.executable, script, "--computed", "-o", tmp_path], check=True, capture_output=True, timeout=120)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {"gpu.svg", "delays.svg"}
    for name, text in made.items():
        assert text == (ROOT / "docs" / "pictures" / name).read_text(), f"run {script.name}"
