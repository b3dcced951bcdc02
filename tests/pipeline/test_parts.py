import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.pipeline.parts import lists_things, merged, of_a_part, parts_needed, split
from scraper.pipeline.schema import compile_schema

ITEM = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}
LISTING = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "total": {"type": ["integer", "null"]},
        "items": {"type": "array", "items": ITEM, "minItems": 1, "maxItems": 100},
    },
    "required": ["title", "total", "items"],
}
PRODUCT = {"type": "object", "properties": {"name": {"type": "string"}}}
THINGS = {"type": "array", "items": ITEM}


def lines_of(count):
    return "\n".join(f"- kettle {n}, {n}.50 EUR" for n in range(count))


def test_parts_are_cut_at_lines_have_much_the_same_length_and_hold_everything():
    text = lines_of(400)
    parts = split(text, 4)
    assert len(parts) == 4
    assert all(0.8 < len(part) * 4 / len(text) < 1.3 for part in parts)
    assert all(line in text.split("\n") for part in parts for line in part.split("\n"))
    assert dict.fromkeys("\n".join(parts).split("\n")) == dict.fromkeys(text.split("\n"))


def test_parts_overlap_a_little():
    first, second = split(lines_of(200), 2)
    shared = set(first.split("\n")) & set(second.split("\n"))
    assert 1 <= len(shared) <= 3
    assert second.startswith(first.split("\n")[-len(shared)])


def test_a_heading_is_a_better_border_than_the_middle_of_a_list():
    lines = [f"- kettle {n}, {n}.50 EUR" for n in range(100)]
    lines.insert(46, "## More kettles")
    assert "\n## More kettles" in split("\n".join(lines), 2)[1]
    assert "## More kettles" not in split("\n".join(lines), 2)[0]


@pytest.mark.parametrize("text", ["", "short", "x" * 1199])
def test_what_is_short_is_not_split(text):
    assert split(text, 3) == [text]


@given(st.text(alphabet="ab \n-#", max_size=5000), st.integers(2, 9))
def test_nothing_is_lost_whatever_the_text(text, count):
    parts = split(text, count)
    assert 1 <= len(parts) <= count
    words = "".join(parts).replace(" ", "").replace("\n", "")
    assert all(words.count(letter) >= text.count(letter) for letter in "ab-#")


def test_a_text_of_one_line_is_cut_at_spaces():
    parts = split("kettle " * 1000, 3)
    assert len(parts) == 3
    assert all(set(part.split()) == {"kettle"} for part in parts)


def test_how_far_a_cut_off_answer_came_tells_how_many_parts_there_should_be():
    text = lines_of(1000)
    assert parts_needed(text, '[{"name": "kettle 248"}, {"name": "kettle 249"') == 5
    assert parts_needed(text, '[{"name": "kettle 900"}, {"na') == 2
    assert parts_needed(text, "[[[") == 2


def test_a_part_need_not_have_what_the_whole_must_have():
    loose = of_a_part(compile_schema(LISTING))
    assert loose.validator.is_valid({})
    assert loose.validator.is_valid({"items": []})
    assert not loose.validator.is_valid({"items": [3]})
    assert list(loose.schema["properties"]) == list(LISTING["properties"])
    assert of_a_part(compile_schema(THINGS | {"minItems": 3})).validator.is_valid([])
    assert not of_a_part(compile_schema(LISTING | {"type": ["object", "null"]})).validator.is_valid(None)


def test_a_schema_that_speaks_of_its_properties_together_is_asked_of_every_part_as_it_is():
    schema = compile_schema(LISTING | {"anyOf": [{"required": ["items"]}]})
    assert of_a_part(schema) is schema


def test_lists_are_put_together_without_what_was_read_twice():
    a, b, c, d = ({"name": f"kettle {n}", "price": n} for n in range(4))
    assert merged([[a, b, c], [c, d]], THINGS) == [a, b, c, d]
    assert merged([[a, b], [b, a, d], []], THINGS) == [a, b, d]
    assert merged([["x", "y"], ["y", "z"]], {"type": "array"}) == ["x", "y", "z"]


def test_numbers_that_are_alike_are_not_the_same_but_those_at_a_border_are():
    assert merged([[1, 2, 2, 3], [2, 3, 1, 2]], {"type": "array"}) == [1, 2, 2, 3, 1, 2]


def test_of_an_item_that_a_border_cut_in_two_the_whole_is_kept():
    whole, half = {"name": "kettle", "price": 3}, {"name": "kettle", "price": None}
    other = {"name": "pan", "price": 9}
    assert merged([[other, half], [whole]], THINGS) == [other, whole]
    assert merged([[other, whole], [{"name": "kettle"}]], THINGS) == [other, whole]


def test_equal_items_of_one_part_stay():
    same = {"name": "kettle"}
    assert merged([[same, same], [{"name": "pan"}]], THINGS) == [same, same, {"name": "pan"}]


def test_a_scalar_comes_from_the_first_part_that_has_it():
    answers = [
        {"items": []},
        {"title": "Kettles", "total": None},
        {"title": "More", "total": 7, "items": [{"name": "a"}]},
    ]
    assert merged(answers, LISTING) == {"title": "Kettles", "total": 7, "items": [{"name": "a"}]}


def test_what_no_part_has_is_null_only_where_that_is_allowed():
    assert merged([{"items": []}], LISTING) == {"total": None, "items": []}


def test_a_list_is_no_longer_than_it_may_be():
    names = [{"name": f"n{n}"} for n in range(150)]
    assert merged([{"items": names[:90]}, {"items": names[90:]}], LISTING)["items"] == names[:100]


@pytest.mark.parametrize(
    ("schema", "lists"),
    [
        ({"type": "array", "items": {"type": "string"}}, True),
        (LISTING, True),
        ({"type": "object", "properties": {"offers": {"type": "array", "items": {"$ref": "#/$defs/o"}}}}, True),
        (PRODUCT, False),
        ({"type": "object", "properties": {"authors": {"type": "array", "items": {"type": "string"}}}}, False),
        ({"anyOf": [{"type": "object"}]}, False),
    ],
)
def test_a_list_of_things_is_told_from_a_thing_with_a_few_words(schema, lists):
    assert lists_things(schema) is lists
