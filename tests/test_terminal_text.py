import json
import unicodedata

import pytest

from scraper.terminal_text import defused, harmless_json, in_one_line


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\x08c\x7f", "a\\x0db\\x08c\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("price \u202e00.1", "price \\u202e00.1"),
        ("half \ud83d", "half \\ud83d"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("Grüße 😀 \u200d ש", "Grüße 😀 \u200d ש"),
        ("line\n\tnext", "line\n\tnext"),
    ],
)
def test_what_would_steer_a_terminal_is_spelt_out(hostile, shown):
    assert defused(hostile) == shown


def test_no_control_character_gets_through():
    everything = "".join(map(chr, range(0x3000)))
    left = {each for each in defused(everything) if unicodedata.category(each) in {"Cc", "Cs", "Zl", "Zp"}}
    assert left == {"\t", "\n"}


def test_what_is_harmless_in_json_is_the_same_json():
    hostile = {"a": "\x9b2J\x7f\u202e\u2028\U000e0041", "b": "Grüße 😀"}
    text = harmless_json(json.dumps(hostile, ensure_ascii=False))
    assert json.loads(text) == hostile
    assert "Grüße 😀" in text
    assert defused(text) == text


def test_one_line_is_one_line_and_no_longer_than_asked():
    assert in_one_line("a\n\nb\tc ") == "a b c"
    assert in_one_line("abcdef", most=4) == "abc…"
    assert in_one_line("abcd", most=4) == "abcd"
