import sys

import pytest

from scraper.pipeline.schema_depth import MAX_DEPTH, deepest

TEXT = {"type": "string"}


def closed(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "levels"),
    [
        (TEXT, 0),
        (closed(name=TEXT), 1),
        (closed(name=TEXT, offers={"type": "array", "items": closed(price={"type": ["number", "null"]})}), 3),
        ({"type": "array", "items": {"type": "array", "items": TEXT}}, 2),
        ({"type": "array", "prefixItems": [closed(a=TEXT)], "items": False}, 2),
        ({"type": "object", "additionalProperties": {"type": "array", "items": TEXT}}, 2),
        (closed(a={"anyOf": [TEXT, closed(b=TEXT), {"type": "null"}]}), 2),
        (closed(a={"allOf": [{"type": "object"}, closed(b=TEXT)]}), 2),
        ({"$ref": "#/$defs/x", "$defs": {"x": closed(a={"$ref": "#/$defs/y"}), "y": closed(b=TEXT)}}, 2),
        ({"type": ["object", "string"], "properties": {}, "additionalProperties": False}, 1),
    ],
)
def test_a_closed_schema_bounds_its_answers(schema, levels):
    assert deepest(schema) == levels


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "object", "properties": {"name": TEXT}},
        closed(anything={}),
        {"type": "array"},
        closed(children={"type": "array", "items": {"$ref": "#"}}),
        {"$ref": "#/$defs/lost"},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/x"}, "$defs": {"x": {"$ref": "#/$defs/x"}}},
    ],
)
def test_an_open_schema_bounds_nothing(schema):
    assert deepest(schema) == MAX_DEPTH


def grid(size):
    """Each place an object that refers to its neighbours: ways through it without end, and no place twice."""
    places = {f"{x},{y}": (x, y) for x in range(size) for y in range(size)}
    around = ((0, 1), (1, 0), (0, -1), (-1, 0))
    return {
        "$ref": "#/$defs/0,0",
        "$defs": {
            name: closed(
                **{near: {"$ref": f"#/$defs/{near}"} for dx, dy in around if (near := f"{x + dx},{y + dy}") in places}
            )
            for name, (x, y) in places.items()
        },
    }


def chain(length):
    steps = {f"d{n}": closed(a={"$ref": f"#/$defs/d{n + 1}"}) for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": steps | {f"d{length}": TEXT}}


def calls_of(function, *arguments, at_most):
    """How many calls of Python functions it took; ends it with an error beyond `at_most`."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"
        if calls > at_most:
            raise AssertionError(f"more than {at_most} calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_every_part_is_looked_at_once_however_many_ways_lead_to_it(size):
    parts = 5 * size**2  # a place and at most four references
    assert calls_of(deepest, grid(size), at_most=20 * parts) > parts
    assert deepest(grid(size)) == MAX_DEPTH


@pytest.mark.parametrize("length", [5, MAX_DEPTH - 1])
def test_a_chain_of_references_bounds_its_answers(length):
    assert deepest(chain(length)) == length


def test_a_chain_of_references_may_be_longer_than_the_stack():
    assert deepest(chain(2 * sys.getrecursionlimit())) == MAX_DEPTH


@pytest.mark.parametrize("part", [{"type": 3}, {"type": [{}]}, {"type": "array", "prefixItems": 3}])
def test_what_makes_no_sense_bounds_nothing(part):
    assert deepest(closed(a=part)) == MAX_DEPTH
