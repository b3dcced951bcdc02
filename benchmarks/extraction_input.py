#!/usr/bin/env python3
"""What of real pages reaches the model: true values that stand in the text sent, and what that text costs.

    PAGES_DIR=../shared/pages python benchmarks/extraction_input.py

For each rung of the cleaning ladder, on every page, whether it would be needed or not; `sent` is what a model with a
context of 16,384 tokens really gets. What the ladder's numbers are was chosen on one half of the pages, by a hash of
their names; the figures of the other half stand in brackets.

Tokens are those of the simulated server's tokenizer, which takes about four letters of a word for one; beside them a
quarter of the bytes, which is what real tokenizers need for English.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run by path: its own folder is what Python puts there

from rich.console import Console  # noqa: E402 needs the line above
from rich.table import Table  # noqa: E402

from scraper.deadline import no_deadline  # noqa: E402
from scraper.models import Document  # noqa: E402
from scraper.pipeline.budget import cut  # noqa: E402
from scraper.pipeline.charset import decode  # noqa: E402
from scraper.pipeline.clean import clean  # noqa: E402
from scraper.pipeline.context_window import ContextWindow  # noqa: E402
from scraper.pipeline.fitting import Fitting  # noqa: E402
from scraper.pipeline.ladder import Ladder  # noqa: E402
from scraper.pipeline.prompt import prompt_for  # noqa: E402
from scraper.pipeline.schema import CompiledSchema, compile_schema  # noqa: E402
from scraper.schemas import named_schema  # noqa: E402
from scraper.testing.vllm_tokens import tokenize  # noqa: E402
from scraper.trace import Trace  # noqa: E402

CONTEXT_TOKENS = 16_384
ANSWER_TOKENS = 1024
PASSAGES_TOKENS = (4000, 2000, 1000)
SHINGLE_WORDS = 4

ARTICLE = {
    "type": "object",
    "properties": {
        "headline": {"type": "string"},
        "author": {"type": "string"},
        "published": {"type": "string"},
        "body": {"type": "string", "description": "The whole text of the article."},
    },
}

IN_WORDS = {
    "InStock": re.compile(
        r"in ?stock|available|add to (?:cart|basket|bag|trolley)|buy now|auf lager|lieferbar|warenkorb|en stock|"
        r"disponi|panier|carrito|koszyk|dostępn|skladem|na sklad|в наличии|в корзину|カート|在庫",
        re.IGNORECASE,
    ),
    "OutOfStock": re.compile(
        r"out ?of ?stock|sold ?out|unavailable|not available|ausverkauft|nicht (?:verfügbar|lieferbar)|épuisé|rupture|"
        r"agotado|niedostępn|esaurito|esgotado|indispon|нет в наличии|在庫切れ|nie je|vypredan",
        re.IGNORECASE,
    ),
}
"""How shops say it. Where no page says it in these words, availability is not counted for that page."""


@dataclass(frozen=True, slots=True)
class RealPage:
    name: str
    url: str
    truth: Mapping[str, Any]
    document: Document
    html: str

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.name.encode()).digest()[-1] % 2 == 1


@dataclass(slots=True)
class Seen:
    """What came of one rung: for each kind of truth the shares that survived, and what each page costs."""

    shares: dict[str, list[float]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    quarter_bytes: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


Judge = Callable[[RealPage, str], Iterator[tuple[str, float]]]


def pages(folder: Path) -> Iterator[RealPage]:
    """The pages of one set, cleaned."""
    for name, truth in sorted(json.loads((folder / "truth.json").read_text()).items()):
        html = decode(gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()), header_charset=None)
        url = truth.get("url", "")
        url = url[0] if isinstance(url, list) else url
        yield RealPage(name, url, truth, clean(html, base_url=url), html)


def rungs(page: RealPage, schema: CompiledSchema) -> Iterator[tuple[str, Callable[[], str]]]:
    ladder = Ladder(page.document, schema.schema)
    yield "whole", lambda: ladder.whole().text
    yield "frame dropped", lambda: ladder.without_frame().text
    yield "main content", lambda: ladder.main().text
    for tokens in PASSAGES_TOKENS:
        yield f"passages, {tokens:,}", lambda tokens=tokens: ladder.passages(4 * tokens).text
    for tokens in PASSAGES_TOKENS[:2]:
        yield f"head and tail, {tokens:,}", lambda tokens=tokens: cut(page.document.text, keep=4 * tokens).text
    yield "sent", lambda: asyncio.run(sent(page, schema))


class Counting:
    """A model that can only count."""

    max_model_len = CONTEXT_TOKENS

    async def served_model(self, **_: object) -> Counting:
        return self

    async def count_tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(len(tokenize(each["content"])) for each in messages)


async def sent(page: RealPage, schema: CompiledSchema) -> str:
    window = ContextWindow(Counting(), max_tokens=ANSWER_TOKENS)  # type: ignore[arg-type]  # it never answers
    now = asyncio.get_running_loop().time
    fitting = Fitting(
        window, Ladder(page.document, schema.schema), deadline=no_deadline(now=now()), trace=Trace(clock=now)
    )
    messages = await fitting.messages(prompt_for(schema))
    return messages[-1]["content"].removeprefix("<page>\n").removesuffix("\n</page>")


def of_product(page: RealPage, shown: str) -> Iterator[tuple[str, float]]:
    """Whether each true value stands in what is shown, the page's address included."""
    text = " ".join(f"{page.url} {shown}".split()).lower()
    digits = re.sub(r"[\s.,'’^|]", "", text)
    for name in ("price", "sku", "brand"):
        if accepted := page.truth.get(name):
            yield name, float(any(_stands(str(value), name, text, digits) for value in accepted))
    state = (page.truth.get("availability") or [""])[0]
    if state in IN_WORDS and IN_WORDS[state].search(page.document.text):
        yield "availability", float(IN_WORDS[state].search(text) is not None)


def of_article(page: RealPage, shown: str) -> Iterator[tuple[str, float]]:
    """The share of its text that is shown, by shingles of four words."""
    wanted = _shingles(page.truth["articleBody"])
    if wanted:
        yield "text", len(wanted & _shingles(shown)) / len(wanted)


def _stands(value: str, name: str, text: str, digits: str) -> bool:
    value = " ".join(value.split()).lower()
    if value in text:
        return True
    plain = re.sub(r"[.,]", "", value)
    return name == "price" and (plain in digits or plain.removesuffix("00") in digits)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1)}


def measured(found: Sequence[RealPage], schema: CompiledSchema, judge: Judge) -> dict[str, Seen]:
    """By the name of the rung."""
    results: dict[str, Seen] = {}
    for page in found:
        for name, make in rungs(page, schema):
            seen = results.setdefault(name, Seen())
            begun = time.process_time()
            shown = make()
            seen.cpu_ms.append(1000 * (time.process_time() - begun))
            seen.tokens.append(len(tokenize(shown)))
            seen.quarter_bytes.append(len(shown.encode()) / 4)
            for what, share in judge(page, shown):
                seen.shares.setdefault(what, []).append(share)
    return results


def table(title: str, everything: Mapping[str, Seen], held_out: Mapping[str, Seen]) -> Table:
    kinds = list(next(iter(everything.values())).shares)
    shown = Table(title=title, title_justify="left")
    shown.add_column("rung")
    for kind in kinds:
        shown.add_column(f"{kind} ({len(everything['whole'].shares[kind])})", justify="right")
    for column in ("all", "tokens p50", "p90", "bytes/4 p50", "CPU-ms p50"):
        shown.add_column(column, justify="right")
    for name, seen in everything.items():
        held = held_out[name]
        shares = [f"{mean(seen.shares[kind]):.3f} ({mean(held.shares[kind]):.3f})" for kind in kinds]
        whole = f"{_all(seen):.3f} ({_all(held):.3f})"
        costs = (median(seen.tokens), quantiles(seen.tokens, n=10)[-1], median(seen.quarter_bytes))
        shown.add_row(name, *shares, whole, *(f"{cost:,.0f}" for cost in costs), f"{median(seen.cpu_ms):.2f}")
    return shown


def _all(seen: Seen) -> float:
    return mean(share for shares in seen.shares.values() for share in shares)


def tables(folder: Path) -> Iterator[Table]:
    """One for each set of pages in `folder`."""
    product = compile_schema(named_schema("product"))
    sets: tuple[tuple[str, CompiledSchema, Judge], ...] = (
        ("products", product, of_product),
        ("articles", compile_schema(ARTICLE), of_article),
    )
    for name, schema, judge in sets:
        found = list(pages(folder / name))
        everything = measured(found, schema, judge)
        held_out = measured([page for page in found if page.held_out], schema, judge)
        title = f"{len(found)} {name}: share of true values in the text shown, of all pages (of the half held out)"
        yield table(title, everything, held_out)


def main() -> None:
    folder = Path(os.environ.get("PAGES_DIR", ""))
    if not (folder / "products" / "truth.json").is_file():
        sys.exit("name the folder of pages: PAGES_DIR=… python benchmarks/extraction_input.py")
    console = Console(width=160)
    for each in tables(folder):
        console.print(each)


if __name__ == "__main__":
    main()
