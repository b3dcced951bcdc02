import pytest

from scraper.pipeline.schema import compile_schema
from scraper.pipeline.schema_advice import advice
from scraper.testing.vllm_grammar import GrammarError, check_schema

TIGHT = {"type": "object", "additionalProperties": False, "required": ["a"]}


def told(schema, verdict):
    return {each.path: each.message for each in advice(compile_schema(schema)) if each.verdict == verdict}


def of(**parts):
    return TIGHT | {"properties": {"a": parts}}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "array", "maxItems": 3, "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "maxItems": 3, "items": {"type": "string"}, "contains": {"const": "x"}}, "contains"),
        ({"type": "number", "not": {"const": 3}}, "not"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"oneOf": [{"type": "string"}, {"const": "x"}]}, "oneOf"),
        ({"allOf": [{"type": "string"}, {"minLength": 3}]}, "allOf"),
    ],
)
def test_what_a_grammar_cannot_hold_is_told(part, path):
    assert list(told(of(**part), "loose")) == [f"#/properties/a/{path}"]


@pytest.mark.parametrize(
    "schema",
    [
        of(type="number", multipleOf=0.01),
        of(type="number", multipleOf=0.01, **{"not": {"const": 3}}),
        of(type="string", format="iri"),
        of(type="string", format="uri-reference"),
        of(type="string", format="uri-reference", minLength=3),
        of(type="string", pattern="^a", maxLength=3),
        of(type="string", pattern="^a", maxLength=3) | {"minProperties": 1},
        of(type="array", uniqueItems=True),
        of(type="object", propertyNames={"pattern": "^x"}),
        of(type="object", patternProperties={"^x": {"type": "string"}}),
        of(type="object") | {"dependentRequired": {"a": ["b"]}},
        of(type="string", format="date") | {"if": {"required": ["a"]}, "then": {"maxProperties": 1}},
    ],
)
def test_refused_is_what_a_server_refuses(schema):
    compiled = compile_schema(schema)
    try:
        check_schema(compiled.response_format["json_schema"]["schema"])
        refused = False
    except GrammarError:
        refused = True
    assert bool(told(schema, "refused")) is refused


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "additionalProperties: false"),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
            "nothing is required",
        ),
        (of(), "only its name to go by"),
        (of(type="array", items={"type": "string"}), "maxItems"),
        (of(enum=[str(number) for number in range(300)]), "300 choices"),
        (TIGHT | {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, "refers to itself"),
    ],
)
def test_what_would_make_answers_better_is_hinted_at(schema, words):
    assert any(words in each for each in told(schema, "hint").values())


def test_it_is_told_what_a_pages_own_data_may_answer():
    price = {"type": "number"}
    schema = {
        "type": "object",
        "properties": {
            "offer": {"type": "object", "properties": {"price": price}},
            "sku": {"type": "string"},
            "mood": {"type": "string"},
        },
    }
    assert told(schema, "data") == {"#/offer/price": "price of a product", "#/sku": "sku of a product"}
