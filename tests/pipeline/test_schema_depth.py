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
