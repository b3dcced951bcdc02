import pytest

from scraper.schemas import named_schema
from tests.pipeline.structured.test_known import PRODUCT, TEXT, fields, ld, values

URL = "https://shop.example/c/kettles"
KETTLES = [("Nordlys kettle 2 l", 12.5), ("Nordlys kettle 3 l", 15.95), ("Fjell pot 1 l", 19.0)]
ENTRY = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}
LIST = fields(products={"type": "array", "items": ENTRY})


def shown(*entries, level=3, heading="Kettles and pots"):
    cards = "".join(f"<h{level}>{name}</h{level}><p>Boils fast.</p><p>{price:.2f} €</p>" for name, price in entries)
    return f"<title>{heading}</title><h1>{heading}</h1>{cards}"


def item(number, name, price, **more):
    offers = {"@type": "Offer", "price": str(price), "priceCurrency": "EUR"}
    product = {"@type": "Product", "name": name, "url": f"{URL}/{number}", "offers": offers}
    return {"@type": "ListItem", "position": number, "item": product | more}


def item_list(*entries, **more):
    elements = [item(number, *each) for number, each in enumerate(entries, 1)]
    return {"@type": "ItemList", "itemListElement": elements} | more


WHOLE = item_list(*KETTLES)
PAGE = shown(*KETTLES)


def listed(html, schema=LIST):
    return values(html, schema, url=URL)


def test_the_list_that_a_page_is_is_read_whole():
    assert listed(PAGE + ld(WHOLE)) == {"products": [{"name": name, "price": price} for name, price in KETTLES]}


def test_a_list_of_links_has_names_and_addresses():
    elements = [
        {"@type": "ListItem", "position": number, "name": name, "url": f"{URL}/{number}"}
        for number, (name, _) in enumerate(KETTLES, 1)
    ]
    entry = {"type": "object", "properties": {"title": {"type": "string"}, "link": {"type": "string"}}}
    found = listed(PAGE + ld(WHOLE | {"itemListElement": elements}), fields(results={"type": "array", "items": entry}))
    assert found["results"][2] == {"title": "Fjell pot 1 l", "link": f"{URL}/3"}


def test_what_stands_in_the_list_itself_needs_no_steps():
    elements = [each["item"] for each in WHOLE["itemListElement"]]
    assert len(listed(PAGE + ld(WHOLE | {"itemListElement": elements}))["products"]) == 3


def test_the_ready_made_listing_is_filled_where_each_entry_has_all_of_it():
    elements = [item(number, *each, description="Boils fast.") for number, each in enumerate(KETTLES, 1)]
    found = listed(PAGE + ld(WHOLE | {"itemListElement": elements}), named_schema("listing"))
    assert found["entries"][0] == {
        "name": "Nordlys kettle 2 l",
        "url": f"{URL}/1",
        "price": 12.5,
        "currency": "EUR",
        "summary": "Boils fast.",
    }
    assert set(found) == {"entries"}, "how many there are in all, and where they go on, is asked of the model"


def test_a_list_that_says_how_many_it_has_need_not_be_of_headings():
    plain = shown(*KETTLES, level=3).replace("<h3>", "<p>").replace("</h3>", "</p>")
    assert listed(plain + ld(WHOLE)) == {}
    assert len(listed(plain + ld(WHOLE | {"numberOfItems": 3}))["products"]) == 3


def test_what_the_page_mainly_is_needs_no_name():
    page = {"@type": "CollectionPage", "mainEntity": WHOLE | {"name": "All that boils"}}
    assert len(listed(PAGE + ld(page))["products"]) == 3


def test_headings_of_a_part_behind_the_list_are_no_entries():
    html = f"{PAGE}<h2>Others also bought</h2><h3>Nordlys cup</h3>"
    assert len(listed(html + ld(WHOLE))["products"]) == 3


@pytest.mark.parametrize(
    ("html", "things"),
    [
        (shown(*KETTLES, ("Fjell pot 2 l", 29.0)), [WHOLE]),
        (shown(*KETTLES[:2]), [WHOLE]),
        (shown(*KETTLES[::-1]), [WHOLE]),
        (shown(("Nordlys kettle 2 l", 15.95), ("Nordlys kettle 3 l", 12.5), KETTLES[2]), [WHOLE]),
        (PAGE, [WHOLE, WHOLE | {"name": "Popular"}]),
        (PAGE, [WHOLE | {"name": "Popular articles"}]),
        (PAGE, [WHOLE | {"itemListElement": WHOLE["itemListElement"][::-1]}]),
        (PAGE, [item_list(KETTLES[0])]),
        (PAGE, [WHOLE | {"itemListElement": [*WHOLE["itemListElement"][:2], {"position": 3, "name": KETTLES[2][0]}]}]),
        (PAGE, [WHOLE | {"itemListElement": "Nordlys kettle 2 l"}]),
        (PAGE, [WHOLE | {"itemListElement": ["Nordlys kettle 2 l", 7]}]),
    ],
    ids=[
        "the page has more", "not all are shown", "another order", "another's price", "two lists", "of another name",
        "positions out of order", "a single entry", "another shape", "a text", "texts",
    ],
)  # fmt: skip
def test_a_list_that_is_not_certain_is_left_to_the_model(html, things):
    assert listed(html + ld(*things)) == {}


def test_a_list_beside_the_one_thing_that_a_page_is_about_is_not_the_pages():
    html = f"{TEXT}{shown(*KETTLES, heading='More')}".replace("<h1>More</h1>", "")
    assert listed(html + ld(PRODUCT, WHOLE), LIST) == {}


def test_lists_that_two_sources_tell_differently_are_left_to_the_model():
    cards = "".join(
        f'<li itemprop="itemListElement" itemscope itemtype="https://schema.org/Product"><h3 itemprop="name">{name}</h3>'
        f"<p>{price:.2f} €</p></li>"
        for name, price in KETTLES
    )
    html = f'<h1>Kettles</h1><ul itemscope itemtype="https://schema.org/ItemList">{cards}</ul>'
    assert listed(html + ld(item_list(*KETTLES[:2], numberOfItems=2))) == {}
    assert len(listed(html + ld(WHOLE))["products"]) == 3


def test_an_entry_with_a_property_that_the_data_lacks_leaves_the_list_to_the_model():
    entry = {"type": "object", "properties": ENTRY["properties"] | {"rating": {"type": ["number", "null"]}}}
    assert listed(PAGE + ld(WHOLE), fields(products={"type": "array", "items": entry})) == {}


def test_a_schema_of_one_thing_is_not_answered_by_a_list():
    assert listed(PAGE + ld(WHOLE), fields(name={"type": "string"}, price={"type": "number"})) == {}


def test_a_list_without_end_is_left_to_the_model():
    many = [(f"Kettle number {number}", 10.0) for number in range(1, 1000)]
    assert listed(shown(*many) + ld(item_list(*many))) == {}
