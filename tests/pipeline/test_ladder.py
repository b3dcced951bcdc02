import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.models import Document
from scraper.pipeline.clean import clean
from scraper.pipeline.ladder import HEADING_LINES, LEFT_OUT, Ladder
from scraper.pipeline.outline import FRAME, LINKS, MAIN, marks

PRODUCT = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}, "sku": {"type": "string"}},
}
ORGANISATION = {"type": "object", "properties": {"name": {"type": "string"}, "telephone": {"type": "string"}}}
LISTING = {
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"title": {"type": "string"}}}}
    },
}
MENU = "".join(f"<li><a href=/{n}>Department number {n}</a></li>" for n in range(30))
REVIEWS = "".join(
    f"<p>Review {n}: a very good kettle indeed, which boils water and whistles, as kettles should do.</p>"
    for n in range(80)
)
PAGE = f"""
<title>Kettle</title><header>Shop of shops <ul>{MENU}</ul></header><ul>{MENU}</ul>
<main><h1>Blue kettle</h1><p>12.50 EUR</p><table><tr><td>SKU</td><td>K-77</td></tr></table>{REVIEWS}</main>
<div>Only today: €11.99</div><div>While it lasts</div><footer>Call us: +49 30 1234567 <p>Imprint and terms of use for everybody</p></footer>
"""


def ladder(schema=PRODUCT, page=PAGE):
    return Ladder(clean(page), schema)


def test_without_its_frame_a_page_loses_what_all_pages_of_the_site_have():
    rung = ladder().without_frame()
    assert rung.step == "frame"
    assert "Shop of shops" not in rung.text
    assert rung.text.count("Department") <= HEADING_LINES
    assert "terms of use" not in rung.text
    assert {"# Blue kettle", "12.50 EUR", "SKU | K-77", "Only today: €11.99"} <= set(rung.text.split("\n"))
    assert rung.text.split("\n")[:3] == ["Title: Kettle", "", LEFT_OUT]


def test_what_stands_next_to_the_first_heading_is_no_frame_however_it_is_marked():
    page = f"<ul>{MENU}</ul><nav>Home > Kitchen > Kettles</nav><h1>Kettle</h1><aside>By Ann Smith</aside>{REVIEWS}"
    text = ladder(page=page).without_frame().text
    assert {"Home > Kitchen > Kettles", "By Ann Smith"} <= set(text.split("\n"))
    long = page.replace("Kitchen", "Kitchen > " * 200)
    assert "Kitchen" not in ladder(page=long).without_frame().text


def test_what_the_schema_asks_for_stays_also_in_the_frame():
    assert "+49 30 1234567" in ladder(ORGANISATION).without_frame().text
    assert "+49 30 1234567" in ladder(ORGANISATION).main().text
    assert "+49 30 1234567" not in ladder(PRODUCT).without_frame().text


def test_rows_of_links_stay_where_a_list_is_asked_for():
    text = ladder(LISTING).without_frame().text
    assert text.count("Department") == 30
    assert "Shop of shops" not in text


def test_the_main_part_keeps_what_is_asked_for_wherever_it_stands():
    noise = "".join(f"<p>Paragraph {n} about shipping and handling of goods to all countries.</p>" for n in range(40))
    rung = ladder(page=PAGE + noise).main()
    assert rung.step == "main"
    assert "Review 70" in rung.text
    assert "€11.99" in rung.text
    assert "Paragraph 20" not in rung.text


def test_a_page_without_a_main_part_of_its_own_is_read_where_its_text_is_densest():
    page = f"<ul>{MENU}</ul><h2>Story</h2>{REVIEWS}<ul>{MENU}</ul><ul>{MENU}</ul>"
    text = ladder(page=page).main().text
    assert "Review 0" in text
    assert "Review 79" in text
    assert "Department" not in text


def test_passages_are_what_the_schema_asks_for_in_the_order_of_the_page():
    rung = ladder().passages(600)
    assert rung.step == "passages"
    assert len(rung.text) <= 600
    lines = rung.text.split("\n")
    wanted = ["# Blue kettle", "12.50 EUR", "SKU | K-77", "Only today: €11.99"]
    assert [line for line in lines if line in wanted] == wanted
    assert LEFT_OUT in lines


def test_long_text_is_shown_in_one_piece_where_long_text_is_asked_for():
    schema = {"type": "object", "properties": {"headline": {"type": "string"}, "body": {"type": "string"}}}
    text = ladder(schema).passages(4000).text
    assert all(f"Review {n}:" in text for n in range(20))


def test_a_page_with_no_lines_to_choose_from_is_cut_in_one_place():
    rung = Ladder(Document("word " * 10_000), PRODUCT).passages(1000)
    assert rung.step == "ends"
    assert rung.text.startswith("word word")
    assert rung.dropped_chars >= 49_000


@pytest.mark.parametrize("step", ["without_frame", "main"])
def test_a_page_that_is_all_frame_keeps_all_of_it(step):
    rung = getattr(ladder(page=f"<nav>{MENU}</nav>"), step)()
    assert rung.text == clean(f"<nav>{MENU}</nav>").text
    assert rung.dropped_chars == 0


@pytest.mark.parametrize("step", ["without_frame", "main"])
def test_more_lines_than_any_page_has_are_not_looked_at(step):
    many = Document("a\n" * 60_000)
    assert getattr(Ladder(many, PRODUCT), step)().step == "whole"
    assert Ladder(many, PRODUCT).passages(5000).step == "ends"


LINES = st.lists(
    st.sampled_from(["", "- a link", "# Blue kettle", "Price: 12 EUR", "Some words of a text, not many.", "x" * 90]),
    min_size=13,
    max_size=60,
)


@given(LINES, st.lists(st.sampled_from([0, FRAME, LINKS, MAIN, FRAME | MAIN]), min_size=60), st.integers(300, 2000))
def test_no_rung_makes_anything_up_and_each_accounts_for_what_it_drops(lines, parts, keep):
    document = Document("\n".join(lines), outline=marks(bytes(parts[: len(lines)])))
    steps = Ladder(document, PRODUCT)
    for rung in (steps.without_frame(), steps.main(), steps.passages(keep)):
        shown = [line for line in rung.text.split("\n") if line != LEFT_OUT]
        rest = iter(lines)
        assert all(line in rest for line in shown if line)  # in the order of the page
        assert rung.dropped_chars == len(document.text) - len("\n".join(shown))
    assert len(steps.passages(keep).text) <= max(keep, 0)
