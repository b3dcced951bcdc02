import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from scraper.pipeline.clean import clean
from scraper.pipeline.elements import elements_of
from scraper.pipeline.structured.bounds import MAX_CHARS, MAX_DEPTH, MAX_STRING_CHARS
from scraper.pipeline.structured.read import read_structured
from scraper.pipeline.structured.vocabulary import SOURCES

URL = "https://shop.example/p/kettle"


def read(html, url=URL):
    return clean(html, base_url=url, data_from=SOURCES).structured


def things(html, source):
    return [each["value"] for each in read(html) if each["source"] == source]


def json_ld(*scripts):
    return things("".join(f'<script type="application/ld+json">{each}</script>' for each in scripts), "json_ld")


PRODUCT = {"@type": ["Product"], "name": "Kettle", "offers": {"@type": ["Offer"], "price": "12.50"}}
LD = '{"@context": "https://schema.org", "@type": "Product", "name": "Kettle", "offers": {"@type": "Offer", "price": "12.50"}}'


def test_a_page_without_data_has_none():
    assert read("<title>Kettle</title><h1>Kettle</h1><p>12 EUR</p><script>var a = 1</script>") == ()


def test_nothing_is_read_unless_asked_for():
    assert clean(f'<script type="application/ld+json">{LD}</script>').structured == ()


def test_what_is_hidden_from_readers_is_read_for_machines():
    html = '<div hidden itemscope itemtype="https://schema.org/Product"><span itemprop=sku>K-1</span></div><p>x'
    assert things(html, "microdata") == [{"@type": ["Product"], "sku": "K-1"}]
    assert "K-1" not in clean(html, data_from=SOURCES).text


@pytest.mark.parametrize(
    "script",
    [
        LD,
        f"[{LD}]",
        f'{{"@context": "https://schema.org", "@graph": [{LD}]}}',
        f"<!-- {LD} -->",
        f"//<![CDATA[\n{LD}\n//]]>",
        f"/*<![CDATA[*/{LD}/*]]>*/",
        f"{LD};",
        LD.replace('"12.50"}', '"12.50",},'),
        LD.replace('"name"', '/* the name */ "name"').replace("{", "{ // begin\n", 1),
        LD.replace('"', "&quot;"),
        LD.replace('"', "'"),
        LD.replace("Kettle", "Ket\ttle").replace("Ket\ttle", "\tKettle\n"),
        LD.replace("https://schema.org", "http:\\/\\/schema.org").replace("Kettle", "\\Kettle"),
        LD.replace('"@type": "Product"', '"@type": "schema:Product"').replace('"name"', '"http://schema.org/name"'),
        LD.replace('"Kettle"', '{"@value": "Kettle", "@language": "en"}'),
    ],
)
def test_json_ld_is_read_as_pages_write_it(script):
    assert json_ld(script) == [PRODUCT]


def test_two_objects_in_one_script_are_two_things():
    assert json_ld(f"{LD}\n{LD}") == [PRODUCT, PRODUCT]
    assert json_ld(LD, LD) == [PRODUCT, PRODUCT]


@pytest.mark.parametrize(
    "script", ["", "{", '{"name": kettle}', LD[:-5], LD.replace('"12.50"', "price"), "null", "12", '"x"', "[" * 9999]
)
def test_json_ld_whose_meaning_is_not_certain_is_none(script):
    assert json_ld(script) == []


def test_entities_that_were_escaped_twice_are_text():
    assert json_ld('{"@type": "Product", "name": "Salt &amp;amp; pepper&#39;s"}')[0]["name"] == "Salt &amp; pepper's"


def test_a_reference_is_what_it_names():
    graph = [
        {"@type": "WebPage", "@id": "#page", "mainEntity": {"@id": "#product"}},
        {"@type": "Product", "@id": "#product", "name": "Kettle", "brand": {"@id": "#brand"}},
        {"@type": "Brand", "@id": "#brand", "name": "Nordlys"},
    ]
    page, product, _ = json_ld(json.dumps({"@graph": graph}))
    assert page["mainEntity"]["name"] == "Kettle"
    assert product["brand"] == {"@type": ["Brand"], "@id": "#brand", "name": "Nordlys"}


def test_references_in_a_ring_end():
    graph = [
        {"@id": f"#{n}", "@type": "Thing", "next": [{"@id": f"#{(n + k) % 9}"} for k in range(9)]} for n in range(9)
    ]
    assert len(json.dumps(json_ld(json.dumps({"@graph": graph})))) < 4 * MAX_CHARS


MICRODATA = """
<div itemscope itemtype="https://schema.org/Product" itemref="more">
  <h1 itemprop="name">Big <b>kettle</b></h1><a itemprop="url" href="/p/kettle">here</a>
  <div itemprop="offers" itemscope itemtype="https://schema.org/Offer">
    <meta itemprop="priceCurrency" content="EUR"><span itemprop="price" content="12.50">12,50 €</span>
    <link itemprop="availability" href="https://schema.org/InStock">
  </div>
  <div itemscope itemtype="https://schema.org/Product"><i itemprop="name">Another</i></div>
  <img itemprop="image" src="/1.jpg"><img itemprop="image" src="/2.jpg">
</div>
<p id="more"><span itemprop="sku">K-1</span></p><span itemprop="lost">x</span>
"""


def test_microdata_is_read_as_nested_things():
    product, other = things(MICRODATA, "microdata")
    assert other == {"@type": ["Product"], "name": "Another"}
    assert product == {
        "@type": ["Product"],
        "name": "Big kettle",
        "url": "https://shop.example/p/kettle",
        "offers": {
            "@type": ["Offer"],
            "priceCurrency": "EUR",
            "price": "12.50",
            "availability": "https://schema.org/InStock",
        },
        "image": ["https://shop.example/1.jpg", "https://shop.example/2.jpg"],
        "sku": "K-1",
    }


def test_a_time_is_read_from_its_attribute():
    html = '<div itemscope itemtype="https://schema.org/Event"><time itemprop="startDate" datetime="2030-05-01">1 May</time></div>'
    assert things(html, "microdata") == [{"@type": ["Event"], "startDate": "2030-05-01"}]


def test_rdfa_is_read_like_microdata():
    html = """<div vocab="https://schema.org/" typeof="Product" resource="#k"><h1 property="name">Kettle</h1>
      <div property="offers" typeof="Offer"><span property="price" content="12.50">12,50</span></div></div>"""
    assert things(html, "rdfa") == [PRODUCT | {"@id": "#k"}]


def test_the_tags_of_a_head_are_read_by_name():
    html = """<meta property="og:title" content="Kettle"><meta property="product:price:amount" content="12.50">
      <meta name="Author" content="A. Writer"><meta itemprop="sku" content="other"><meta charset="utf-8">"""
    assert things(html, "meta") == [
        {"og:title": ["Kettle"], "product:price:amount": ["12.50"], "author": ["A. Writer"]}
    ]


STATE = {"shop": {"products": [{"id": 1, "name": "Kettle 2000", "price": 12.5}, {"id": 2, "name": "Pot", "price": 3}]}}


@pytest.mark.parametrize(
    "script",
    [
        f'<script id="__NEXT_DATA__" type="application/json">{json.dumps(STATE)}</script>',
        f"<script>window.__INITIAL_STATE__ = {json.dumps(STATE)};(function() {{}})()</script>",
        f"<script>window.__STATE__=JSON.parse({json.dumps(json.dumps(STATE))})</script>",
        f"<script>var initialState = {json.dumps(STATE).replace('3}', 'undefined}')}; more()</script>",
        "<script>dataLayer.push({'event': 'view', product: {id: 1, name: 'Kettle 2000', price: 12.5}});</script>",
    ],
)
def test_of_a_pages_state_only_what_bears_its_name_is_kept(script):
    assert things(f"<h1>Kettle 2000</h1>{script}", "embedded_state") == [
        {"id": 1, "name": "Kettle 2000", "price": 12.5}
    ]


def test_the_state_of_another_page_is_not_kept():
    html = f'<h1>Something else</h1><script type="application/json">{json.dumps(STATE)}</script>'
    assert read(html) == ()


def test_the_page_tells_its_names_and_addresses():
    html = '<html lang=de><title>Kettle | Shop</title><link rel=canonical href="/k"><h1>Kettle</h1><meta name=author content=b>'
    first, *_ = read(html)
    assert first["source"] == "page"
    told = {"headings": ["Kettle"], "title": "Kettle | Shop", "url": URL, "canonical": "/k", "language": "de"}
    assert told.items() <= first["value"].items()


def depth(value):
    if not isinstance(value, dict | list):
        return 0
    return 1 + max((depth(each) for each in (value.values() if isinstance(value, dict) else value)), default=0)


@pytest.mark.parametrize(
    "html",
    [
        f'<script type="application/ld+json">{{"name": "{"x" * 3_000_000}"}}</script>',
        f'<script type="application/ld+json">[{",".join(json.dumps({"name": "y" * 90}) for _ in range(20_000))}]</script>',
        f'<script type="application/ld+json">{{{",".join(f"{json.dumps(str(n))}: {n}" for n in range(90_000))}}}</script>',
        '<script type="application/ld+json">' + '{"a":' * 500 + "1" + "}" * 500 + "</script>",
        '<div itemscope itemprop="a">' * 400 + "<b itemprop=b>x</b>",
        '<div itemscope><p itemprop="a b c d">x</p></div>' * 9000,
        "".join(f'<meta name="og:{n}" content="{"z" * 900}">' for n in range(3000)),
    ],
    ids=["string", "array", "object", "deep", "deep-items", "items", "metas"],
)
def test_whatever_a_page_carries_only_so_much_is_kept(html):
    found = read(html)
    assert len(json.dumps(found)) < 3 * MAX_CHARS
    assert depth(list(found)) <= MAX_DEPTH + 4
    assert all(
        len(value) <= MAX_STRING_CHARS for each in found for value in each["value"].values() if isinstance(value, str)
    )


FRAGMENTS = ['<div itemscope itemtype="x">', "<b itemprop=a>", "<i itemprop=b itemscope>", "</div>", "</b>", "{", "}", '"', ":", ",",
             "[", "]", '<script type="application/ld+json">', "<script>window.__STATE__=", "</script>", '"@id"', '"@graph"', "'", "/*", "//",
             "<!--", "-->", "\\", "\\ud800", "1e999", "NaN", "&quot;", '<p typeof="schema:Thing">', "itemref=a id=a", "<meta name=a content=b>"]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_no_page_makes_it_raise_and_the_result_is_json(html):
    json.dumps(read(html), allow_nan=False).encode()


ENDLESS = {
    "strings": lambda n: '<script type="application/ld+json">{' + '"a\\\\' * n + "</script>",
    "comments": lambda n: '<script type="application/ld+json">{' + "/*" * n + "</script>",
    "white space": lambda n: '<script type="application/ld+json">{x' + " " * n + "}</script>",
    "values": lambda n: '<script type="application/ld+json">' + "{} " * n + "</script>",
    "single quotes": lambda n: "<h1>Nordlys kettle</h1><script>__STATE__={'Nordlys kettle" + "\\\\'" * n + "</script>",
    "assignments": lambda n: "<h1>Nordlys kettle</h1><script>Nordlys kettle" + "data={a:" * n + "</script>",
    "things": lambda n: "<p itemscope>" * (n // 10) + "<b itemprop=a>",
    "properties": lambda n: "<div itemscope>" + "<b itemprop='a b c d e f g h i'>x</b>" * (n // 10),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_reading_takes_no_longer_than_there_is_to_read(kind):
    """Eight times as much takes about eight times as long, and not 64 times."""

    def seconds(count):
        tree = LexborHTMLParser(ENDLESS[kind](count))
        least = float("inf")
        for _ in range(3):
            begun = time.process_time()
            read_structured(tree, elements_of(tree), url=URL, sources=SOURCES)
            least = min(least, time.process_time() - begun)
        return least

    assert seconds(40_000) < 30 * max(seconds(5_000), 0.0005)


def test_the_tree_is_left_as_it_was():
    tree = LexborHTMLParser(MICRODATA)
    before = tree.html
    read_structured(tree, elements_of(tree), url=None, sources=SOURCES)
    assert tree.html == before
