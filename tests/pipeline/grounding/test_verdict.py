import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding.places import places
from scraper.pipeline.grounding.verdict import MAX_EVIDENCE, MAX_LOOK_UPS, better, judge, properties, pruned
from scraper.pipeline.schema import compile_schema

PAGE = PageIndex("Title: Acme Kettle\n\nAcme Kettle, now 12,99 €\nColours: red, blue\nShips from Oslo")


def unsupported(data, schema, page=PAGE, **known):
    return judge(data, schema, page, **known).unsupported


def schema_of(**named):
    return {"type": "object", "properties": named}


def test_each_value_has_its_source_its_evidence_and_whether_it_stands_on_the_page():
    verdict = judge({"name": "Acme Kettle", "price": 13.99}, schema_of(name={}, price={}), PAGE)
    assert verdict.fields == {
        "/name": {"source": "model", "grounded": True, "evidence": "Title: Acme Kettle"},
        "/price": {"source": "model", "grounded": False},
    }
    assert verdict.unsupported == ("/price",)


def test_every_scalar_of_lists_and_objects_has_its_pointer():
    data = {"offers": [{"price": 12.99}, {"price": 99.5}], "tags": ["red", "green"], "a/b~c": {"": "nowhere"}}
    assert unsupported(data, {}) == ("/offers/1/price", "/tags/1", "/a~1b~0c/")


def test_an_answer_that_is_an_array_is_looked_up_as_well():
    assert unsupported(["red", "green"], {"type": "array", "items": {"type": "string"}}) == ("/1",)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"type": "string", "x-derived": True}, "made up"),
        ({"type": "object", "x-derived": True}, {"deep": ["made up"]}),
        ({"enum": ["InStock", "OutOfStock"]}, "InStock"),
        ({"const": "v1"}, "v1"),
        ({"anyOf": [{"enum": ["InStock"]}, {"type": "null"}]}, "InStock"),
        ({"$ref": "#/$defs/state"}, "InStock"),
        ({"type": "array", "items": {"$ref": "#/$defs/state"}}, ["InStock"]),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "string"}, ""),
    ],
)
def test_what_is_no_quote_is_exempt_and_listed_without_a_judgement(part, value):
    schema = schema_of(it=part) | {"$defs": {"state": {"enum": ["InStock"]}}}
    verdict = judge({"it": value}, schema, PAGE)
    assert verdict.unsupported == ()
    assert [set(told) for told in verdict.fields.values()] == [{"source"}]


def test_a_value_beside_an_enumeration_is_looked_up():
    part = {"anyOf": [{"enum": ["InStock"]}, {"type": "string"}]}
    assert unsupported({"it": "Sold by wolves"}, schema_of(it=part)) == ("/it",)


def test_values_from_elsewhere_stay_as_they_are_with_all_below_them():
    known = {"/brand": {"source": "json_ld", "grounded": True}, "/offers": {"source": "microdata", "grounded": True}}
    verdict = judge({"brand": "Unseen", "offers": [{"price": 1}], "brand2": "Unseen"}, {}, PAGE, known=known)
    assert verdict.unsupported == ("/brand2",)
    assert verdict.fields == {**known, "/brand2": {"source": "model", "grounded": False}}


def test_the_field_of_a_value_is_known_through_references_and_unions():
    schema = {
        "$defs": {
            "cost": {"oneOf": [{"type": "null"}, {"allOf": [{"type": "string", "format": "date", "title": "Day"}]}]}
        },
        **schema_of(when={"type": "array", "prefixItems": [{"$ref": "#/$defs/cost"}], "items": {"title": "Other"}}),
    }
    first, second = places({"when": ["2024-05-01", "x"]}, schema)
    assert (first.field.name, first.field.format, second.field.format) == ("when", "date", "")


def test_a_schema_that_refers_to_itself_ends():
    schema = {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#"}]}}, **schema_of(a={"$ref": "#/$defs/a"})}
    assert unsupported({"a": {"a": {"a": "nowhere"}}}, schema) == ("/a/a/a",)


def test_an_answer_nested_as_deeply_as_json_can_be_is_no_error():
    data = "nowhere"
    for _ in range(900):
        data = [data]
    assert len(unsupported(data, {})) == 1


def test_a_long_answer_costs_a_bounded_number_of_look_ups_and_keeps_bounded_evidence():
    verdict = judge({"all": ["red"] * (MAX_LOOK_UPS + 5)}, {}, PAGE)
    assert len(verdict.unsupported) == 5
    assert sum("evidence" in told for told in verdict.fields.values()) == MAX_EVIDENCE


def test_a_new_answer_is_taken_property_by_property_where_it_has_more_ground():
    old = {"name": "Wrong", "price": 1.5, "city": "Rome"}
    new = {"name": "Acme Kettle", "price": 2.5, "city": None}
    names = properties(judge(old, {}, PAGE).unfounded)
    assert better(old, new, names, judge_of=lambda data: judge(data, {}, PAGE)) == {**old, "name": "Acme Kettle"}


OPTIONAL = {"type": "number"}
NULLABLE = {"type": ["number", "null"]}


def left_of(data, schema, *paths):
    fits = compile_schema({"type": "object", "additionalProperties": False, **schema}).validator.is_valid
    assert fits(data)
    left = pruned(data, paths, fits=fits)
    assert left is None or fits(left)
    return left


def test_an_optional_value_is_left_out():
    schema = schema_of(a=OPTIONAL, b=NULLABLE)
    assert left_of({"a": 1, "b": 2}, schema, ("a",), ("b",)) == {}


def test_a_required_value_is_null_where_the_schema_allows_null():
    schema = {**schema_of(a=NULLABLE, b=OPTIONAL), "required": ["a"]}
    assert left_of({"a": 1, "b": 2}, schema, ("a",)) == {"a": None, "b": 2}


def test_an_answer_whose_required_value_has_no_ground_is_none_at_all():
    assert left_of({"a": 1}, {**schema_of(a=OPTIONAL), "required": ["a"]}, ("a",)) is None


OFFERS = {
    **schema_of(offers={"type": "array", "items": {**schema_of(price=OPTIONAL, note={}), "required": ["price"]}}),
}


def test_an_item_goes_with_its_required_value_and_the_others_stay():
    data = {"offers": [{"price": 1}, {"price": 2, "note": "x"}, {"price": 3, "note": "y"}, {"price": 4}]}
    paths = [("offers", 0, "price"), ("offers", 2, "price"), ("offers", 2, "note"), ("offers", 1, "note")]
    assert left_of(data, OFFERS, *paths) == {"offers": [{"price": 2}, {"price": 4}]}
    assert data["offers"][0] == {"price": 1}


def test_a_list_that_would_be_too_short_goes_as_a_whole():
    schema = schema_of(tags={"type": "array", "items": {"type": "string"}, "minItems": 2})
    assert left_of({"tags": ["a", "b"]}, schema, ("tags", 0)) == {}


def test_the_order_of_properties_stays():
    schema = {**schema_of(a=NULLABLE, b=OPTIONAL, c=OPTIONAL), "required": ["a"]}
    assert list(left_of({"a": 1, "b": 2, "c": 3}, schema, ("a",), ("b",))) == ["a", "c"]


def test_whatever_else_the_schema_says_still_holds():
    schema = {**schema_of(a=OPTIONAL, b=OPTIONAL), "dependentRequired": {"b": ["a"]}}
    assert left_of({"a": 1, "b": 2}, schema, ("a",)) is None
    assert left_of({"a": 1, "b": 2}, schema, ("a",), ("b",)) == {}


def test_answers_may_be_looked_up_in_several_threads_whatever_their_schemas():
    def look_up(thread):
        return sum(1 for number in range(2000) for _ in places({"a": 1}, {"title": f"{thread} {number}"}))

    switch_seconds = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(look_up, range(6))) == [2000] * 6
    finally:
        sys.setswitchinterval(switch_seconds)
