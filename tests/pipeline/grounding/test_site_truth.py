"""Every kind of page of the simulated site, in eight languages: what is true of a page stands on it."""

import pytest

from scraper.pipeline.charset import decode
from scraper.pipeline.clean import clean
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding.verdict import judge
from scraper.testing.site_pages import KINDS, page

NOT_IN_WORDS = {"availability", "rating"}  # said in the page's own language; only for machines
NUMBERS = range(1, 17)


def read(kind, number):
    found = page(kind, number, base_url="http://site.example")
    html = decode(found.body, header_charset=found.content_type.partition("charset=")[2] or None)
    document = clean(html, base_url=found.truth["url"], keep_links=True)
    truth = {name: value for name, value in found.truth.items() if name not in NOT_IN_WORDS}
    return truth, PageIndex(document.text, title=document.title, address=found.truth["url"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_true_value_is_found(kind):
    for number in NUMBERS:
        truth, index = read(kind, number)
        assert judge(truth, {}, index).unsupported == (), number


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("product", ["sku", "gtin", "brand"]),
        ("article", ["author", "date"]),
        ("recipe", ["name", "ingredients"]),
        ("event", ["name", "date", "organiser", "price"]),
        ("job", ["title", "salary", "date"]),
        ("organisation", ["name", "phone", "email", "address"]),
    ],
)
def test_what_is_true_of_another_page_is_not_found(kind, names):
    read_pages = [read(kind, number) for number in NUMBERS]
    for (truth, _), (own, index) in zip(read_pages, [*read_pages[1:], read_pages[0]], strict=True):
        strange = {name: truth[name] for name in names if truth[name] != own[name]}
        places = {pointer.split("/")[1] for pointer in judge(strange, {}, index).unsupported}
        assert places == set(strange)
