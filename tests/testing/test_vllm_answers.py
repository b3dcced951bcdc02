"""Answers fit the schema and come from the page; the grammar refuses what the real one refuses."""

import json
import re

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.testing.vllm_answers import answer, broken_answer, plain_answer
from scraper.testing.vllm_grammar import GrammarError, check_schema
from scraper.testing.vllm_page import PageText, number, page_in
from scraper.testing.vllm_patterns import text_matching
from scraper.testing.vllm_tokens import block_hashes, chat_prompt, tokenize

SHOP = PageText(
    """Harbour Kettle 1.7 l
Price: € 1.299,00
SKU: HK-0017
Brand: Alderwood
In stock
Published: 3 March 2026
By Maud Ferrier
The first morning with it was quieter than we expected. It boils water in two minutes.
- a lid
- a cord
See https://shop.example/kettle and https://shop.example/kettle.jpg or write to desk@shop.example."""
)


def filled(schema, page=SHOP):
    check_schema(schema)
    value = json.loads(answer(schema, page))
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(value)
    return value


def one(schema, name="value", page=SHOP, *, required=True):
    whole = {"type": "object", "properties": {name: schema}, "required": [name] if required else []}
    return filled(whole, page).get(name, "(left out)")


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [
        ("name", {"type": "string"}, "Harbour Kettle 1.7 l"),
        ("productTitle", {"type": "string"}, "Harbour Kettle 1.7 l"),
        ("price", {"type": "number"}, 1299),
        ("price", {"type": "string"}, "€ 1.299,00"),
        ("currency", {"type": "string"}, "EUR"),
        ("sku", {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"}, "HK-0017"),
        ("brand", {"type": ["string", "null"]}, "Alderwood"),
        ("in_stock", {"type": "boolean"}, True),
        ("availability", {"enum": ["out of stock", "in stock"]}, "in stock"),
        ("availability", {"enum": ["OutOfStock", "InStock"]}, "InStock"),
        ("published", {"type": "string", "format": "date"}, "2026-03-03"),
        ("published", {"type": "string", "format": "date-time"}, "2026-03-03T00:00:00Z"),
        ("author", {"type": "string"}, "Maud Ferrier"),
        ("url", {"type": "string", "format": "uri"}, "https://shop.example/kettle"),
        ("image", {"type": "string"}, "https://shop.example/kettle.jpg"),
        ("contact", {"type": "string", "format": "email"}, "desk@shop.example"),
        ("parts", {"type": "array", "items": {"type": "string"}}, ["a lid", "a cord"]),
    ],
)
def test_a_field_is_filled_with_what_the_page_says(name, schema, expected):
    assert one(schema, name) == expected


def test_what_the_page_does_not_say_is_left_out_or_null_or_invented_in_that_order():
    assert one({"type": "number"}, "voltage", required=False) == "(left out)"
    assert one({"type": ["number", "null"]}, "voltage") is None
    assert one({"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "null"}]}, "voltage") is None
    assert isinstance(one({"type": "number"}, "voltage"), int | float)


def test_a_changed_page_changes_the_answer():
    cheaper = PageText(SHOP.text.replace("1.299,00", "9,50").replace("Harbour", "Northern"))
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}
    assert filled(schema, cheaper) == {"name": "Northern Kettle 1.7 l", "price": 9.5}


def test_a_struck_out_price_is_the_former_one():
    page = PageText("Kettle\nWas: ~~$64.00~~\nNow $ 49.00 only")
    assert (one({"type": "number"}, "price", page), one({"type": "number"}, "regular_price", page)) == (49, 64)


def test_a_value_may_stand_below_its_label_and_a_site_name_is_no_part_of_a_title():
    page = PageText("Address: http://shop.example/7\nTitle: Oak Stool – The Shop\n品番\nOS-7\n価格\n9,800円")
    names = {"name": "Oak Stool", "sku": "OS-7", "currency": "JPY"}
    assert {name: one({"type": "string"}, name, page) for name in names} == names
    assert one({"type": "number"}, "price", page) == 9800


def test_an_empty_page_still_gets_an_answer_of_the_right_shape():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3},
            "price": {"type": "number"},
            "tags": {"type": "array"},
        },
        "required": ["name", "price", "tags"],
    }
    assert set(filled(schema, PageText(""))) == {"name", "price", "tags"}


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"a": 1}},
        {"enum": [None, 3, "x"]},
        {"type": "integer", "minimum": 5, "maximum": 7},
        {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "integer", "multipleOf": 5, "minimum": 11},
        {"type": "string", "minLength": 400},
        {"type": "string", "minLength": 2, "maxLength": 4},
        {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}(x|y)?$"},
        {"type": "string", "pattern": "^(foo|bar)+\\.[^a-z]$"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "format": "time"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2, "maxItems": 2},
        {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}]},
        {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}]},
        {"allOf": [{"type": "number", "minimum": 2}, {"maximum": 3}, {"type": "integer"}]},
        {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"required": ["b"], "properties": {"b": {"type": "integer"}}}], "type": "object"},
        {"$ref": "#/$defs/money", "$defs": {"money": {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}}},
        {"type": "object", "properties": {}, "required": ["undeclared"]},
        {"type": "object", "properties": {"not": {"type": "string"}, "if": {"type": "integer"}}, "required": ["not", "if"]},
        {"type": ["null", "integer"]},
        {"description": "anything at all"},
        {},
    ],
)  # fmt: skip
def test_every_common_keyword_is_kept(schema):
    filled(
        {
            "type": "object",
            "properties": {"field": schema},
            "required": ["field"],
            **({"$defs": schema["$defs"]} if "$defs" in schema else {}),
        }
    )


def test_a_recursive_schema_ends():
    tree = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name", "children"],
    }
    assert filled(tree)["name"]


def test_a_schema_that_requires_itself_without_end_is_refused():
    with pytest.raises(GrammarError, match="without end"):
        answer({"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]}, SHOP)


def test_a_list_of_products_becomes_one_item_for_each():
    page = PageText("Kettles\n- Blue Kettle $10.00\n- Red Kettle $ 12.50\n- Green Kettle $9.99\n")
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
        "required": ["name", "price"],
    }
    items = one({"type": "array", "items": item}, "items", page)
    assert [entry["price"] for entry in items] == [10, 12.5, 9.99]


def test_the_page_is_found_inside_the_frame_of_a_prompt():
    frames = [
        "Extract the data.\n<page>\nHarbour Kettle\nPrice: $5\n</page>\nAnswer in JSON.",
        "Schema: {}\n```\nHarbour Kettle\nPrice: $5\n```",
        "Follow the schema.\n\nPage text:\nHarbour Kettle\nPrice: $5",
        "Harbour Kettle\nPrice: $5",
    ]
    assert [page_in([frame]).title for frame in frames] == ["Harbour Kettle"] * 4


def test_after_a_repair_message_the_page_is_still_the_longest_message():
    page = "<page>" + "Harbour Kettle\n" + "It boils water. " * 20 + "</page>"
    assert page_in([page, "That was not valid: 'price' is missing."]).title == "Harbour Kettle"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1.299,00", 1299.0), ("1,299.00", 1299.0), ("12,50", 12.5), ("1 299,5", 1299.5), ("1,299", 1299.0), ("0.125", 0.125), ("¥129,800", 129800.0), ("-3.5", -3.5), ("none", None)],
)  # fmt: skip
def test_numbers_are_read_as_several_countries_write_them(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, 'Unimplemented keys: ["uniqueItems"]'),
        ({"type": "string", "pattern": "(["}, "Invalid regex"),
        ({"type": "string", "pattern": "(?=a)b"}, "Invalid regex"),
        ({"$ref": "#/$defs/missing"}, "does not exist"),
        ({"$ref": "https://example.com/schema.json"}, "not local"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "itself"),
        ({"type": "text"}, "Unsupported type"),
        ({"type": "string", "format": "price"}, "Unknown format"),
        ({"enum": []}, "at least one"),
    ],
)
def test_a_schema_the_grammar_cannot_do_is_refused_in_its_words(schema, message):
    with pytest.raises(GrammarError, match=re.escape(message)):
        check_schema({"type": "object", "properties": {"field": schema}, "$defs": schema.get("$defs", {})})


def test_a_property_named_like_a_keyword_is_no_keyword():
    check_schema({"type": "object", "properties": {"uniqueItems": {"type": "string"}, "pattern": {"type": "string"}}})


def test_a_schema_nested_without_measure_is_refused():
    schema = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(GrammarError, match="nested"):
        check_schema(schema)


@pytest.mark.parametrize(
    "pattern",
    ["^[A-Z]{3}$", r"^\d{4}-\d{2}$", "^(a|bc){2,3}$", "[^0-9]", r"^\w+@\w+\.(de|com)$", r"^[\d.]+$", r"^\p{L}+$"],
)
def test_a_text_is_made_for_a_pattern(pattern):
    assert re.search(pattern.replace(r"\p{L}", "[^\\W\\d_]"), text_matching(pattern))


@pytest.mark.parametrize("kind", ["bad_json", "whitespace", "repetition", "empty_answer"])
def test_a_spoiled_answer_is_no_json(kind):
    with pytest.raises(ValueError):
        json.loads(broken_answer('{"name": "Kettle", "price": 3}', kind, max_tokens=50))


def test_an_answer_of_the_wrong_shape_is_json_all_the_same():
    assert "name" not in json.loads(broken_answer('{"name": "Kettle"}', "wrong_schema", max_tokens=50))


def test_without_a_schema_the_answer_is_a_sentence_of_the_page():
    assert "quieter than we expected" in plain_answer(SHOP)


_scalars = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "maxLength": 3},
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "number"},
        {"type": "boolean"},
        {"type": ["string", "null"]},
        {"enum": ["a", "in stock", 3, None]},
        {"type": "string", "format": "date"},
    ]
)
_names = st.sampled_from(["name", "price", "sku", "items", "date", "url", "x", "ω", "inStock", "list_of_things"])
_schemas = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)),
        st.builds(
            lambda parts: {"type": "object", "properties": parts, "required": list(parts)[::2]},
            st.dictionaries(_names, inner, max_size=4),
        ),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=12,
)


@given(schema=_schemas, text=st.one_of(st.just(SHOP.text), st.text(max_size=200)))
def test_any_schema_of_common_keywords_is_satisfied_by_any_page(schema, text):
    whole = {"type": "object", "properties": {"field": schema}, "required": ["field"]}
    filled(whole, PageText(text))


@given(schema=_schemas)
def test_the_same_prompt_gives_the_same_answer(schema):
    assert answer(schema, PageText(SHOP.text)) == answer(schema, PageText(SHOP.text))


@given(st.text())
def test_tokens_join_to_the_text(text):
    assert "".join(tokenize(text)) == text


def test_english_takes_about_four_characters_a_token():
    text = "The first morning with it was quieter than we expected, and nobody minded the extra walk. " * 20
    assert 3.3 < len(text) / len(tokenize(text)) < 4.7


def test_prompts_with_a_common_beginning_share_their_first_blocks_only():
    system = ("system", "Extract the data as JSON, exactly as the schema says, and never invent a value. " * 5)
    one, other = (
        block_hashes(tokenize(chat_prompt([system, ("user", page)])), 16) for page in ("first " * 50, "second " * 50)
    )
    shared = sum(a == b for a, b in zip(one, other, strict=False))
    assert 3 < shared < min(len(one), len(other))
    assert one[-1] != other[-1]


def test_a_string_longer_than_any_answer_is_refused_instead_of_being_written():
    with pytest.raises(GrammarError, match="minLength 1000000000"):
        one({"type": "string", "minLength": 10**9})
