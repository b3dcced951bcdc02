"""A deterministic tokenizer for the simulated server: about four characters a token, the same for every use of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

VOCABULARY = 128_256  # Llama 3's size, so that ids look like ids

_TOKEN = re.compile(
    r"<\|[a-z_]{1,24}\|>"  # a template's special token
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # scripts without spaces: a token a character
    r"|\d{1,3}"
    r"| ?[^\W\d_]{1,4}"
    r"|\s{1,4}"
    r"|[^\w\s]{1,2}"
    r"|.",
    re.DOTALL,
)


def tokenize(text: str) -> list[str]:
    """Pieces whose concatenation is `text`. A longer text with the same beginning begins with the same tokens."""
    return _TOKEN.findall(text)


def token_ids(tokens: Sequence[str]) -> list[int]:
    return [crc32(token.encode("utf-8", "surrogatepass")) % VOCABULARY for token in tokens]


def block_hashes(tokens: Sequence[str], block_tokens: int) -> list[int]:
    """One hash per full block; each covers everything from the start of the prompt to the block's end."""
    hashes: list[int] = []
    before = 0
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        before = hash((before, *tokens[start : start + block_tokens]))
        hashes.append(before)
    return hashes


def chat_prompt(messages: Sequence[tuple[str, str]]) -> str:
    """What a chat template makes of (role, content) pairs."""
    turns = "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>" for role, content in messages)
    return f"<|begin_of_text|>{turns}<|start_header_id|>assistant<|end_header_id|>\n\n"
