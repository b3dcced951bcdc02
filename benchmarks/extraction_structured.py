"""What pages answer by their own data: how much of it is right, what it saves, and what it costs.

A page counts as right where the value is one of those accepted, as wrong where another is given, as missed where none
is given though there is one; prices are compared as decimals, all else as exact strings. Two halves, by a hash of the
pages' names: the rules were made on one. The other was measured once without a look at its pages (P .875 / .850 / .955
for price, sku and availability, R .656 / .531 / .583); then its mistakes were looked at as well.

Beside it stands extruct, if it is installed (`pip install 'scraper[bench]'`): the first product of its JSON-LD,
microdata and RDFa, with the first of its offers, or what OpenGraph says.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.table import Table
from selectolax.lexbor import LexborHTMLParser

from benchmarks.saved import saved, taken
from scraper.models import Document
from scraper.pipeline.clean import clean
from scraper.pipeline.schema import CompiledSchema, compile_schema
from scraper.pipeline.structured.known import known_values
from scraper.pipeline.structured.plan import sources_for
from scraper.schemas import named_schema

ASKED = ("price", "sku", "availability")
AIMS = {"price": (0.95, 0.567), "sku": (0.90, 0.407), "availability": (0.95, 0.479)}
REPEATS = 3  # of a measurement; the least is taken, since noise only adds

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
BENCHMARK = {
    "title": "Product",
    "type": "object",
    "properties": {"price": _NUMBER, "sku": _TEXT, "availability": {"enum": ["InStock", "OutOfStock"]}},
}


@dataclass(frozen=True)
class RealPage:
    name: str
    html: str
    truth: Mapping[str, Any]

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(self.name.encode()).digest()[-1] % 2 == 1

    @property
    def url(self) -> str:
        url = self.truth.get("url", "")
        return url[0] if isinstance(url, list) else url

    @cached_property
    def own_plain_seconds(self) -> float:
        return cpu_seconds(lambda: LexborHTMLParser(self.html).text())

    def document(self, schema: CompiledSchema) -> Document:
        return clean(self.html, base_url=self.url, data_from=sources_for(schema))


@dataclass(slots=True)
class Score:
    right: int = 0
    wrong: int = 0
    missed: int = 0
    mistakes: list[str] = field(default_factory=list)

    def count(self, page: RealPage, name: str, value: object) -> None:
        accepted = page.truth.get(name) or []
        if value is None:
            self.missed += bool(accepted)
        elif any(same(name, value, each) for each in accepted):
            self.right += 1
        else:
            self.wrong += 1
            self.mistakes.append(f"{page.url[:60]}: {value!r}, accepted {accepted}")

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """By the benchmark's own definition: a wrong value is no missed one."""
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def pages(folder: Path) -> list[RealPage]:
    return [
        RealPage(
            name, gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()).decode("utf-8", "replace"), truth
        )
        for name, truth in sorted(json.loads((folder / "truth.json").read_text()).items())
    ]


def tables(folder: Path) -> Iterator[Table]:
    found = {name: pages(folder / name) for name in ("products", "articles")}
    yield from right_without_a_model(found["products"])
    yield saved(found)
    yield from taken(found)
    yield cost(found)


# How much is right


def right_without_a_model(products: Sequence[RealPage]) -> Iterator[Table]:
    readers: dict[str, Callable[[RealPage], Mapping[str, Any]]] = {"scraper": by_scraper}
    with suppress(ImportError):
        readers["extruct"] = _extruct_reader()
    halves = {
        "all": list(products),
        "used": [page for page in products if not page.held_out],
        "held out": [page for page in products if page.held_out],
    }
    title = f"{len(products)} product pages without any model (aims in brackets)"
    if "extruct" not in readers:
        title += "; extruct is not installed"
    shown = Table(title=title, title_justify="left")
    for column in ("", "pages", *(f"{name} {what}" for name in ASKED for what in ("P", "R", "F1"))):
        shown.add_column(column, justify="left" if not column else "right", no_wrap=not column)
    mistakes: list[tuple[str, str]] = []
    for who, read in readers.items():
        answers = {page.name: read(page) for page in products}
        for half, chosen in halves.items():
            scores = {name: Score() for name in ASKED}
            for page in chosen:
                for name, score in scores.items():
                    score.count(page, name, answers[page.name].get(name))
            shown.add_row(
                f"{who}, {half}", str(len(chosen)), *(cell for name in ASKED for cell in _cells(name, scores[name]))
            )
            if who == "scraper" and half == "all":
                mistakes = [(name, each) for name in ASKED for each in scores[name].mistakes]
    yield shown
    listed = Table(title="every value that was given and is not accepted", title_justify="left")
    listed.add_column("")
    listed.add_column("page")
    for row in mistakes:
        listed.add_row(*row)
    yield listed


def by_scraper(page: RealPage) -> dict[str, Any]:
    schema = compile_schema(BENCHMARK)
    return {path[1:]: value for path, value in known_values(page.document(schema), schema).values.items()}


def same(name: str, value: object, accepted: str) -> bool:
    if name != "price":
        return value == accepted
    try:
        return Decimal(str(value)) == Decimal(accepted.strip())
    except InvalidOperation:
        return False


def _cells(name: str, score: Score) -> tuple[str, str, str]:
    precision, recall = AIMS[name]
    return f"{score.precision:.3f} ({precision})", f"{score.recall:.3f} ({recall})", f"{score.f1:.3f}"


def _extruct_reader() -> Callable[[RealPage], Mapping[str, Any]]:
    import extruct  # type: ignore[import-untyped]  # noqa: PLC0415 may be missing

    def read(page: RealPage) -> dict[str, Any]:
        data = extruct.extract(page.html, base_url=page.url, uniform=True, errors="ignore")
        things = [each for kind in ("json-ld", "microdata", "rdfa") for each in data.get(kind, ())]
        product = next((each for each in things if "Product" in str(each.get("@type"))), {})
        offers = product.get("offers") or {}
        offer = (offers[0] if offers else {}) if isinstance(offers, list) else offers
        offer = offer if isinstance(offer, dict) else {}
        graph = (data.get("opengraph") or [{}])[0]
        found = {
            "price": offer.get("price") or offer.get("lowPrice") or graph.get("product:price:amount"),
            "sku": product.get("sku"),
            "availability": str(offer.get("availability") or "").rsplit("/", 1)[-1] or None,
        }
        return {name: value for name, value in found.items() if isinstance(value, str | int | float) and value != ""}

    return read


# What it costs


def cost(found: Mapping[str, Sequence[RealPage]]) -> Table:
    title = "CPU of a page as a ratio to plain selectolax text: median, and the slowest tenth (aim: 5 at the median)"
    shown = Table(title=title, title_justify="left")
    for column in ("", "pages", "cleaned", "+ its data read", "+ mapped to the ready-made schema"):
        shown.add_column(column, justify="left" if not column else "right")
    everything: list[tuple[float, ...]] = []
    for kind, name in (("products", "product"), ("articles", "article")):
        schema = compile_schema(named_schema(name))
        rows = [_ratios(page, schema) for page in found[kind]]
        everything += rows
        shown.add_row(kind, str(len(rows)), *_middle_and_slow(rows))
    shown.add_row("all", str(len(everything)), *_middle_and_slow(everything))
    return shown


def _ratios(page: RealPage, schema: CompiledSchema) -> tuple[float, float, float]:
    document = page.document(schema)
    cleaned = cpu_seconds(lambda: clean(page.html, base_url=page.url))
    read = cpu_seconds(lambda: page.document(schema))
    mapped = read + cpu_seconds(lambda: known_values(document, schema))
    return cleaned / page.own_plain_seconds, read / page.own_plain_seconds, mapped / page.own_plain_seconds


def _middle_and_slow(rows: Sequence[tuple[float, ...]]) -> Iterator[str]:
    for column in zip(*rows, strict=True):
        yield f"{median(column):.1f}, {quantiles(column, n=10)[-1]:.1f}"


def cpu_seconds(work: Callable[[], object]) -> float:
    least = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        least = min(least, time.process_time() - begun)
    return max(least, 1e-6)
