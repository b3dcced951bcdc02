"""What a very simple reader finds in a page's text: labels, prices, dates, links, sentences, list items.

This stands for the model's understanding. It sees the prompt and nothing else, so an answer is right only where the
page's text truly reached the server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

_WRAPPED = re.compile(
    r"<(page|page_text|web_?page|document|content|text|html|data|input|untrusted)\b[^>]*>\n?(.*)(?:</\1>|$)",
    re.DOTALL | re.IGNORECASE,
)
_FENCED = re.compile(r"^(```|~~~|\"\"\"|---+|===+)[^\n]*\n(.*)\n\1", re.DOTALL | re.MULTILINE)
_ANNOUNCED = re.compile(
    r"^(?:#+ *)?(?:the )?(?:web ?)?(?:page|text|content|document)[^\n:]{0,40}:[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_LABEL = re.compile(r"^[-•*]?\s*(?P<label>[^:：|\t]{1,48}?)\s*(?::(?!//)|：|\||\t)\s*(?P<value>\S.*)$")
_ADDRESS = re.compile(r"(?:page )?(?:address|url|source)\s*:", re.IGNORECASE)
_SITE_NAME = re.compile(r"\s+[–—|·]\s+[^–—|·]{1,60}$")
_STRUCK_OUT = re.compile(r"~~[^~\n]{0,200}~~")
_LONGEST_LABEL = 24
_CODES = "USD|EUR|GBP|CHF|PLN|JPY|SEK|NOK|DKK|CZK|CAD|AUD|INR|BRL|CNY"
_SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "￥": "JPY", "円": "JPY", "zł": "PLN", "₹": "INR"}
_CURRENCY = rf"{_CODES}|[€$£¥￥円₹]|zł"
_AMOUNT = r"\d{1,3}(?:[.,'’\u00a0\u202f ]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d{1,2})?(?!\d)"
_MONEY = re.compile(_CURRENCY)
_PRICE = re.compile(
    rf"(?P<before>{_CURRENCY})\s?(?P<a>{_AMOUNT})|(?P<b>{_AMOUNT})\s?(?P<after>{_CURRENCY})(?![A-Za-z])"
)
_NUMBER = re.compile(rf"-?(?:{_AMOUNT})")
_URL = re.compile(r"https?://[^\s<>\"'()\[\]{}]+[^\s<>\"'()\[\]{}.,;:!?]")
_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}")
_SENTENCE = re.compile(r"[^.!?。！？\n]{12,400}[.!?。！？]")
_BYLINE = re.compile(r"^(?:by|von|par|por|autor|author)\s*:?\s+(?P<name>[^\d\n|,]{3,60})", re.IGNORECASE | re.MULTILINE)
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?))?")
_DOTTED_DATE = re.compile(r"\b(\d{1,2})[./](\d{1,2})[./](\d{4})\b")
_WORD_DATE = re.compile(
    r"\b(?:(?P<d1>\d{1,2})\.? (?:de )?(?P<m1>[^\W\d_]{3,12})\.?(?: de)? (?P<y1>\d{4})"
    r"|(?P<m2>[^\W\d_]{3,12}) (?P<d2>\d{1,2}), (?P<y2>\d{4}))"
)
_CJK_DATE = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日")
_MONTHS = (
    ("jan", "ene", "sty"),
    ("feb", "fév", "fev", "lut"),
    ("mar", "mär", "mrz"),
    ("apr", "avr", "abr", "kwi"),
    ("may", "mai", "maj"),
    ("jun", "juin", "cze"),
    ("jul", "juil", "lip"),
    ("aug", "aoû", "ago", "sie"),
    ("sep", "set", "wrz"),
    ("oct", "okt", "out", "paź"),
    ("nov", "lis"),
    ("dec", "dez", "déc", "dic", "gru"),
)


@dataclass(frozen=True, slots=True)
class Price:
    amount: float
    currency: str


def page_in(user_messages: Sequence[str]) -> PageText:
    """The page in a conversation: the longest user message, without the frame around the page where one is seen."""
    text = max(user_messages, key=len, default="")
    for frame in (_WRAPPED, _FENCED):
        framed = max((match[2] for match in frame.finditer(text)), key=len, default="")
        if framed.strip():
            return PageText(framed)
    announced = list(_ANNOUNCED.finditer(text))
    return PageText(text[announced[-1].end() :] if announced else text)


@dataclass
class PageText:
    """Lazily read facts of one text."""

    text: str
    _taken: int = field(default=0, repr=False)

    @cached_property
    def lines(self) -> list[str]:
        lines = (line.strip() for line in self.text.splitlines())
        return [line for line in lines if line and line[0] not in '{}[]"']

    @cached_property
    def labels(self) -> dict[str, str]:
        """Lower-case label → value: «label: value» lines and two-column rows, then short lines above their value."""
        found: dict[str, str] = {}
        above: dict[str, str] = {}
        for line, below in pairwise([*self.lines, ""]):
            match = _LABEL.match(line)
            if match:
                found.setdefault(_plain(match["label"]), match["value"].strip(" |\t")[:500])
            elif len(line) <= _LONGEST_LABEL and below:
                above.setdefault(_plain(line), below[:500])
        return above | found

    @cached_property
    def title(self) -> str:
        """The first heading, else the line that says it is the title, else the first line that is worth one."""
        heading = next((line.lstrip("# ") for line in self.lines if line.startswith("# ")), "")
        labelled = _SITE_NAME.sub("", self.labels.get("title", ""))
        if heading or labelled:
            return (heading or labelled)[:300]
        worth = (line for line in self.lines if len(line) > 3 and line[0] != "-" and not _ADDRESS.match(line))
        return next(worth, "")[:300]

    @cached_property
    def sentences(self) -> list[str]:
        return [sentence.strip() for sentence in _SENTENCE.findall("\n".join(self.lines))]

    @cached_property
    def prices(self) -> list[Price]:
        return _prices_in(_STRUCK_OUT.sub(" ", self.text))

    @cached_property
    def old_prices(self) -> list[Price]:
        """Prices that are ~~struck out~~."""
        return _prices_in(" ".join(_STRUCK_OUT.findall(self.text)))

    @cached_property
    def numbers(self) -> list[float]:
        return [value for match in _NUMBER.finditer(self.text) if (value := number(match[0])) is not None]

    @cached_property
    def urls(self) -> list[str]:
        return _URL.findall(self.text)

    @cached_property
    def emails(self) -> list[str]:
        return _EMAIL.findall(self.text)

    @cached_property
    def dates(self) -> list[tuple[str, str]]:
        """(ISO date, time or empty) in the order of the text."""
        return dates_in(self.text)

    @cached_property
    def author(self) -> str:
        match = _BYLINE.search(self.text)
        return match["name"].strip() if match else ""

    @cached_property
    def items(self) -> list[str]:
        """The text of list items and table rows."""
        bullets = [line.lstrip("-•*· ").strip() for line in self.lines if line[:1] in "-•*·"]
        return [item for item in bullets if item]

    @cached_property
    def offers(self) -> list[PageText]:
        """Pieces around each price: what a list of products is made of."""
        pieces = []
        for index, line in enumerate(self.lines):
            if _PRICE.search(line):
                bare = len(_PRICE.sub("", line).strip(" -•*|:")) < 4
                before = self.lines[index - 1] + "\n" if bare and index else ""
                pieces.append(PageText(before + line.lstrip("-•* ")))
        return pieces

    def next_sentence(self) -> str:
        """Sentence after sentence, then line after line, round and round; empty where the page has no words."""
        pool = self.sentences or self.lines
        if not pool:
            return ""
        self._taken += 1
        return pool[(self._taken - 1) % len(pool)]


def _prices_in(text: str) -> list[Price]:
    found = []
    lines = "\n".join(line for line in text.splitlines() if _MONEY.search(line))  # most have none
    for match in _PRICE.finditer(lines):
        symbol = match["before"] or match["after"]
        found.append(Price(number(match["a"] or match["b"]) or 0.0, _SYMBOLS.get(symbol, symbol)))
    return found


def dates_in(text: str) -> list[tuple[str, str]]:
    found: list[tuple[int, str, str]] = []
    for match in _ISO_DATE.finditer(text):
        _keep(found, match, (match[1], match[2], match[3]), match[4] or "")
    for match in _DOTTED_DATE.finditer(text):
        _keep(found, match, (match[3], match[2], match[1]))
    for match in _CJK_DATE.finditer(text):
        _keep(found, match, (match[1], match[2], match[3]))
    for match in _WORD_DATE.finditer(text):
        month = _month(match["m1"] or match["m2"])
        if month:
            _keep(found, match, (match["y1"] or match["y2"], str(month), match["d1"] or match["d2"]))
    return [(date, time) for _, date, time in sorted(found)]


def number(text: str) -> float | None:
    """A number as people of several countries write it; None where there is none."""
    match = re.search(r"\d", text)
    if match is None:
        return None
    digits = re.sub(r"[^\d.,]", "", text).strip(".,")
    decimal = max(digits.rfind("."), digits.rfind(","))
    if decimal >= 0 and (len(digits) - decimal - 1 != 3 or digits.startswith("0")):
        whole, fraction = re.sub(r"[.,]", "", digits[:decimal]), digits[decimal + 1 :]
        value = float(f"{whole or '0'}.{fraction}")
    else:
        value = float(re.sub(r"[.,]", "", digits))
    return -value if text.lstrip().startswith("-") else value


def _plain(label: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", label.lower()))


def _month(word: str) -> int:
    start = word.lower()
    return next((index + 1 for index, names in enumerate(_MONTHS) if start.startswith(names)), 0)


def _keep(found: list[tuple[int, str, str]], match: re.Match[str], parts: tuple[str, str, str], time: str = "") -> None:
    year, month, day = (int(part) for part in parts)
    if 1 <= month <= 12 and 1 <= day <= 28 + 3 * (month != 2):
        found.append(
            (match.start(), f"{year:04d}-{month:02d}-{min(day, 30 if month in {4, 6, 9, 11} else 31):02d}", time)
        )
