import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.pipeline.clean import clean, clean_text
from scraper.pipeline.nesting import MANY_ATTRIBUTES, MAX_DEPTH, crowded, flatten, tags_of, too_deep
from scraper.pipeline.style_sheets import hiding_rules
from scraper.pipeline.visibility import hidden_by
from scraper.pipeline.writer import MAX_LINK_CHARS


def text_of(html, **options):
    return clean(html, **options).text


def test_title_and_useful_facts_of_the_head_stand_above_the_text():
    html = """<html lang="en"><head><title> Blue  kettle </title>
      <meta name="description" content="A kettle.&#10;Blue."><meta property="og:description" content="Another">
      <meta property="product:price:amount" content="12.99"><meta property="product:price:currency" content="EUR">
      <meta property="article:published_time" content="2024-05-01T10:00:00Z"><meta name="author" content="Ann Lee">
      <link rel="canonical" href="https://shop.example/kettle"><meta name="viewport" content="width=1">
      </head><body><p>Hello</p></body></html>"""
    document = clean(html)
    assert document.title == "Blue kettle"
    assert document.text.splitlines() == [
        "Title: Blue kettle",
        "Language: en",
        "Description: A kettle. Blue.",
        "Price: 12.99",
        "Currency: EUR",
        "Published: 2024-05-01T10:00:00Z",
        "Author: Ann Lee",
        "URL: https://shop.example/kettle",
        "",
        "Hello",
    ]


def test_facts_of_the_head_survive_a_noscript_that_closes_it_early():
    html = "<head><noscript><img src=p.gif></noscript><title>T</title><meta itemprop=sku content=A-1></head>x"
    assert text_of(html) == "Title: T\nSKU: A-1\n\nx"


def test_the_title_of_an_icon_is_not_the_title_of_the_page():
    assert clean("<body><svg><title>Search icon</title></svg><p>x").title == ""


def test_noscript_is_kept_and_scripts_styles_templates_and_comments_are_dropped_and_counted():
    document = clean(
        "<script>var a</script><style>p{}</style><template><p>t</p></template><!-- c --><noscript>read me</noscript>"
    )
    assert document.text == "read me"
    assert document.dropped == {"script": 1, "style": 1, "template": 1, "comment": 1}


HIDDEN = {
    "hidden": [
        "<div hidden>SECRET</div>",
        '<div style="display : NONE !important">SECRET</div>',
        '<div style="display:/**/none">SECRET</div>',
        '<div style="display:n\\6f ne">SECRET</div>',
        '<p style="color:red;visibility:hidden">SECRET</p>',
        "<dialog>SECRET</dialog>",
        '<input type=hidden value="SECRET">',
        "<datalist><option>SECRET</datalist>",
        "<div hidden><p><b hidden>SECRET</b></p></div>",
        "<style>.x{display:none}</style><p class=x>SECRET",
        "<style>p.x.y , #z { DISPLAY :  none }</style><p class='y x'>SECRET</p><div id=z>SECRET",
        "<style>@media print{.y{color:red}} @import 'a'; .x{margin:0;display:none;top:0}</style><p class=x>SECRET",
        "<style>/* .x{display:block} */.x{/**/visibility:hidden}</style><p class=x>SECRET",
        "<style>secret-note{display:none}</style><secret-note>SECRET",
    ],
    "transparent": [
        '<p style="opacity:0.00">SECRET</p>',
        '<p style="filter: opacity(0%)">SECRET</p>',
        "<style>.x{opacity:0}</style><p class=x>SECRET",
    ],
    "zero_size": [
        '<p style="font-size:0">SECRET</p>',
        '<p style="font-size:0.0px;">SECRET</p>',
        '<p style="transform: scale(0)">SECRET</p>',
        '<p style="clip: rect(1px, 1px, 1px, 1px)">SECRET</p>',
        '<p style="height:0;overflow:hidden">SECRET</p>',
        '<p style="overflow: hidden; width: 1px; height: 1px">SECRET</p>',
        "<style>.x{font-size:0}</style><p class=x>SEC<b>RET</b>",
    ],
    "off_screen": [
        '<p style="position:absolute;left:-9999px">SECRET</p>',
        '<p style="position:absolute;left:  -9999px">SECRET</p>',
        '<p style="text-indent: -9999em">SECRET</p>',
        "<style>.x{text-indent:-999px}</style><p class=x>SECRET",
    ],
    "same_colour": [
        '<p style="color:#fff;background:white">SECRET</p>',
        '<p style="background-color: RGB(255, 255, 255); color: #FFFFFF">SECRET</p>',
        '<p style="color: rgba(0, 0, 0, 0)">SECRET</p>',
        '<p style="color:transparent">SECRET</p>',
        "<style>.x{color:#000;background:#000000}</style><p class=x>SECRET",
    ],
}


@pytest.mark.parametrize(("kind", "hidden"), [(kind, each) for kind, all_of in HIDDEN.items() for each in all_of])
def test_hidden_text_never_reaches_the_model_and_is_counted_by_how_it_is_hidden(kind, hidden):
    document = clean(f"<p>before</p><div>{hidden}</div><p>after</p>")
    assert document.text == "before\n\nafter"
    assert document.dropped[kind] >= 1


def test_a_password_never_reaches_the_model():
    assert text_of('<p>before<input type=password value="SECRET">') == "before"


@pytest.mark.parametrize(
    "style",
    [
        *("opacity:0.5", "opacity:.9", "fill-opacity:0", "font-size:0.8em", "font-size:10px", "left:-10px"),
        *("display:block", "color:white", "color:#fff;background:#000", "height:0", "overflow:hidden;height:10px"),
        *("color:transparent;background-clip:text", "width:1px;overflow:hidden", "min-height:0;overflow:hidden"),
    ],
)
def test_a_style_that_only_looks_like_hiding_keeps_the_text(style):
    assert hidden_by(style) is None
    assert text_of(f'<p style="{style}">seen') == "seen"
    assert text_of(f"<style>p{{{style}}}</style><p>seen") == "seen"


@pytest.mark.parametrize(
    "css",
    [
        "@media print{.x{display:none}}",
        "@media screen{@supports (a:b){.x{display:none}}}",
        ".x{display:none}.open .x{display:block}",
        ".x{display:none}.x.active{display:flex;color:red}",
        ".x{opacity:0}.x:hover{opacity:1}",
        ".x .y{display:none}",
        ".x:before{display:none}",
        ".xy{display:none}",
        "main{display:none}body{opacity:0}",
        "}}}.x{display:block}{{.x{display:none",
        ".x{display:none",
        "{}",
        ".x{font-size:0}",
    ],
)
def test_a_rule_that_does_not_always_hide_keeps_the_text(css):
    assert text_of(f"<style>{css}</style><main><div class=x><p class=z>seen</main>") == "seen"


def test_a_style_sheet_for_paper_hides_nothing_on_the_screen():
    assert text_of("<style media=print>.x{display:none}</style><p class=x>seen") == "seen"


@pytest.mark.parametrize("name", ["-", "--", "-1", "1", "é", "a²", "\u017f", "\\31", "a\\", "*", "a>b", "a:not(", "[x"])
def test_a_strange_selector_hides_nothing_and_does_not_stop_the_others(name):
    css = f".{name}{{display:none}}#{name}{{display:none}}p.{name}{{opacity:0}}.x{{display:none}}"
    assert text_of(f"<style>{css}</style><p class=x>hidden</p><p>seen") == "seen"


@given(st.text(alphabet=".#{}:;,-_\\/*@ ax1é²\n"), st.text(alphabet=".#-_ax1é²"))
def test_no_style_sheet_is_an_error(css, selector):
    assert text_of(f"<style>{css}}}{selector}{{display:none}}</style><b>seen</b>") in {"seen", ""}
    hidden_by(css)


@pytest.mark.parametrize(
    "unit", ["{", "}", ".a{display:none}", "@media{", ".a,", "/*", ".x{:-", ";", "\\", "none", "{:-}"]
)
def test_no_style_sheet_is_expensive(unit):
    """Twenty times the style sheet may not take more than eighty times the CPU."""

    def cpu(times):
        css, began = unit * times, time.process_time()
        hiding_rules(css, hidden_by=hidden_by)
        return time.process_time() - began

    cpu(500)
    assert cpu(20_000) < 80 * max(cpu(1000), 0.001)


def test_what_is_only_hidden_from_screen_readers_is_kept():
    assert text_of('<span aria-hidden="true">$12.99</span>') == "$12.99"


def test_a_body_that_is_hidden_until_a_script_has_loaded_is_kept():
    assert text_of('<body style="opacity:0"><p>seen') == "seen"


def test_characters_that_show_nothing_are_dropped_and_counted_by_kind():
    document = clean("<p>a\u200bb\u2060c\ufeff \U000e0041d\u202ee \ue001 f\U000e0101g\x01</p>")
    assert document.text == "abc de fg"
    assert document.dropped == {"zero_width": 4, "smuggled": 2, "bidi": 1, "control": 1}


def test_joiners_that_carry_meaning_are_kept():
    assert text_of("<p>می\u200cخواهم</p>") == "می\u200cخواهم"


def test_headings_paragraphs_and_lists_keep_their_shape():
    html = "<h1><div>Top</div></h1>one<p>two</p>three<h3>Sub</h3><ul><li><div>x</div><li>y<ul><li>z</ul></ul>end"
    assert text_of(html) == "# Top\none\n\ntwo\n\nthree\n\n### Sub\n- x\n- y\n- z\nend"


def test_a_table_keeps_a_row_per_line_and_its_empty_cells():
    html = """<table><tr><th>Name<th>Size<th>Price</tr>
      <tr><td><p>Cup</p></td><td></td><td>1<br>EUR</td></tr></table>after"""
    assert text_of(html) == "Name | Size | Price\nCup | | 1 EUR\nafter"


def test_paragraphs_in_a_layout_table_stay_apart():
    long = "A paragraph that is long enough to be one, since it has more than eighty characters in it."
    assert text_of(f"<table><tr><td><p>{long}</p><p>{long}</p></table>").splitlines() == [long, long]


def test_inline_elements_do_not_break_a_value_or_a_word():
    assert text_of("<p>$<b>12</b>.<span>99</span> un<b>believ</b>able <b>T</b>he") == "$12.99 unbelievable The"


def test_neighbouring_elements_do_not_run_into_one_word():
    assert text_of("<span>Brand</span><span>Acme</span>") == "Brand Acme"


def test_old_prices_and_raised_digits_are_marked():
    assert text_of("<del>$20</del> $12<sup>99</sup>") == "~~$20~~ $12^99"


def test_preformatted_text_keeps_its_lines():
    assert text_of("<pre>one\n  two\nthree</pre>x") == "one\ntwo\nthree\nx"


def test_alternative_texts_and_form_values_are_read():
    html = """<img alt="Red shoe" src=a.png><input value="typed"><input type=radio><input type=checkbox checked>Gift
      <select><option>S<option>M</select><textarea>note</textarea>"""
    assert text_of(html) == "Red shoe typed [x] Gift S, M note"


def test_a_relative_time_is_followed_by_its_stamp():
    assert text_of('<time datetime="2024-05-01">yesterday</time>') == "yesterday (2024-05-01)"
    assert text_of('<time datetime="2024-05-01">2024-05-01</time>') == "2024-05-01"


def test_links_are_left_out_unless_asked_for():
    html = '<a href="/x">more</a><img src="i.png" alt="pic">'
    assert text_of(html, base_url="https://e.example/p/") == "more pic"
    assert (
        text_of(html, base_url="https://e.example/p/", keep_links=True)
        == "more (https://e.example/x) pic (https://e.example/p/i.png)"
    )


def test_a_base_element_decides_where_links_lead():
    html = '<base href="https://cdn.example/a/"><a href="b">x</a>'
    assert text_of(html, base_url="https://e.example/", keep_links=True) == "x (https://cdn.example/a/b)"


@pytest.mark.parametrize(
    "href", ["#top", "javascript:alert(1)", "mailto:a@b.example", "http://[", "data:text/html,x", ""]
)
def test_links_that_lead_nowhere_are_left_out(href):
    assert text_of(f'<a href="{href}">x</a>', base_url="https://e.example/", keep_links=True) == "x"


def test_addresses_cannot_blow_a_page_up():
    page = "<a href=x>y</a>" * 20_000
    document = clean(page, base_url="https://e.example/" + "p" * 900 + "/", keep_links=True)
    assert len(document.text) < MAX_LINK_CHARS * 1.1 + len(page)
    assert document.dropped["link"] > 0


@pytest.mark.parametrize(
    "html",
    [
        "",
        " ",
        "<",
        "</",
        "<!--",
        "<p",
        "&#0;&#xD800;",
        "\x00",
        "<frameset><frame>",
        "<table><tr><table>",
        "<html><body></html></body>",
        "<svg><p>",
        "\ud800",
    ],
)
def test_broken_pages_are_no_error(html):
    assert "\ud800" not in text_of(html)


def test_a_lone_surrogate_does_not_stop_a_page():
    assert text_of("<p>a\ud800b") == "a?b"


@pytest.mark.parametrize("tag", ["div", "b", "table", "font", "ul><li", "a href=x", "template", "noscript"])
def test_a_hundred_thousand_nested_tags_are_no_error(tag):
    assert clean(f"<{tag}>" * 100_000 + "deep").text.strip("- ") in {"deep", ""}


def test_a_tag_without_end_is_looked_at_once():
    """Time that grows with its square would be an hour here."""
    page = "<font>" * 9000 + "text" + "<" + "a" * 1_000_000
    assert flatten(page).endswith("a" * 1_000_000)


def test_a_page_of_unclosed_tags_is_flattened_and_keeps_its_text():
    page = "".join(f"<font color={n}>word{n} " for n in range(10_000))
    assert too_deep(page, tags=tags_of(page))
    assert flatten(page).count("<font") == MAX_DEPTH
    assert text_of(page).split() == [f"word{n}" for n in range(10_000)]


@pytest.mark.parametrize("pair", [("<div>", "</div>"), ("<ul><li>", "</li></ul>")])
def test_tags_that_are_all_closed_in_the_end_are_flattened_as_well(pair):
    opening, closing = pair
    page = f"<p>before {opening * 50_000}deep{closing * 50_000} after"
    assert too_deep(page, tags=tags_of(page))
    assert text_of(page).replace("- ", "").split() == ["before", "deep", "after"]


def test_closing_tags_that_close_nothing_hide_no_depth():
    page = "</b>" * 50_000 + "<div>" * 50_000
    assert too_deep(page, tags=tags_of(page))


def test_many_tags_in_a_few_open_ones_are_not_too_deep():
    page = "<div><table>" + "<tr><td><b>x</b></td><td>y</td></tr>\n" * 20_000 + "</table></div>"
    assert not too_deep(page, tags=tags_of(page))


def test_no_more_attributes_are_allowed_in_one_tag_than_take_no_time():
    def tag(attributes):
        return f"<p>text</p><div {' '.join(f'a{n}=1' for n in range(attributes))}>text</div>"

    assert crowded(tag(MANY_ATTRIBUTES + 1))
    assert crowded(tag(MANY_ATTRIBUTES + 1).removesuffix(">text</div>"))
    assert not crowded(tag(1000) * 20)


@pytest.mark.parametrize(
    "value",
    ['">"', "'>'", ' = ">"', "=\n'>'", """="</p><p class='a'>" """, """='<p title="a">b</p>' """],
    ids=["double", "single", "spaced", "next line", "tags", "tags and quotation marks"],
)
def test_attributes_are_counted_wherever_their_values_hide_the_end_of_a_tag(value):
    value = value if "=" in value else f"={value}"
    names = " ".join(f"a{n}" if n % 100 else f"a{n}{value}" for n in range(MANY_ATTRIBUTES + 1))
    assert crowded(f"<p class='b'>text</p><div {names}>text</div>")


def test_attributes_are_counted_where_each_value_hides_an_end():
    names = "".join(f"a{n}='>'" for n in range(MANY_ATTRIBUTES + 1))
    assert crowded(f"<div {names}>text</div>")


@pytest.mark.parametrize(
    "page",
    [
        "",
        "x " * 100_000,
        f"<script>{'a = b; ' * 20_000}</script>",
        f"<img src='data:image/png;base64,{'iVBORw0KGgo/' * 8000}'>",
        f"<!-- {'- ' * 40_000} -->",
        """<a class="b " title='c>d'>e</a> """ * 10_000,
        """<script>document.write(" <p class='a'>" + '<b id= "c">')</script> """ * 5000,
    ],
    ids=["nothing", "text", "script", "picture", "comment", "links", "writing scripts"],
)
def test_what_is_long_without_attributes_is_not_taken_for_them(page):
    assert not crowded(page)


def test_moments_one_in_the_other_take_no_time():
    """Time that grows with the square of their number was five seconds here."""
    moment = '<time datetime="2024-05-01">'
    assert text_of(f"{moment * 20_000}today{'</time>' * 20_000}").startswith("today (2024-05-01)")


def test_unclosed_list_items_and_paragraphs_are_not_too_deep_once_counted():
    page = "<ul>" + "".join(f"<li>item {n}" for n in range(10_000)) + "</ul>"
    assert text_of(page).splitlines() == [f"- item {n}" for n in range(10_000)]


def test_a_submitted_text_passes_unchanged_but_for_ends_of_lines_and_invisible_characters():
    document = clean_text("Name\tKettle  \r\nPrice:  12,99\u200b €\x00\r\n\r\n  indented <b>")
    assert document.text == "Name Kettle\nPrice:  12,99 €\n\n  indented <b>"
    assert document.dropped == {"zero_width": 1, "control": 1}
