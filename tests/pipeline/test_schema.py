import contextlib
import json
import os

import pytest

from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.parts import of_a_part
from scraper.pipeline.schema import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_PATTERN_CHARS,
    MAX_PATTERNS,
    compile_schema,
    narrowed,
    wants_links,
)
from scraper.schemas import named_schema, schema_names
from scraper.testing.vllm_grammar import check_schema
from tests.pipeline.test_schema_depth import calls_of, grid

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}


def refusal(schema):
    with pytest.raises(Permanent) as refused:
        compile_schema(schema)
    assert refused.value.reason is ParkReason.BAD_SCHEMA
    return str(refused.value)


def object_with(**properties):
    return {"type": "object", "properties": properties}


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = object_with(a=schema)
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        OBJECT,
        {"type": "array", "items": OBJECT},
        {"type": ["object", "null"]},
        {"$ref": "#/$defs/x", "$defs": {"x": OBJECT}},
        {"anyOf": [OBJECT]},
        {"properties": {}},
    ],
)
def test_objects_and_arrays_are_accepted(schema):
    assert compile_schema(schema).schema == schema


@pytest.mark.parametrize(
    "schema", [{}, {"type": "string"}, {"title": "x"}, {"type": "nothing"}, {"type": 3}, {"enum": ["a"]}]
)
def test_what_describes_neither_object_nor_array_is_refused(schema):
    assert "must describe an object or an array" in refusal(schema)


@pytest.mark.parametrize("key", ["$ref", "$dynamicRef", "$recursiveRef"])
@pytest.mark.parametrize(
    "target", ["http://e.example/s.json", "file:///etc/passwd", "other.json", "#anchor", "", 3, None]
)
def test_references_out_of_the_schema_are_refused_with_their_path(key, target):
    assert refusal(object_with(price={key: target})).startswith(f"schema #/properties/price/{key}: only references")


def test_a_property_may_be_called_ref():
    compile_schema(object_with(**{"$ref": {"type": "string"}}))


def test_a_reference_that_leads_nowhere_is_refused():
    assert "/$defs/x" in refusal({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}})


@pytest.mark.parametrize("key", ["$schema", "$id"])
def test_no_identifier_makes_anything_be_fetched(key):
    schema = {key: "http://127.0.0.1:9/s", "type": "object"}
    if key == "$schema":
        assert "meta-schema" in refusal(schema)
    else:
        assert compile_schema(schema).validator.is_valid({})


def test_a_mistake_names_its_path():
    assert refusal(object_with(price={"type": "nubmer"})).startswith("schema #/properties/price/type: ")


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "(", "(a{1,1000}){1,1000}"])
def test_patterns_that_are_not_matched_in_linear_time_are_refused(pattern):
    message = refusal(object_with(sku={"type": "string", "pattern": pattern}))
    assert message.startswith("schema #/properties/sku/pattern: ")
    assert "look-around" in message


def test_a_pattern_that_ruins_other_engines_is_matched_at_once():
    schema = compile_schema(object_with(a={"type": "string", "pattern": "^(a+)+$"}))
    assert not schema.validator.is_valid({"a": "a" * 100_000 + "!"})


def test_many_or_long_patterns_are_refused():
    assert "patterns" in refusal(object_with(**{f"p{n}": {"pattern": "a"} for n in range(MAX_PATTERNS + 1)}))
    assert "characters" in refusal(object_with(p={"pattern": "a" * (MAX_PATTERN_CHARS + 1)}))
    assert "characters" in refusal({"type": "object", "patternProperties": {"a" * (MAX_PATTERN_CHARS + 1): {}}})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 1e9},
        {"type": "object", "minProperties": 10**9},
    ],
)
def test_a_minimum_that_no_answer_can_reach_is_refused_with_its_path(part):
    assert "#/properties/a/min" in refusal(object_with(a=part))


def test_deep_schemas_are_refused():
    compile_schema(nested(MAX_DEPTH // 2 - 2))
    assert "nested deeper" in refusal(nested(MAX_DEPTH))
    assert "nested deeper" in refusal(nested(5000))


def test_long_schemas_are_refused():
    assert "characters" in refusal(object_with(a={"description": "x" * MAX_CHARS}))


def test_a_schema_that_explodes_when_written_out_is_refused():
    steps = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    assert "written out" in refusal({"$ref": "#/$defs/d0", "$defs": steps | {"d30": OBJECT}})


def doubling(steps, prefix):
    """Written out 2 ** `steps` subschemas, and as much work for a validator, in references that begin with `prefix`."""
    return {f"d{n}": {"allOf": [{"$ref": f"{prefix}/d{n + 1}"}] * 2} for n in range(steps)} | {f"d{steps}": OBJECT}


@pytest.mark.parametrize("prefix", ["#/$defs", "#/%24defs", "#/%24%64efs"])
def test_no_spelling_of_a_reference_hides_what_it_leads_to(prefix):
    assert "written out" in refusal({"$ref": f"{prefix}/d0", "$defs": doubling(30, prefix)})


def test_a_reference_leads_into_lists_as_the_validator_reads_them():
    schema = compile_schema({"allOf": [OBJECT, {"properties": {"b": {"$ref": "#/allOf/0"}}}], "type": "object"})
    assert not schema.validator.is_valid({"b": 3})
    for name in ("²", "+0", "7", "-1"):
        assert "leads to no schema" in refusal(object_with(a={"$ref": f"#/allOf/{name}"}) | {"allOf": [OBJECT]})


@pytest.mark.parametrize(
    ("root", "identifier", "defs"),
    [
        ({}, "$id", "$defs"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$id", "definitions"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "id", "definitions"),
    ],
)
def test_an_identifier_that_would_change_where_references_lead_is_refused(root, identifier, defs):
    prefix = f"#/{defs}"
    inner = {identifier: "http://e.example/inner", "allOf": [{"$ref": f"{prefix}/d0"}], defs: doubling(30, prefix)}
    outer = {name: {} for name in inner[defs]} | {"inner": inner}
    message = refusal({**root, "type": "object", "allOf": [{"$ref": f"{prefix}/inner"}], defs: outer})
    assert message.startswith(f"schema {prefix}/inner/{identifier}: would change where references lead")


def test_an_identifier_that_changes_nothing_is_left_alone():
    compile_schema(object_with(a={"$id": "http://e.example/a", "type": "string"}))
    compile_schema(object_with(a={"$ref": "#/$defs/x"}) | {"$defs": {"x": {"id": "x", "type": "string"}}})


def test_references_behind_unknown_keywords_are_checked_too():
    hidden = {"kept": {"a": {"$ref": "#somewhere"}}, "$defs": {"x": {"$anchor": "somewhere"}}}
    assert "only references that begin with #/" in refusal(object_with(a={"$ref": "#/kept/a"}) | hidden)


def test_a_chain_of_references_may_be_longer_than_the_stack():
    steps = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1500)} | {"d1500": OBJECT}
    schema = compile_schema({"$ref": "#/$defs/d0", "$defs": steps})
    assert not schema.recursive
    assert not schema.validator.is_valid({"a": 3})


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_what_is_left_unevaluated_level_by_level_is_counted_as_the_validator_counts(keyword):
    """To tell what is left, it evaluates all beside it once more, and so twice as much with every level."""

    def levels(count):
        steps = {
            f"d{n}": {"type": "object", keyword: [{"$ref": f"#/$defs/d{n + 1}"}], "unevaluatedProperties": False}
            for n in range(count)
        }
        return {"type": "object", "$ref": "#/$defs/d0", "$defs": steps | {f"d{count}": OBJECT}}

    assert compile_schema(levels(8)).validator.is_valid({"a": "x"})
    assert "written out" in refusal(levels(20))
    nested = OBJECT
    for _ in range(20):
        nested = {"type": "object", keyword: [nested], "unevaluatedProperties": False}
    assert "written out" in refusal(nested)


@pytest.mark.parametrize("between", ["allOf", "anyOf", "oneOf"])
def test_a_schema_that_is_defined_by_itself_is_refused(between):
    """A validator takes n! steps to find that n schemas that all name each other say nothing."""
    defs = {f"d{n}": {between: [{"$ref": f"#/$defs/d{m}"} for m in range(8) if m != n]} for n in range(8)}
    assert "is defined by itself" in refusal({"$ref": "#/$defs/d0", "$defs": defs})
    assert "is defined by itself" in refusal({"$ref": "#"})
    assert "is defined by itself" in refusal({**OBJECT, "dependentSchemas": {"a": {"not": {"$ref": "#"}}}})


def test_a_schema_that_names_itself_for_what_is_inside_is_accepted():
    for inside in (
        {"items": {"$ref": "#"}},
        {"properties": {"a": {"anyOf": [{"$ref": "#"}]}}},
        {"not": {"items": {"$ref": "#"}}},
    ):
        assert compile_schema({"type": ["object", "array"], **inside}).recursive


@pytest.mark.parametrize("size", [2, 4, 6, 8, 16])
def test_a_maze_of_references_is_judged_at_once(size):
    schema = grid(size)

    def judged():
        with contextlib.suppress(Permanent):
            compile_schema(schema)

    calls_of(judged, at_most=20 * len(json.dumps(schema)))


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"prefixItems": 3}, "prefixItems: must be a list"),
        ({"prefixItems": [{"enum": 3}]}, "prefixItems/0/enum: must be a list"),
        ({"prefixItems": [{"anyOf": None}]}, "prefixItems/0/anyOf: must be a list"),
        ({"contentSchema": {"type": {}}}, "contentSchema/type: must be a type"),
        ({"dependentSchemas": {"b": {"properties": []}}}, "dependentSchemas/b/properties: must be an object"),
    ],
)
def test_what_a_keyword_cannot_mean_is_refused_also_in_drafts_that_do_not_know_it(part, where):
    root = {"$schema": "http://json-schema.org/draft-06/schema#"}
    assert refusal({**root, **object_with(a=part)}).startswith(f"schema #/properties/a/{where}")
    assert where in refusal({**root, **object_with(a={"$ref": "#/kept/a"}), "kept": {"a": part}})


@pytest.mark.parametrize("part", [{"type": [{}]}, {"format": {}}, {"title": 3}])
def test_what_means_nothing_in_a_place_that_its_draft_does_not_know_does_no_harm(part):
    root = {"$schema": "http://json-schema.org/draft-06/schema#"}
    assert compile_schema({**root, **object_with(a={"prefixItems": [part]})}).depth == MAX_DEPTH


def test_a_schema_that_refers_to_itself_is_accepted_and_known():
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}
    assert compile_schema(tree).recursive
    assert not compile_schema(OBJECT).recursive


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_refused(value):
    assert "not JSON" in refusal({"type": "object", "default": value})


def test_a_schema_is_compiled_once():
    assert compile_schema(OBJECT) is compile_schema(json.loads(json.dumps(OBJECT)))


def test_the_text_keeps_the_order_of_the_properties():
    first, second = object_with(b={}, a={}), object_with(a={}, b={})
    assert compile_schema(first).text != compile_schema(second).text


def test_later_changes_to_the_given_schema_change_nothing():
    schema = object_with(a={"type": "string"})
    compiled = compile_schema(schema)
    schema["properties"]["a"]["type"] = "number"
    assert compiled.schema["properties"]["a"]["type"] == "string"


def test_the_grammar_is_spared_what_it_refuses_and_the_validator_is_not():
    schema = compile_schema(
        object_with(uniqueItems={"type": "array", "uniqueItems": True, "items": {"type": "integer"}})
    )
    sent = schema.response_format["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["properties"]["uniqueItems"] == {"type": "array", "items": {"type": "integer"}}
    assert not schema.validator.is_valid({"uniqueItems": [1, 1]})


WHOLE = {
    "$defs": {"money": {"type": "number", "minimum": 0}},
    "type": ["object", "null"],
    "properties": {"name": {"type": "string"}, "price": {"$ref": "#/$defs/money"}, "sku": {"type": "string"}},
    "required": ["sku", "name"],
    "additionalProperties": False,
}


def test_a_part_of_a_schema_asks_for_its_properties_alone_in_their_order():
    part = narrowed(compile_schema(WHOLE), {"sku", "price"})
    assert part.schema == WHOLE | {
        "type": "object",
        "properties": {"price": {"$ref": "#/$defs/money"}, "sku": {"type": "string"}},
        "required": ["sku"],
    }
    assert list(part.schema["properties"]) == ["price", "sku"]
    assert part.validator.is_valid({"sku": "A1", "price": 2})
    assert not part.validator.is_valid({"sku": "A1", "price": -2})
    assert not part.validator.is_valid({"sku": "A1", "name": "Kettle"})
    assert part.response_format["json_schema"]["schema"] == part.schema


@pytest.mark.parametrize(
    "together",
    [
        {"anyOf": [{"required": ["price"]}, {"required": ["sku"]}]},
        {"if": {"required": ["price"]}, "then": {"required": ["sku"]}},
        {"dependentRequired": {"price": ["sku"]}},
        {"minProperties": 2},
        {"properties": WHOLE["properties"] | {"was": {"$ref": "#/properties/price"}}},
        {"properties": WHOLE["properties"] | {"parts": {"type": "array", "items": {"$ref": "#"}}}},
    ],
)
def test_a_schema_that_speaks_of_properties_together_has_no_parts(together):
    assert narrowed(compile_schema(WHOLE | together), {"name"}) is None


def test_a_list_has_no_parts_and_no_part_has_properties_of_its_own():
    assert narrowed(compile_schema({"type": "array", "items": OBJECT}), {"a"}) is None
    assert narrowed(compile_schema(WHOLE), {"colour"}) is None


@pytest.mark.parametrize(
    "name", ["url", "image", "imageUrl", "image_urls", "product-link", "website", "logo", "thumbnails"]
)
def test_a_property_whose_name_asks_for_an_address_wants_links(name):
    assert wants_links(object_with(**{name: {"type": "string"}}))


def test_a_uri_format_anywhere_wants_links():
    assert wants_links({"type": "array", "items": {"anyOf": [object_with(x={"type": "string", "format": "uri"})]}})


@pytest.mark.parametrize("name", ["name", "curl_type", "linkage", "reimagined", "price"])
def test_other_properties_want_no_links(name):
    assert not wants_links(object_with(**{name: {"type": "string"}}))


@pytest.mark.parametrize("name", ["product", "article"])
def test_the_ready_made_schemas_are_sound(name):
    assert compile_schema(named_schema(name)).schema["title"].lower() == name


def test_a_folder_of_ones_own_comes_first_and_is_read_again_when_it_changes(tmp_path):
    (tmp_path / "product.json").write_text('{"type": "object"}')
    assert named_schema("product", folder=tmp_path) == {"type": "object"}
    (tmp_path / "product.json").write_text('{"type": "array", "items": {}}')
    os.utime(tmp_path / "product.json", ns=(1, 1))
    assert named_schema("product", folder=tmp_path) == {"type": "array", "items": {}}
    assert named_schema("article", folder=tmp_path)["title"] == "Article"


@pytest.mark.parametrize("name", ["../product", "Product", "", "a" * 65, "missing", "product.json", "a/b", "pro duct"])
def test_a_name_without_a_schema_is_refused(name, tmp_path):
    with pytest.raises(Permanent) as refused:
        named_schema(name, folder=tmp_path)
    assert refused.value.reason is ParkReason.BAD_SCHEMA


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 5000])
def test_a_schema_file_that_is_none_is_refused_by_its_name(content, tmp_path):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(Permanent, match=r"mine\.json"):
        named_schema("mine", folder=tmp_path)


@pytest.mark.parametrize("name", schema_names())
def test_what_is_asked_of_a_ready_made_schema_in_part_is_accepted_by_the_servers_grammar(name):
    schema = compile_schema(named_schema(name))
    names = list(schema.schema["properties"])
    for asked in (
        schema,
        of_a_part(schema),
        *(narrowed(schema, {each}) for each in names),
        narrowed(schema, names[1:]),
    ):
        check_schema(asked.response_format["json_schema"]["schema"])


@pytest.mark.parametrize("wrong", ["strin", "String", ["string", "none"]])
def test_a_type_that_there_is_not_is_answered_with_those_that_there_are(wrong):
    said = refusal(object_with(name={"type": wrong}))
    assert "#/properties/name/type: is none of string, number, integer" in said
