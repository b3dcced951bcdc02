"""Whether a prompt fits the model's context, and how much of the page to keep where it does not.

Counting every prompt on the server would cost a request per page. A token is at least one byte of UTF-8, and replies
say how many tokens their prompts really had: from these two facts most prompts are known to fit. Only those near the
limit are counted. Pure, but for the ratio that it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNKNOWN_CONTEXT_TOKENS: Final = 8192  # what the smallest models in use have
TEMPLATE_TOKENS: Final = 64  # what a chat template adds around the messages; the widest seen is below 50
SAFETY: Final = 0.8  # a page may be this much denser in tokens than the densest lately
TYPICAL_BYTES_PER_TOKEN: Final = 3.0  # English text has above 4, German 3.3, tables of numbers 2.5
MOSTLY_ASCII: Final = 0.25  # a reply about a prompt with a larger share of other bytes teaches nothing about ASCII
OTHER_BYTES_PER_TOKEN: Final = 1.5  # on the safe side: Japanese has 3 bytes a character and about a token for each
TAIL_SHARE: Final = 0.15  # on 68 shop pages cut to 24,000 characters it keeps .97 of the prices, no tail .92


@dataclass(frozen=True, slots=True)
class PromptSize:
    """Bytes of a prompt in UTF-8: of its ASCII characters, and of all others."""

    ascii: int
    other: int

    @property
    def total(self) -> int:
        return self.ascii + self.other


class TokenRatio:
    """Bytes of prompt per token on one model, as replies have shown.

    What replies teach about ASCII says nothing about other scripts: a tokenizer that packs four letters into a token
    may need a token for each byte of a Japanese character.
    """

    def __init__(self) -> None:
        self._lowest: float | None = None
        self._mean = TYPICAL_BYTES_PER_TOKEN
        self._model: str | None = None

    def learn(self, model: str | None, size: PromptSize, *, prompt_tokens: int) -> None:
        if prompt_tokens <= TEMPLATE_TOKENS or size.other > MOSTLY_ASCII * size.total:
            return
        if prompt_tokens > most_tokens(size):
            return  # a server that cannot count
        seen = size.ascii / prompt_tokens
        if self._lowest is None or model != self._model:
            self._lowest = self._mean = seen
        else:
            self._lowest = min(seen, self._lowest + 0.02 * (seen - self._lowest))  # down at once, up slowly
            self._mean += 0.1 * (seen - self._mean)
        self._model = model

    def at_most(self, size: PromptSize) -> float:
        """Tokens that a prompt will hardly exceed."""
        bytes_per_token = 1.0 if self._lowest is None else max(1.0, self._lowest * SAFETY)
        return size.ascii / bytes_per_token + size.other + TEMPLATE_TOKENS

    def likely(self, size: PromptSize) -> int:
        """Tokens that a prompt probably has, rather too many than too few: for servers that cannot count."""
        return int(size.ascii / (self._mean * SAFETY) + size.other / OTHER_BYTES_PER_TOKEN) + TEMPLATE_TOKENS


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a page, and how much was not."""

    text: str
    kept_chars: int
    dropped_chars: int


def prompt_size(messages: Sequence[dict[str, str]]) -> PromptSize:
    sizes = [text_size(message["content"]) for message in messages]
    return PromptSize(sum(size.ascii for size in sizes), sum(size.other for size in sizes))


def most_tokens(size: PromptSize) -> int:
    """No token is less than a byte: whoever counts more has not counted this prompt."""
    return size.total + TEMPLATE_TOKENS


def text_size(text: str) -> PromptSize:
    if text.isascii():
        return PromptSize(len(text), 0)
    ascii_bytes = len(text.encode("ascii", "ignore"))
    return PromptSize(ascii_bytes, len(text.encode("utf-8", "replace")) - ascii_bytes)


def keep_chars(page_chars: int, *, page_share: float, tokens: int, limit: int) -> int:
    """How many characters of a page fit, when a prompt with all of them has `tokens` and `limit` are allowed.

    `page_share` is the page's share of the prompt's bytes. 0 where not even the prompt without the page fits.
    """
    page_tokens = tokens * page_share
    room = limit - (tokens - page_tokens)
    if page_tokens <= 0 or room <= 0:
        return 0
    return int(page_chars * min(1.0, 0.97 * room / page_tokens))  # 3 % off: no part has exactly the ratio of the whole


def cut(page: str, *, keep: int) -> Kept:
    """About `keep` characters of `page`: its beginning and a little of its end, in whole lines if they end."""
    if keep >= len(page):
        return Kept(page, len(page), 0)
    tail_chars = int(keep * TAIL_SHARE)
    head = page[: keep - tail_chars]
    tail = page[len(page) - tail_chars :] if tail_chars else ""
    line_end = head.rfind("\n")
    if line_end >= len(head) * 0.8:
        head = head[:line_end]
    line_begin = tail.find("\n")
    if 0 <= line_begin <= len(tail) * 0.2:
        tail = tail[line_begin + 1 :]
    kept = len(head) + len(tail)
    dropped = len(page) - kept
    return Kept(f"{head}\n[… {dropped} characters left out …]\n{tail}", kept, dropped)
