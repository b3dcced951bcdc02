import json
import textwrap

import pytest
from click.testing import CliRunner

from scraper.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SCHEMAS_DIR", str(tmp_path))
    return tmp_path


def run(*arguments, code=0):
    ended = CliRunner().invoke(main, ["schema", *arguments])
    assert ended.exit_code == code, ended.output
    return ended


def write(folder, name, schema):
    (folder / name).write_text(json.dumps(schema))


def test_a_ready_made_schema_is_usable_as_it_is():
    ended = run("check", "product")
    assert "usable" in ended.stderr
    assert "data     #/price: price of a product" in ended.stdout
    assert "REFUSED" not in ended.stdout


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, "#/properties/a/pattern"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.org/x"}}}, "#/properties/a/$ref"),
        ({"type": "string"}, "#"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "iri"}}}, "#/properties/a/format"),
    ],
)
def test_a_schema_that_no_task_can_be_run_with_is_refused_with_its_place(folder, schema, path):
    write(folder, "mine.json", schema)
    found = json.loads(run("check", "mine.json", "--json", code=1).stdout)
    assert found["usable"] is False
    assert path in [each["path"] for each in found["findings"] if each["verdict"] == "refused"]


def test_what_cannot_be_enforced_does_not_fail(folder):
    write(folder, "mine.json", {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}})
    assert "loose    #/properties/a/uniqueItems: cannot be held by a grammar" in run("check", "mine.json").stdout


@pytest.mark.parametrize("source", ["prodct", "missing.json", "nowhere:Model"])
def test_a_schema_that_there_is_not_is_one_clear_line(source):
    ended = run("check", source, code=1)
    assert ended.stderr.startswith(f"Error: {source}: ")
    assert "schema: " not in ended.stderr
    assert "Traceback" not in ended.output


def test_names_are_listed_ones_own_among_them(folder):
    write(folder, "mine.json", {"type": "object", "description": "What I want.\x1b[2J"})
    (folder / "broken.json").write_text("{")
    listed = {each["name"]: each["description"] for each in json.loads(run("list", "--json").stdout)}
    assert listed["product"] == "The one product that the page is about."
    assert "cannot be read as JSON" in listed["broken"]
    shown = run("list").stdout
    assert "mine          What I want." in shown
    assert "\x1b" not in shown


MODEL = """
    from decimal import Decimal
    from pydantic import BaseModel, ConfigDict

    class Offer(BaseModel):
        price: float
        currency: str | None = None

    class Product(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str
        sku: str | None
        offer: Offer
"""


def test_a_pydantic_model_is_checked_and_submitted_by_its_import_path(folder, monkeypatch):
    (folder / "mymodels.py").write_text(textwrap.dedent(MODEL))
    (folder / "urls.txt").write_text("https://shop.example/kettle\n")
    for name in ("BROKER_URL", "RESULTS_URL"):
        monkeypatch.setenv(name, f"sqlite:///{folder / 'scraper.db'}")
    assert "data     #/offer/price: price of a product" in run("check", "mymodels:Product").stdout
    ended = CliRunner().invoke(main, ["submit", "--schema", "mymodels:Product", "urls.txt"])
    assert (ended.exit_code, ended.stderr) == (0, "1 queued, 0 skipped (done or waiting already), 0 refused\n")


def test_a_folder_of_schemas_that_is_not_there_is_said(folder, monkeypatch):
    monkeypatch.setenv("SCHEMAS_DIR", str(folder / "nosuch"))
    ended = run("list")
    assert ended.stderr.startswith(f"SCHEMAS_DIR: there is no folder {folder}/nosuch")
    assert "product" in ended.stdout
