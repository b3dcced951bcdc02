"""The ready-made schemas: each is usable as it is, by the service and by a vLLM server's grammar."""

import errno
import json
import os
from pathlib import Path

import pytest

from scraper.errors import Permanent
from scraper.pipeline.schema import compile_schema
from scraper.pipeline.schema_advice import advice
from scraper.schemas import named_schema, schema_names
from scraper.testing.vllm_grammar import check_schema

EXAMPLES = {
    "article": {
        "headline": "Kettles are hot",
        "authors": ["Ada Writer"],
        "published": "2030-05-01",
        "modified": None,
        "section": "Kitchen",
        "summary": "Kettles sell well this year.",
        "language": "en",
        "keywords": ["kettles"],
    },
    "event": {
        "name": "Night of the kettles",
        "start": "2030-05-01T20:00+02:00",
        "end": None,
        "status": "scheduled",
        "venue": "Old Hall",
        "street": "Havnegata 1",
        "city": "Bergen",
        "country": "Norway",
        "performers": ["The Whistlers"],
        "organizer": None,
        "price": 35,
        "currency": "NOK",
        "ticket_url": "https://events.example/kettles",
        "description": "An evening of steam.",
    },
    "job_posting": {
        "title": "Kettle engineer",
        "company": "Nordlys AS",
        "city": "Bergen",
        "region": None,
        "country": "Norway",
        "remote": False,
        "employment_type": "Full-time",
        "salary_min": 600000,
        "salary_max": 700000,
        "salary_currency": "NOK",
        "salary_period": "year",
        "posted": "2030-05-01",
        "valid_through": "2030-06-01",
        "reference": "NK-7",
        "skills": ["thermodynamics"],
    },
    "listing": {
        "entries": [
            {"name": "Kettle", "url": "https://shop.example/kettle", "price": 12.5, "currency": "EUR", "summary": None},
            {"name": "Pot", "url": None},
        ],
        "total": 240,
        "next_url": "https://shop.example/?page=2",
    },
    "organisation": {
        "name": "Nordlys",
        "legal_name": "Nordlys AS",
        "street": "Havnegata 1",
        "postal_code": "5003",
        "city": "Bergen",
        "region": None,
        "country": "Norway",
        "telephone": "+47 55 12 34 56",
        "email": "post@nordlys.example",
        "website": "https://nordlys.example/",
        "vat_id": "NO 999 999 999 MVA",
        "founded": "1987",
        "opening_hours": ["Mon–Fri 9–17"],
        "description": "Kettles since 1987.",
    },
    "product": {
        "name": "Nordlys kettle 2 l",
        "brand": "Nordlys",
        "sku": "NK-2",
        "mpn": None,
        "gtin": "4006381333931",
        "price": 12.5,
        "regular_price": 15,
        "currency": "EUR",
        "availability": "InStock",
        "description": "Boils water.",
        "rating": 4.5,
        "review_count": 12,
    },
    "recipe": {
        "name": "Pea soup with mint",
        "author": "Ada Cook",
        "ingredients": ["500 g peas", "1 onion"],
        "steps": ["Chop it.", "Boil it."],
        "prep_time_minutes": 10,
        "cook_time_minutes": 80,
        "total_time_minutes": 90,
        "servings": "4 servings",
        "category": "Soup",
        "cuisine": None,
        "rating": None,
        "review_count": None,
    },
}
NAMES = sorted(schema_names())


def test_every_schema_has_its_example():
    assert sorted(EXAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_example_fits_and_is_complete(name):
    schema = compile_schema(named_schema(name))
    assert schema.validator.is_valid(EXAMPLES[name])
    assert EXAMPLES[name].keys() == schema.schema["properties"].keys()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_up_beside_does_not_fit(name):
    assert not compile_schema(named_schema(name)).validator.is_valid(EXAMPLES[name] | {"made_up": 1})


@pytest.mark.parametrize("name", NAMES)
def test_a_grammar_can_hold_an_answer_to_all_of_it(name):
    schema = compile_schema(named_schema(name))
    check_schema(schema.response_format["json_schema"]["schema"])
    assert {each.verdict for each in advice(schema)} <= {"data"}


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described(name):
    schema = named_schema(name)
    assert schema["description"]
    silent = [field for field, told in schema["properties"].items() if "description" not in told]
    assert silent == []


def test_ones_own_schemas_come_first_and_are_listed_with_the_others(tmp_path):
    (tmp_path / "product.json").write_text(json.dumps({"title": "Mine"}))
    (tmp_path / "Not a name.json").write_text("{}")
    assert named_schema("product", folder=tmp_path) == {"title": "Mine"}
    assert sorted(schema_names(folder=tmp_path)) == NAMES
    assert schema_names(folder=tmp_path)["product"] == tmp_path / "product.json"


def test_a_file_that_vanishes_while_it_is_looked_at_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text("{}")

    def vanishes(path, **_):
        path.unlink(missing_ok=True)
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", vanishes)
    with pytest.raises(Permanent, match="no schema named 'mine'"):
        named_schema("mine", folder=tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text("{}")

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(Permanent, match=r"mine\.json cannot be read \(Permission denied\)"):
        named_schema("mine", folder=tmp_path)


def test_a_name_that_there_is_not_says_which_there_are():
    with pytest.raises(Permanent, match=r"no schema named 'prodct' .*; there are: article, event, .*product, recipe"):
        named_schema("prodct")


def test_a_file_that_is_far_too_long_is_not_read(tmp_path):
    with (tmp_path / "mine.json").open("wb") as file:
        file.truncate(1 << 40)  # without taking room
    with pytest.raises(Permanent, match=r"mine\.json has \d+ bytes; no schema has more than"):
        named_schema("mine", folder=tmp_path)
