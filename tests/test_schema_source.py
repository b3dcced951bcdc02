import sys

import pytest

from scraper.errors import Misconfigured, Permanent
from scraper.models import ParkReason
from scraper.schema_source import load_schema


def named_schema(name):
    if name != "product":
        raise Permanent(ParkReason.BAD_SCHEMA, f"no schema is called {name!r}; there are: product")
    return {"title": "Product"}


def load(source):
    return load_schema(str(source), named_schema=named_schema)


def test_a_plain_word_is_a_ready_made_schema():
    assert load("product") == {"title": "Product"}


def test_a_word_that_names_none_says_which_there_are():
    with pytest.raises(Misconfigured, match="--schema prodct: no schema is called 'prodct'; there are: product"):
        load("prodct")


def test_a_path_is_a_file(tmp_path):
    (tmp_path / "mine.json").write_text('\ufeff{"title": "Ü"}', encoding="utf-8")
    assert load(tmp_path / "mine.json") == {"title": "Ü"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,}', "not JSON: .* at line 1 column"),
        (b"[]", "a JSON Schema is an object, this is list"),
        (b"\xff\xfe{", r"not UTF-8 \(byte 1\)"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "not JSON"),
    ],
)
def test_a_file_that_holds_no_schema_is_refused(tmp_path, content, message):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(Misconfigured, match=f"--schema .*mine.json: {message}"):
        load(tmp_path / "mine.json")


def test_a_schema_that_no_worker_would_take_is_refused(tmp_path):
    def check_schema(schema):
        raise Permanent(ParkReason.BAD_SCHEMA, "schema #/a: is impossible")

    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(Misconfigured, match=r"--schema .*mine.json: schema #/a: is impossible"):
        load_schema(str(tmp_path / "mine.json"), named_schema=named_schema, check_schema=check_schema)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(Misconfigured, match=r"--schema .*mine.json: cannot be read \(No such file or directory\)"):
        load(tmp_path / "mine.json")


def test_a_number_that_python_does_not_read_is_refused(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"type": "object", "maxProperties": ' + "9" * 5000 + "}")
    with pytest.raises(Misconfigured, match="a number with too many digits"):
        load(file)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A module in the folder where the command is typed."""
    (tmp_path / "shop_models.py").write_text(
        "from pydantic import BaseModel\nclass Product(BaseModel):\n    name: str\nOther = 5\n"
    )
    (tmp_path / "broken_models.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.modules.pop("shop_models", None)


@pytest.mark.usefixtures("shop")
def test_a_model_gives_its_schema():
    assert load("shop_models:Product")["properties"] == {"name": {"title": "Name", "type": "string"}}


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere:Product", "No module named 'nowhere'"),
        ("shop_models:Missing", "no pydantic model of that name"),
        ("shop_models:Other", "no pydantic model of that name"),
        ("broken_models:Product", "ZeroDivisionError"),
    ],
)
def test_a_model_that_is_none_is_refused(source, message):
    with pytest.raises(Misconfigured, match=f"--schema {source}: {message}"):
        load(source)


def test_what_is_wrong_with_a_schema_is_not_called_a_schema_twice():
    def named_schema(name):
        raise Permanent(ParkReason.BAD_SCHEMA, f"schema: there is none named {name}")

    with pytest.raises(Misconfigured, match=r"^--schema prodct: there is none named prodct$"):
        load_schema("prodct", named_schema=named_schema)


def test_a_source_without_end_is_refused():
    with pytest.raises(Misconfigured, match=r"--schema /dev/zero: is longer than \d+ characters, and so no schema"):
        load("/dev/zero")


def test_a_name_that_no_file_could_have_is_refused():
    with pytest.raises(Misconfigured, match=r"cannot be read \(File name too long\)"):
        load(f"shop:{'x' * 300}")
