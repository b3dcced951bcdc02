import pytest

from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.schema import compile_schema
from scraper.pipeline.validate import MAX_VIOLATIONS, parse, violations

PRODUCT = compile_schema(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "offers": {"type": "array", "items": {"properties": {"price": {"type": "number"}}}},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
)
TREE = compile_schema(
    {
        "type": "object",
        "properties": {
            "x": {"anyOf": [{"allOf": [{"$ref": "#"}, {"required": ["q"]}]}, {"$ref": "#"}]},
            "leaf": {"type": "string"},
        },
    }
)


def refusal(answer):
    with pytest.raises(Permanent) as refused:
        parse(answer)
    assert refused.value.reason is ParkReason.BAD_ANSWER
    return str(refused.value)


@pytest.mark.parametrize(
    "answer",
    ['{"a": 1}', ' \n{"a": 1}\n ', '```json\n{"a": 1}\n```', '```\n{"a": 1}\n```\n', '{"a": 1,}', "{'a': 1}", "{a: 1}"],
)
def test_json_is_read_in_a_fence_and_with_small_mistakes_of_syntax(answer):
    assert parse(answer) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("I cannot help with that.", "is not JSON"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "NaN or Infinity"),
        ('{"a": 1e999}', "beyond all bounds"),
        ('{"a": 1, "a": 2}', "one key twice"),
        ('{"a": {"b": 1, "b": 1}}', "one key twice"),
        ("9" * 5000, "too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1} and more', "is not JSON"),
        ("```\n" + "\n" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_strict_json_is_a_bad_answer(answer, why):
    assert why in refusal(answer)


@pytest.mark.parametrize("answer", ['{"a": "half a sent', '{"a": [1, 2', '{"a":', '{"a": 1, "b', "["])
def test_an_answer_that_just_ends_is_not_completed(answer):
    assert "is not JSON" in refusal(answer)


def test_an_answer_is_mended_only_where_its_meaning_is_beyond_doubt():
    assert parse("{'a': [1, 2,], b: \"it's\", /* note */ c: true,}") == {"a": [1, 2], "b": "it's", "c": True}
    for answer in ("{'a': 1 2}", "{'a': b}", "{'a': 1 'b': 2}", "{'a': 1} and more", "{'a': 1, 'b", '{\'a\': "x" y"}'):
        assert "is not JSON" in refusal(answer)


@pytest.mark.parametrize("broken", ["{", "(", '("a"', "{1", "{a,", "{a:", "[{", "'", '"a" "b" ', "/*", "a:b,"])
def test_mending_takes_no_time_whatever_the_answer(broken):
    """Time that grows with the square of an answer's length was up to 24 seconds here, in which everything waits."""
    answer = "[" + broken * (200_000 // len(broken))
    assert "the answer" in refusal(answer)


def test_an_error_never_quotes_the_answer():
    assert "SECRET" not in refusal('{"SECRET": SECRET}' + "SECRET" * 10_000)


def test_data_that_fits_has_no_violations():
    assert violations(PRODUCT, {"name": "Kettle", "offers": [{"price": 1.5}]}) == ()


def test_violations_name_path_and_rule_and_never_a_value():
    found = violations(PRODUCT, {"name": 3, "offers": [{"price": "SECRET"}]})
    assert found == ('#/name: the value is not of type "string"', '#/offers/0/price: the value is not of type "number"')


def test_keys_made_up_by_the_model_are_not_repeated():
    schema = compile_schema({"type": "object", "additionalProperties": {"type": "number"}})
    assert violations(schema, {"SECRET": "x"}) == ('#/*: the value is not of type "number"',)
    assert violations(PRODUCT, {"name": "x", "SECRET": 1}) == ("#: has properties that the schema does not allow",)


def test_a_missing_property_is_named():
    assert violations(PRODUCT, {}) == ('#: "name" is a required property',)


def test_no_more_violations_are_listed_than_help():
    assert len(violations(PRODUCT, {"name": "x", "offers": [{"price": "x"}] * 1000})) == MAX_VIOLATIONS


def test_listing_what_is_wrong_with_a_deep_answer_takes_no_time():
    answer = {"leaf": 3}
    for _ in range(60):
        answer = {"x": answer}
    assert violations(TREE, answer) == ("#: does not fit the schema",)


@pytest.mark.parametrize(("ways", "levels"), [(1, 8), (2, 8), (10, 2), (50, 1)])
def test_a_wrong_answer_is_listed_as_deep_as_that_stays_cheap(ways, levels):
    """A schema that names itself `ways` times for one place has `ways ** levels` things to say about it."""
    itself = {"type": "object", "allOf": [{"properties": {"a": {"$ref": "#"}}}] * ways}
    schema = compile_schema(itself)
    assert schema.detailed_depth == levels
    answer = {"a": 3}
    for _ in range(levels - 1):
        answer = {"a": answer}
    assert violations(schema, answer) == (f'#{"/a" * levels}: the value is not of type "object"',)
    assert violations(schema, {"a": answer}) == ("#: does not fit the schema",)
