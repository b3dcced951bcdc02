"""From bytes to text as a browser would: byte order mark, header, `<meta>`, then UTF-8, then windows-1252.

Labels mean what the WHATWG Encoding Standard says they mean on the web («iso-8859-1» is windows-1252, «gb2312» is
gb18030 …); only those are known, so a page cannot name one of Python's codecs that are no character sets. A
declaration that does not fit the bytes is passed over for the next one.
"""

from __future__ import annotations

import codecs
import re

PRESCAN_BYTES = 4096
"""How far to look for a declaration inside the page. The standard says 1024; real heads are longer."""


def decode(body: bytes, *, header_charset: str | None) -> str:
    """The text of `body`, never failing; U+FFFD at worst. NUL characters are dropped: nothing after this wants them."""
    text = _decode(body, header_charset)
    return text.replace("\0", "") if "\0" in text else text


def _decode(body: bytes, header_charset: str | None) -> str:
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(codec, "replace")
    declared = [codec for codec in (codec_of(header_charset), declared_inside(body)) if codec]
    for codec in declared or [_without_declaration(body)]:
        if codec in _SINGLE_BYTE_GUESSES and (text := _telling_utf8(body)) is not None:
            return text
        try:
            return body.decode(codec)
        except UnicodeDecodeError:
            continue
    if (text := _telling_utf8(body)) is not None:
        return text
    return _least_damage(body, [*declared, "utf-8", "cp1252"])


def codec_of(label: str | None) -> str | None:
    """Python's codec for a charset label of the web; None for one that is unknown or unsafe."""
    return _CODECS.get(label.strip(" \t\r\n\f\"'").lower()) if label else None


def declared_inside(body: bytes) -> str | None:
    """The codec that the page's XML declaration or first `<meta>` with a charset names."""
    head = body[:PRESCAN_BYTES]
    if match := _XML_DECLARATION.match(head):
        return _inside(match[1])
    if b"<!--" in head:
        head = _COMMENT.sub(b"", head)
    for match in _META.finditer(head):
        if codec := _inside(match[1]):
            return codec
    return None


def _inside(label: bytes) -> str | None:
    codec = codec_of(label.decode("ascii", "ignore"))
    # What was read as single bytes cannot be UTF-16, whatever it says.
    return "utf-8" if codec in {"utf-16-le", "utf-16-be"} else codec


def _without_declaration(body: bytes) -> str:
    if body.startswith(b"<\0"):
        return "utf-16-le"
    if body.startswith(b"\0<"):
        return "utf-16-be"
    return "utf-8"


def _telling_utf8(body: bytes) -> str | None:
    """The text if it is UTF-8 beyond doubt: valid, with characters beyond ASCII. By chance that hardly ever happens."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def _least_damage(body: bytes, codecs_in_order: list[str]) -> str:
    """The first reading in which the readable characters beyond ASCII outnumber the broken ones, else windows-1252.

    So one broken byte in a page of UTF-8 costs one character and not every accent.
    """
    for codec in codecs_in_order:
        text = body.decode(codec, "replace")
        broken = text.count("\ufffd")
        if 2 * broken <= sum(1 for character in text if character > "\x7f"):
            return text
    return body.decode("cp1252", "replace")


_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SINGLE_BYTE_GUESSES = frozenset({"cp1252"})  # what servers declare for everything without looking
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_XML_DECLARATION = re.compile(rb"\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_META = re.compile(rb"<meta[\s/][^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)

# encoding.spec.whatwg.org/#names-and-labels. The encodings it replaces by an error (hz-gb-2312, iso-2022-kr …)
# and x-user-defined are left out: their pages are read as if nothing had been declared.
_LABELS = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e"
    " iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7"
    " iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8"
    " iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1"
    " iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5"
    " windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601"
    " windows-949",
    "utf-16-be": "unicodefffe utf-16be",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
