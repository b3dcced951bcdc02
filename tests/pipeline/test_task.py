import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.task import MAX_FIELDS, MAX_ID_CHARS, MAX_URL_CHARS, decode

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def named(name):
    if name == "product":
        return SCHEMA
    raise Permanent(ParkReason.BAD_SCHEMA, f"there is no schema named {name!r}")


def read(body, max_bytes=1 << 20):
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return decode(raw, named_schema=named, max_bytes=max_bytes)


def task(**fields):
    return read({"url": "https://e.example/", "schema": SCHEMA} | fields)


def refusal(body, reason=ParkReason.BAD_TASK, **options):
    with pytest.raises(Permanent) as refused:
        read(body, **options)
    assert refused.value.reason is reason
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def test_a_task_with_everything_is_read():
    body = {
        "task_id": "shop/1",
        "html": "<p>x",
        "base_url": "https://e.example/",
        "schema": "product",
        "instructions": "In EUR.",
        "priority": "high",
        "expires_at": "2030-01-31T12:00:00Z",
        "metadata": {"any": [1, None]},
    }
    found = read(body)
    assert (found.task_id, found.html, found.base_url, found.schema) == ("shop/1", "<p>x", "https://e.example/", SCHEMA)
    assert (found.instructions, found.priority, found.metadata) == ("In EUR.", "high", {"any": [1, None]})
    assert found.expires_at == datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("source", ["url", "html", "text"])
def test_each_kind_of_source_is_read(source):
    assert getattr(read({source: "https://x", "schema": SCHEMA}), source) == "https://x"


def test_a_byte_order_mark_is_no_mistake():
    assert read(b"\xef\xbb\xbf" + json.dumps({"url": "https://x", "schema": SCHEMA}).encode()).url == "https://x"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not UTF-8"),
        (b'{"url": "\xed\xa0\x80"}', "not UTF-8"),
        ("{", "line 1 column 2"),
        (b'{"url": "\x01"}', "JSON: Invalid control character at line 1 column 10"),
        ("[]", "a task is a JSON object, this is list"),
        ("null", "a task is a JSON object"),
        ('{"url": NaN}', "NaN"),
        ('{"metadata": 1e999}', "beyond all bounds"),
        ('{"metadata": ' + "9" * 5000 + "}", "too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"metadata": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}", "nested too deeply"),
        ('{"url": "a", "url": "b"}', "the key 'url' twice"),
        ('{"url": "a", "schema": {"type": "object", "type": "array"}}', "the key 'type' twice"),
        ('{"url": "a\u0001"}'.encode(), "not JSON"),
    ],
)
def test_what_is_no_json_object_is_a_bad_task(body, why):
    assert why in refusal(body)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"url": None}, "given: none"),
        ({"html": "<p>"}, "given: url and html"),
        ({"url": "  "}, "url: is empty"),
        ({"url": "shop.example/page"}, "url: not an address"),
        ({"url": "two words"}, "url: not an address"),
        ({"url": '"https://shop.example/page"'}, "url: not an address; give it without quotation marks"),
        ({"url": 3}, "url: should be a valid string"),
        ({"url": "https://e.example/\nx"}, "url: has control"),
        ({"url": "https://e.example/\ud800"}, "url: has control"),
        ({"url": "https://e.example/" + "x" * MAX_URL_CHARS}, "url: has"),
        ({"base_url": "https://e.example/"}, "base_url: only beside html"),
        ({"prio": "high"}, "unknown field 'prio'"),
        ({"prio\ud800": "high"}, r"unknown field 'prio\ud800'"),
        ({"prio\x1b[31m": "high"}, r"unknown field 'prio\x1b[31m'"),
        ({"priority": "urgent"}, "priority: should be 'normal' or 'high'"),
        ({"task_id": ""}, "task_id: 1 to 200 characters, this has 0"),
        ({"task_id": "x" * (MAX_ID_CHARS + 1)}, "task_id: 1 to 200"),
        ({"task_id": "a\tb"}, "task_id: has control"),
        ({"task_id": 17}, "task_id: should be a valid string"),
        ({"expires_at": "tomorrow"}, "expires_at: not a time"),
        ({"expires_at": "2030-01-31T12:00:00"}, "expires_at: without a time zone"),
        ({"expires_at": 1893456000}, "expires_at: should be a valid string"),
        ({"instructions": ["a"]}, "instructions: should be a valid string"),
        ({"instructions": "\ud800"}, "instructions: should be a valid string"),
        ({"schema": None}, "schema: a JSON Schema object or the name of one"),
        ({"schema": []}, "schema: a JSON Schema object"),
        ({"schema": True}, "schema: a JSON Schema object"),
    ],
)
def test_a_mistake_names_its_field(fields, why):
    assert why in refusal({"url": "https://e.example/", "schema": SCHEMA} | fields)


def test_a_missing_schema_is_named():
    assert refusal({"url": "https://x"}) == "schema: missing"


def test_a_body_over_the_limit_is_too_large():
    assert "TASK_MAX_BYTES" in refusal({"url": "https://x" * 100}, ParkReason.TOO_LARGE, max_bytes=50)


def test_an_unknown_name_of_a_schema_is_a_bad_schema():
    assert "nothing" in refusal({"url": "https://x", "schema": "nothing"}, ParkReason.BAD_SCHEMA)


def test_a_million_fields_are_refused_at_once():
    assert f"at most {MAX_FIELDS} fields" in refusal({f"f{n}": n for n in range(10_000)})


@pytest.mark.parametrize("field", ["html", "text", "instructions", "metadata"])
def test_no_error_quotes_what_the_task_carries(field):
    body = {"url": "https://x", "schema": 3, "task_id": 4, field: "SECRET" * 100}
    assert "SECRET" not in refusal(body)
    assert "SECRET" not in refusal({field: ["SECRET"], "schema": 3})
    assert "SECRET" not in refusal(json.dumps(body)[:-5])


def test_an_error_keeps_no_input_behind_it():
    with pytest.raises(Permanent) as refused:
        read({"url": ["SECRET"], "schema": SCHEMA})
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_derived_id_is_the_beginning_of_the_content_digest():
    found = task()
    assert len(found.content_sha256) == 64
    assert found.task_id == found.content_sha256[:32]


def test_a_given_id_does_not_change_what_the_content_is():
    assert task(task_id="x").content_sha256 == task().content_sha256


def test_what_does_not_change_the_question_does_not_change_the_digest():
    reordered = {"properties": SCHEMA["properties"], "type": "object"}
    same = {
        task(priority="high", metadata=1, expires_at="2030-01-01T00:00Z").content_sha256,
        task(schema=reordered).content_sha256,
        task(schema="product").content_sha256,
    }
    assert same == {task().content_sha256}


def test_every_part_of_the_question_changes_the_digest():
    digests = [
        task().content_sha256,
        task(url="https://e.example/2").content_sha256,
        task(schema={"type": "object"}).content_sha256,
        task(instructions="x").content_sha256,
        read({"html": "https://e.example/", "schema": SCHEMA}).content_sha256,
        read({"text": "https://e.example/", "schema": SCHEMA}).content_sha256,
        read({"html": "https://e.example/", "base_url": "x", "schema": SCHEMA}).content_sha256,
    ]
    assert len(set(digests)) == len(digests)


def test_a_page_with_a_lone_surrogate_is_a_task():
    assert read('{"html": "a\\ud800", "schema": {"type": "object"}}').html == "a\ud800"


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps({"url": text, "schema": text}).encode())
)
def test_any_body_is_a_task_or_a_refusal(body):
    found = None
    with suppress(Permanent):
        found = read(body)
    assert found is None or found.url
