"""Is it a page? What the server says it is, checked against how it begins. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

SNIFF_BYTES = 1024
"""Enough of a body to tell; the MIME Sniffing Standard looks at 1445 bytes at most."""

Kind: TypeAlias = Literal["html", "text"]


@dataclass(frozen=True, slots=True)
class NotAPage:
    """`what` it is instead, in words fit for a log."""

    what: str


def kind_of(content_type: str, head: bytes) -> Kind | NotAPage:
    """What a body is that begins with `head` and was sent as `content_type` (the header's value, empty if missing)."""
    declared = mime_of(content_type)
    if magic := next((what for start, what in _MAGIC if head.startswith(start)), None):
        return NotAPage(magic)
    if declared in _HTML:
        return "html"
    if _LOOKS_LIKE_HTML.match(head):
        return "html"
    if declared == "text/plain":
        return NotAPage("binary data") if _is_binary(head) else "text"
    if declared in _SAYS_NOTHING:
        return _sniffed(head)
    return NotAPage(_NAMES.get(declared, declared))


def mime_of(content_type: str) -> str:
    """The type itself, lower case; empty where the header is missing or makes no sense."""
    mime = content_type.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else ""


def charset_of(content_type: str) -> str | None:
    """The header's charset label, unchecked."""
    match = _CHARSET.search(content_type)
    return match[1] if match else None


def _sniffed(head: bytes) -> Kind | NotAPage:
    start = head.lstrip(b" \t\r\n\f\xef\xbb\xbf")[:1]
    if head.lstrip()[:5].lower() == b"<?xml":
        return NotAPage("XML")
    if start in {b"{", b"["}:
        return NotAPage("JSON")
    if _is_binary(head):
        return NotAPage("binary data")
    return "html" if start == b"<" else "text"


def _is_binary(head: bytes) -> bool:
    """Control bytes that no text has (MIME Sniffing Standard, «binary data byte»), unless a mark says UTF-16."""
    return not head.startswith((b"\xff\xfe", b"\xfe\xff")) and _BINARY.search(head) is not None


_HTML = frozenset({"text/html", "application/xhtml+xml"})
_SAYS_NOTHING = frozenset(
    {
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "unknown/unknown",
        "application/unknown",
        "application/force-download",
    }
)
_NAMES = {
    "application/pdf": "a PDF",
    "application/json": "JSON",
    "application/ld+json": "JSON",
    "text/json": "JSON",
    "application/xml": "XML",
    "text/xml": "XML",
    "application/rss+xml": "a feed",
    "application/atom+xml": "a feed",
    "application/zip": "a ZIP archive",
}
_MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"\x89PNG\r\n\x1a\n", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"GIF87a", "an image (GIF)"),
    (b"GIF89a", "an image (GIF)"),
    (b"RIFF", "an image, sound or film (RIFF)"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-packed data"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\xd0\xcf\x11\xe0", "an office document"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript document"),
    (b"ID3", "sound (MP3)"),
    (b"OggS", "sound or film (Ogg)"),
    (b"\x1aE\xdf\xa3", "film (WebM)"),
    (b"\x00\x00\x00\x18ftyp", "film (MP4)"),
    (b"\x00\x00\x00\x1cftyp", "film (MP4)"),
    (b"\x00\x00\x00\x20ftyp", "film (MP4)"),
    (b"wOFF", "a font"),
    (b"wOF2", "a font"),
    (b"\x00asm", "WebAssembly"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
)
# mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type, and XHTML behind its declaration
_LOOKS_LIKE_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,800}?-->\s*)?<(?:!doctype\s+html|html|head|body|script|iframe|h1|div|table"
    rb"|title|style|meta|link|p|a|b|br|font)[\s>/]",
    re.IGNORECASE | re.DOTALL,
)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
