"""The benchmark of extraction counts as its pages' truth says."""

import gzip
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.extraction import sections
from benchmarks.extraction_structured import RealPage, Score, by_scraper, pages, same
from benchmarks.saved import saved, taken

ROOT = Path(__file__).resolve().parent.parent
OFFER = {"@type": "Offer", "price": "12.50", "availability": "https://schema.org/InStock"}
THING = {"@type": "Product", "name": "Nordlys kettle 2 l", "sku": "NK-2", "offers": OFFER}
HTML = f'<h1>Nordlys kettle 2 l</h1><p>NK-2, 12,50 €</p><script type="application/ld+json">{json.dumps(THING)}</script>'
TRUTH = {"price": ["12.5"], "sku": ["NK-3"], "availability": ["InStock"], "url": "https://shop.example/kettle"}


@pytest.fixture
def folder(tmp_path):
    for kind, truth in (("products", TRUTH), ("articles", {"articleBody": "x", "url": TRUTH["url"]})):
        (tmp_path / kind / "html").mkdir(parents=True)
        (tmp_path / kind / "truth.json").write_text(json.dumps({"a": truth, "b": truth}))
        for name, html in (("a", HTML), ("b", "<h1>Nothing here</h1>")):
            (tmp_path / kind / "html" / f"{name}.html.gz").write_bytes(gzip.compress(html.encode()))
    return tmp_path


def test_right_wrong_and_missed_are_told_apart(folder):
    read = {page.name: by_scraper(page) for page in pages(folder / "products")}
    assert read == {"a": {"price": 12.5, "sku": "NK-2", "availability": "InStock"}, "b": {}}
    price, sku = Score(), Score()
    for page in pages(folder / "products"):
        price.count(page, "price", read[page.name].get("price"))
        sku.count(page, "sku", read[page.name].get("sku"))
    assert (price.right, price.wrong, price.missed) == (1, 0, 1)
    assert (price.precision, price.recall) == (1, 0.5)
    assert (sku.right, sku.wrong, sku.missed) == (0, 1, 1)
    assert sku.f1 == 0


def test_prices_are_compared_as_decimals_and_all_else_as_it_is():
    assert same("price", 450, "450.00")
    assert not same("price", 24990, "24.99")
    assert not same("sku", "4667999", "466/7999")


def test_every_page_is_in_one_half_for_good():
    halves = [RealPage(str(number), "", {}).held_out for number in range(100)]
    assert halves == [RealPage(str(number), "", {}).held_out for number in range(100)]
    assert 30 < sum(halves) < 70


def test_a_page_that_answers_everything_saves_its_call(folder):
    console = Console(width=160, record=True, file=StringIO())
    console.print(saved({kind: pages(folder / kind) for kind in ("products", "articles")}))
    row = next(line for line in console.export_text().splitlines() if "name, price " in line)
    assert "50.0%" in row


def test_the_properties_of_ready_made_schemas_that_data_answers_are_counted(folder):
    console = Console(width=160, record=True, file=StringIO())
    for table in taken({kind: pages(folder / kind) for kind in ("products", "articles")}):
        console.print(table)
    rows = [line.split() for line in console.export_text().splitlines()]
    assert any("price" in row and "50%" in row for row in rows)
    assert any("summary" in row and "0%" in row for row in rows), "a model's own words stand in no data"


def test_it_names_its_questions_and_what_it_needs():
    assert {"structured", "input"} <= set(sections())
    environment = {name: value for name, value in os.environ.items() if name != "PAGES_DIR"}
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "extraction.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "PAGES_DIR" in ended.stderr
