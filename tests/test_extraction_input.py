"""The benchmark of what reaches the model counts what it says, on pages made up for it."""

import gzip
import json

import pytest

from benchmarks.extraction_input import main, measured, of_article, of_product, pages
from scraper.pipeline.schema import compile_schema

MENU = "".join(f"<li><a href=/{n}>Department number {n} of our shop</a></li>" for n in range(60))
PRODUCT = compile_schema({"type": "object", "properties": {"price": {"type": "number"}, "sku": {"type": "string"}}})


@pytest.fixture
def folder(tmp_path):
    sets = {
        "products": (
            {
                "price": ["1299.00"],
                "sku": ["K-77"],
                "brand": ["Nobody"],
                "availability": ["InStock"],
                "url": "https://e/",
            },
            f"<nav>{MENU}</nav><main><h1>Kettle</h1><p>1.299,00 €</p><p>SKU: K-77</p><p>Add to cart</p>{'<p>Boils.</p>' * 40}</main>",
        ),
        "articles": (
            {"articleBody": "One two three four five six seven.", "url": "https://e/"},
            f"<nav>{MENU}</nav><article><h1>Words</h1><p>One two three four, five six.</p>{'<p>More.</p>' * 60}</article>",
        ),
    }
    for name, (truth, html) in sets.items():
        (tmp_path / name / "html").mkdir(parents=True)
        (tmp_path / name / "html" / "a.html.gz").write_bytes(gzip.compress(html.encode()))
        (tmp_path / name / "truth.json").write_text(json.dumps({"a": truth}))
    return tmp_path


def test_a_value_survives_however_the_page_writes_it_and_one_it_does_not_say_does_not(folder):
    results = measured(list(pages(folder / "products")), PRODUCT, of_product)
    assert results["whole"].shares == {"price": [1.0], "sku": [1.0], "brand": [0.0], "availability": [1.0]}
    assert results["sent"].shares == results["frame dropped"].shares == results["whole"].shares
    assert results["frame dropped"].tokens < results["whole"].tokens


def test_of_an_article_the_share_of_its_text_counts(folder):
    results = measured(
        list(pages(folder / "articles")), compile_schema({"type": "object", "properties": {}}), of_article
    )
    assert results["whole"].shares == {"text": [0.75]}


def test_without_pages_it_says_what_to_name(monkeypatch, tmp_path):
    monkeypatch.setenv("PAGES_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match="PAGES_DIR"):
        main()
