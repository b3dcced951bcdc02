import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.pipeline.charset import _CODECS, codec_of, declared_inside, decode


def html(charset, text):
    return f'<html><head><meta charset="{charset}"><title>{text}</title>'


@pytest.mark.parametrize(
    ("mark", "codec"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_byte_order_mark_wins_over_everything(mark, codec):
    text = html("iso-8859-2", "naïve €")
    assert decode(mark + text.encode(codec), header_charset="koi8-r") == text


def test_the_header_wins_over_the_page():
    text = html("koi8-r", "čaj")
    assert decode(text.encode("iso8859-2"), header_charset="ISO-8859-2") == text


@pytest.mark.parametrize(
    "head",
    ['<meta charset="windows-1251">', "<META CHARSET=windows-1251 >", "<meta charset='windows-1251'/>",
     '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
     "<meta content='text/html;charset = windows-1251' http-equiv=content-type>",
     '<!-- <meta charset="utf-8"> --><meta charset="cp1251">', '<?xml version="1.0" encoding="windows-1251"?>',
     '<meta charset="nonsense"><meta charset="windows-1251">', "x" * 3900 + '<meta charset="windows-1251">'],
)  # fmt: skip
def test_what_the_page_says_about_itself_is_found(head):
    text = head + "<p>Привет, мир"
    assert decode(text.encode("cp1251"), header_charset=None) == text


def test_a_declaration_far_down_the_page_or_in_a_comment_without_end_is_none():
    assert declared_inside(b" " * 5000 + b'<meta charset="koi8-r">') is None
    assert declared_inside(b'<!-- <meta charset="koi8-r">') is None


@pytest.mark.parametrize(
    ("label", "text", "codec"),
    [("iso-8859-1", "“smart” – €", "cp1252"), ("ascii", "café", "cp1252"), ("gb2312", "镕基 €", "gb18030"), ("GBK", "中文", "gb18030"),
     ("shift_jis", "①株式会社㈱", "cp932"), ("x-sjis", "日本", "cp932"), ("euc-kr", "똠방각하", "cp949"), ("big5", "中文", "big5"),
     ("iso-8859-9", "İstanbul €", "cp1254"), ("tis-620", "ไทย", "cp874"), ("euc-jp", "日本語", "euc_jp"), ("koi8-r", "Привет", "koi8-r"),
     ("iso-2022-jp", "日本語", "iso2022_jp"), ("utf-16", "naïve", "utf-16-le"), (" 'UTF-8' ", "naïve", "utf-8")],
)  # fmt: skip
def test_labels_mean_what_they_mean_on_the_web(label, text, codec):
    assert decode(text.encode(codec), header_charset=label) == text


@pytest.mark.parametrize(
    "label",
    ["rot13", "zip", "hex", "base64", "unicode_escape", "idna", "punycode", "utf-7", "hz", "mbcs", "", "x" * 999],
)
def test_only_character_sets_of_the_web_can_be_named(label):
    assert codec_of(label) is None
    assert decode("naïve".encode(), header_charset=label) == "naïve"


@pytest.mark.parametrize("codec", sorted(set(_CODECS.values())))
def test_every_label_leads_to_a_codec_that_exists(codec):
    assert codecs.lookup(codec)
    assert decode(b"plain", header_charset=next(label for label, c in _CODECS.items() if c == codec)) is not None


def test_undeclared_text_is_utf8_or_else_windows_1252():
    assert decode("Größe 5 €".encode(), header_charset=None) == "Größe 5 €"
    assert decode("Größe 5 €".encode("cp1252"), header_charset=None) == "Größe 5 €"


def test_utf8_sent_as_latin1_is_read_as_utf8():
    assert decode("Größe 5 € “x”".encode(), header_charset="ISO-8859-1") == "Größe 5 € “x”"


def test_latin1_sent_as_utf8_is_read_as_windows_1252():
    assert decode("Größe für 5 € überall".encode("cp1252"), header_charset="utf-8") == "Größe für 5 € überall"


def test_a_lying_header_gives_way_to_what_the_page_says():
    text = html("windows-1251", "Привет")
    assert decode(text.encode("cp1251"), header_charset="utf-8") == text


def test_one_broken_byte_in_utf8_costs_one_character_and_not_every_accent():
    body = ("Größe für überall " * 50).encode() + b"\xff" + "Öl".encode()
    assert decode(body, header_charset="utf-8") == "Größe für überall " * 50 + "\ufffdÖl"


def test_a_page_of_single_bytes_that_calls_itself_utf16_is_read_as_utf8():
    text = html("utf-16", "naïve")
    assert decode(text.encode(), header_charset=None) == text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_mark_or_declaration_is_recognised(codec):
    assert decode("<html>naïve".encode(codec), header_charset=None) == "<html>naïve"


def test_null_characters_are_dropped():
    assert decode(b"a\0b\0", header_charset="utf-8") == "ab"


@given(
    st.binary(max_size=300),
    st.sampled_from([None, "utf-8", "utf-16", "shift_jis", "gb18030", "iso-2022-jp", "big5", "nonsense"]),
)
def test_decoding_never_fails(body, label):
    text = decode(body, header_charset=label)
    assert "\0" not in text
    text.encode("utf-8")
