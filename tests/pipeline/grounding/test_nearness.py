import pytest

from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding.verdict import judge

PRODUCT = {"properties": {name: {"type": ["string", "number"]} for name in ("price", "brand", "currency", "was")}}
TITLE = "Acme Kettle X200 | The Shop"
FAR = "A kettle for all who like their tea hot and their kitchen quiet.\n" * 80
GOODS = "- Bosch Toaster\n£34.99\n- Braun Juicer\n£59.50\n"
PAGE = f"Kitchen\n\n# Acme Kettle X200\nBy Acme\n24,90 €\n{FAR}{GOODS}"


def unsupported(data, text=PAGE, schema=PRODUCT, title=TITLE):
    return judge(data, schema, PageIndex(text, title=title, address="https://shop.example/kettle")).unsupported


def test_what_stands_by_the_name_of_the_pages_thing_is_its_own():
    assert unsupported({"price": 24.9, "brand": "Acme", "currency": "EUR"}) == ()


@pytest.mark.parametrize("data", [{"price": 34.99}, {"price": "£34.99"}, {"brand": "Bosch"}, {"currency": "GBP"}])
def test_what_stands_only_by_other_goods_is_not(data):
    assert unsupported(data) == tuple(f"/{name}" for name in data)


def test_entries_of_a_list_may_stand_anywhere():
    schema = {"properties": {"entries": {"type": "array", "items": PRODUCT}}}
    entries = [{"price": 34.99, "brand": "Bosch", "currency": "GBP"}, {"price": 59.5, "brand": "Braun"}]
    assert unsupported({"entries": entries}, schema=schema) == ()


def test_a_field_of_another_name_may_stand_anywhere():
    assert unsupported({"was": 34.99}) == ()


@pytest.mark.parametrize("title", ["", "Welcome"])
def test_a_page_whose_title_heads_nothing_is_believed_anywhere(title):
    assert unsupported({"price": 34.99, "brand": "Bosch"}, title=title) == ()


def test_a_price_may_come_late_where_none_comes_before_it():
    page = f"# Acme Kettle X200\n{FAR}Price: 24,90 €\n{GOODS}{FAR}Gloves 5,50 €"
    assert unsupported({"price": 24.9}, page) == ()
    assert unsupported({"price": 5.5}, page) == ("/price",)


def test_the_facts_of_the_head_speak_of_the_page():
    page = f"Title: {TITLE}\nPrice: 34.99\nBrand: Bosch\n\nShop\n{FAR}# Acme Kettle X200\n24,90 €"
    assert unsupported({"price": 34.99, "brand": "Bosch"}, page) == ()


def test_title_and_address_speak_of_the_page():
    assert unsupported({"brand": "Shop"}, f"# Acme Kettle X200\n{FAR}") == ()


@pytest.mark.parametrize("line", ["Free delivery over £50", "Gratuit dès 50,00 €", "Gifts under $50", "Fino a 50€"])
def test_a_limit_for_orders_is_no_price(line):
    assert unsupported({"price": 50}, f"# Acme Kettle X200\n24.90\n{line}") == ("/price",)


def test_the_least_of_several_prices_is_one():
    assert unsupported({"price": 50}, "# Acme Kettle X200\nfrom £50") == ()


def test_a_currency_that_belongs_to_the_number_below_makes_no_price_of_the_one_above():
    page = "# Acme Kettle X200\nListed on Nov 15\n- $ 249.00"
    assert unsupported({"price": 15}, page) == ("/price",)
    assert unsupported({"price": 249}, page) == ()


def test_a_currency_alone_on_the_line_below_belongs_to_the_number_above():
    assert unsupported({"price": 15}, "# Acme Kettle X200\n15\n€") == ()


def test_a_number_with_one_decimal_and_no_currency_is_no_price():
    page = "# Acme Kettle X200\n3.0 of 5 stars\n24.90 €"
    assert unsupported({"price": 3}, page) == ("/price",)


def test_a_part_of_a_number_in_groups_is_no_price():
    page = "# Acme Kettle X200\n131 990 тг."
    assert unsupported({"price": 131}, page) == ("/price",)
    assert unsupported({"price": 131990}, page) == ()


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("On Amazon.fr | 22 October", "CHF"),
        ("Choose less than qty_dummy1$ of them", "USD"),
    ],
)
def test_letters_and_signs_that_stand_by_a_number_for_another_reason_are_no_currency(text, currency):
    assert unsupported({"currency": currency}, f"# Acme Kettle X200\n{text}") == ("/currency",)


def test_every_heading_with_the_name_counts():
    page = f"# Acme Kettle X200\n24,90 €\n{FAR}{FAR}# Acme Kettle X200: offers\nused 19,90 €\n{FAR}{GOODS}"
    assert unsupported({"price": 19.9}, page) == ()
    assert unsupported({"price": 34.99}, page) == ("/price",)
