import json
from types import MappingProxyType

import pytest

from scraper.json_text import MAX_DEPTH, NotStrict, read_json, read_strict, storable, write_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True]}, '{"a":[1,2.5,null,true]}'),
        ("Grüße 😀", '"Grüße 😀"'),
        ({"a": float("nan"), "b": (float("-inf"), 1)}, '{"a":null,"b":[null,1]}'),
        (MappingProxyType({"a": MappingProxyType({})}), '{"a":{}}'),
        (2**80, "1208925819614629174706176"),
    ],
)
def test_values_are_written_compactly(value, text):
    assert write_json(value) == text


@pytest.mark.parametrize("text", ["\ud800", "a\\\udfff", '"\udc80"', "\udc80\\", "ü\ud800\n"])
def test_lone_surrogates_are_escaped_and_read_back_the_same(text):
    written = write_json({text: text})
    written.encode()
    assert json.loads(written) == {text: text}


def test_text_that_utf_8_can_carry_is_left_alone():
    for text in ("ascii", "Grüße 😀", "\0"):
        assert storable(text) is text


@pytest.mark.parametrize("kind", ["[]", '{"a":}'])
def test_what_is_nested_too_deeply_to_be_written_everywhere_is_not_read(kind):
    def nested(levels):
        opening, closing = kind[:-1], kind[-1]
        return opening * (levels - 1) + kind.replace(":}", ':"x"}') + closing * (levels - 1)

    assert write_json(read_strict(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(RecursionError):
        read_strict(nested(MAX_DEPTH + 1))


def test_many_brackets_are_not_deep():
    text = write_json({"html": "[{" * 10_000, "list": [[1, {"a": []}]] * 1000})
    assert read_strict(text) == read_json(text)


@pytest.mark.parametrize(
    "text",
    [
        ' {"a": [1, -0, -0.0, 2.5e-3, null, true], "\\u0061b": "Gr\u00fc\u00dfe \\ud83d\\ude00", "": {}}\n',
        f"[{2**80}, 0.1, 1e308, 5e-324, 123456789.123456789123456789]",
        '["\\ud800 is half a character", "\\u0000"]',
        f"{'[' * 300}{']' * 300}",
    ],
)
def test_what_is_strict_is_read_as_python_reads_it(text):
    for given in (text, text.encode()):
        assert repr(read_strict(given)) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "b": {"c": 1, "\\u0063": 2}}', "c"),
        ('[{"a": NaN}]', None),
        ("-Infinity", None),
        ('{"a": [1, {"b": -1e999}]}', None),
        (f"[{'9' * 400}.5]", None),
    ],
)
def test_what_python_reads_and_json_does_not_allow_is_refused(text, key):
    for given in (text, text.encode()):
        with pytest.raises(NotStrict) as refused:
            read_strict(given)
        assert refused.value.key == key


@pytest.mark.parametrize("text", ["", "{", '{"a": 1} 2', "['a']", '"\t"', "01", "9" * 5000])
def test_what_is_no_json_is_refused_as_python_refuses_it(text):
    with pytest.raises(ValueError, match=r"\S") as expected:
        json.loads(text)
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match=r"\S") as refused:
            read_strict(given)
        assert str(refused.value) == str(expected.value)
