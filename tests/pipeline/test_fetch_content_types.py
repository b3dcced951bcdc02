import pytest

from scraper.pipeline.content_types import NotAPage, charset_of, kind_of, mime_of

PAGE = b"<!DOCTYPE html><html><p>hello"


@pytest.mark.parametrize(
    ("content_type", "head", "kind"),
    [
        ("text/html", PAGE, "html"),
        ("TEXT/HTML; charset=utf-8", b"no tags at all", "html"),
        ("application/xhtml+xml", b'<?xml version="1.0"?><html>', "html"),
        ("text/html", b"", "html"),
        ("text/plain", b"plain words", "text"),
        ("text/plain", PAGE, "html"),
        ("text/plain", "\ufeffUTF-16".encode("utf-16"), "text"),
        ("", PAGE, "html"),
        ("", b"plain words", "text"),
        ("", b"<custom-element>", "html"),
        ("", b"", "text"),
        ("nonsense", PAGE, "html"),
        ("application/octet-stream", b"\xef\xbb\xbf\n  <HTML lang=de>", "html"),
        ("application/json", PAGE, "html"),
        ("application/xml", b'<?xml version="1.0"?>\n<!-- x --><html xmlns="x">', "html"),
    ],
)
def test_pages_are_recognised_whatever_they_call_themselves(content_type, head, kind):
    assert kind_of(content_type, head) == kind


@pytest.mark.parametrize(
    ("content_type", "head", "what"),
    [
        ("application/pdf", b"%PDF-1.7", "a PDF"),
        ("text/html", b"%PDF-1.7", "a PDF"),
        ("text/html; charset=utf-8", b"\x89PNG\r\n\x1a\n", "an image (PNG)"),
        ("", b"\xff\xd8\xff\xe0", "an image (JPEG)"),
        ("text/html", b"PK\x03\x04abc", "a ZIP archive or office document"),
        ("text/html", b"\x1f\x8b\x08", "gzip-packed data"),
        ("application/json", b'{"a": 1}', "JSON"),
        ("", b'{"a": 1}', "JSON"),
        ("", b"[1, 2]", "JSON"),
        ("application/rss+xml", b"<?xml", "a feed"),
        ("", b'<?xml version="1.0"?><rss>', "XML"),
        ("image/svg+xml", b"<svg>", "image/svg+xml"),
        ("text/css", b"a {}", "text/css"),
        ("text/plain", b"\x00\x01\x02", "binary data"),
        ("", b"ab\x00\x01\x02", "binary data"),
        ("video/mp4; codecs=x", b"....", "video/mp4"),
    ],
)
def test_what_is_no_page_is_named(content_type, head, what):
    assert kind_of(content_type, head) == NotAPage(what)


@pytest.mark.parametrize(
    "content_type", ["", "text", "text/", "/html", "<script>/x", "a/b\x00", "text/html garbage", "x" * 200 + "/y"]
)
def test_a_content_type_that_makes_no_sense_is_none(content_type):
    assert mime_of(content_type) == ""


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [("text/html; charset=utf-8", "utf-8"), ('text/html;Charset="ISO-8859-1"', "ISO-8859-1"), ("text/html; charset = koi8-r ; x=y", "koi8-r"),
     ("text/html", None), ("text/html; charset=", None)],
)  # fmt: skip
def test_the_charset_of_the_header_is_found(content_type, charset):
    assert charset_of(content_type) == charset


@pytest.mark.parametrize("head", [b"<!--" + b"<!-- " * 200, b"<?xml " + b" " * 1000, b"<" * 1024, b" " * 1024])
def test_heads_made_to_be_slow_to_look_at_are_not(head):
    assert kind_of("", head) is not None
