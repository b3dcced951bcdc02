import pytest

from scraper.models import Document
from scraper.pipeline.clean import clean, clean_text
from scraper.pipeline.outline import FRAME, HEAD, LINKS, MAIN, parts_of


def parts(html):
    document = clean(html)
    return dict(zip(document.text.split("\n"), parts_of(document), strict=True))


def test_every_line_has_its_mark_and_the_head_is_told_from_the_page():
    found = parts("<title>Kettle</title><meta name=author content=Ann><p>One</p><p>Two</p><pre>a\nb</pre>")
    assert found == {"Title: Kettle": HEAD, "Author: Ann": HEAD, "": 0, "One": 0, "Two": 0, "a": 0, "b": 0}


@pytest.mark.parametrize("tag", ["nav", "header", "footer", "aside"])
def test_what_all_pages_of_a_site_have_is_its_frame(tag):
    assert parts(f"before<{tag}><div>in<div>side</div></div></{tag}>after") == {
        "before": 0,
        "in": FRAME,
        "side": FRAME,
        "after": 0,
    }


def test_a_header_with_the_first_heading_is_none_but_its_navigation_is():
    found = parts("<header><nav>Home</nav><h1>Kettle</h1>12 EUR</header>")
    assert found["# Kettle"] == found["12 EUR"] == 0
    assert found["Home"] == FRAME


def test_the_header_and_footer_of_an_article_belong_to_it():
    found = parts(
        "<article><header>By Ann</header><p>Text</p><footer>Published 2020</footer></article><footer>©</footer>"
    )
    assert found["By Ann"] == found["Text"] == found["Published 2020"] == MAIN
    assert found["©"] == FRAME


def test_navigation_inside_the_main_part_is_a_part_of_both():
    assert parts("<main><nav>Home</nav>Text</main>") == {"Home": MAIN | FRAME, "Text": MAIN}


def test_a_line_of_links_is_told_from_a_line_with_a_link():
    found = parts("<li><a href=/a>Kettles and more</a></li><p>We like <a href=/b>kettles</a> of all sizes</p>")
    assert found["- Kettles and more"] == LINKS
    assert found["We like kettles of all sizes"] == 0


def test_links_are_told_also_where_their_addresses_are_kept():
    document = clean("<li><a href=/a>Kettles and more</a></li>", base_url="https://e.example/", keep_links=True)
    assert document.text == "- Kettles and more (https://e.example/a)"


def test_unclosed_and_nested_regions_cost_no_more_than_their_lines():
    found = parts("<nav>" * 400 + "".join(f"<p>{n}</p>" for n in range(400)))
    assert set(found.values()) <= {FRAME, 0}
    assert found["399"] == FRAME


def test_a_text_without_html_has_no_parts():
    assert parts_of(clean_text("one\ntwo")) == [0, 0]
    assert parts_of(Document("one\ntwo\nthree")) == [0, 0, 0]
