import json
from types import MappingProxyType

import pytest

from scraper.json_text import storable, write_json


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
