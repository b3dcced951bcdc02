"""What a person meets who asks for help, or mistypes."""

import click
import pytest
from click.testing import CliRunner

from scraper.main import main

GROUPS = [[], ["dead"], ["schema"], ["throttle"]]


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_list_of_commands_breaks_no_sentence_off(group):
    listed = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).output.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


@pytest.mark.parametrize("words", [["sumbit"], ["dead", "relpay"]])
def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(words):
    said = CliRunner().invoke(main, words)
    assert said.exit_code == click.UsageError.exit_code
    assert f"Did you mean {'submit' if len(words) == 1 else 'replay'}?" in said.output


def test_a_schema_in_the_place_of_a_file_is_recognised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(main, ["submit", "product", "urls.txt"])
    assert "product: no such file or folder (for a schema of this name: --schema product)" in said.output
