"""What the data of pages saves of asking a model: whole calls, and where one is needed still, what it need not write.

Ready-made schemas ask for more than any page says of itself, so none of their calls is saved: `taken` shows which of
their properties are missing. What the model then need not write are the members of the answer that were taken, in the
tokens of the simulated server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from rich.table import Table

from scraper.pipeline.prompt import prompt_for
from scraper.pipeline.schema import CompiledSchema, compile_schema
from scraper.pipeline.structured.known import Known, known_values
from scraper.pipeline.structured.merge import merged, missing, settled
from scraper.schemas import named_schema
from scraper.testing.vllm_tokens import tokenize

if TYPE_CHECKING:
    from benchmarks.extraction_structured import RealPage


def _of(title: str, *names: str) -> dict[str, Any]:
    """Some properties of a ready-made schema."""
    schema = named_schema(title)
    return {**schema, "properties": {name: schema["properties"][name] for name in names}, "required": list(names)}


SCHEMAS: tuple[tuple[str, str, Callable[[], Mapping[str, Any]]], ...] = (
    ("name, price", "products", lambda: _of("product", "name", "price")),
    (
        "name, price, currency, availability",
        "products",
        lambda: _of("product", "name", "price", "currency", "availability"),
    ),
    ("ready-made product (12 properties)", "products", lambda: named_schema("product")),
    ("headline, authors, published", "articles", lambda: _of("article", "headline", "authors", "published")),
    ("ready-made article (8 properties)", "articles", lambda: named_schema("article")),
)


READY_MADE = (("product", "products"), ("article", "articles"))


def saved(found: Mapping[str, Sequence[RealPage]]) -> Table:
    shown = Table(title="saved against sending everything to the model", title_justify="left")
    shown.add_column("schema")
    for column in (
        "pages",
        "calls saved",
        "prompt tokens saved",
        "properties not asked for",
        "tokens of answer a page",
    ):
        shown.add_column(column, justify="right")
    for label, kind, schema in SCHEMAS:
        compiled = compile_schema(schema())
        calls = tokens = tokens_saved = count_taken = 0
        answered: list[int] = []
        for page in found[kind]:
            text, known = _read(page, compiled)
            left = missing(known, compiled)
            cost = sum(len(tokenize(each["content"])) for each in prompt_for(compiled).messages(text))
            count_taken += len(compiled.schema["properties"]) - len(left)
            tokens += cost
            answered.append(_answer_tokens(known, compiled))
            if not left:
                calls += 1
                tokens_saved += cost
        count = len(found[kind])
        shares = (calls / count, tokens_saved / tokens, count_taken / (count * len(compiled.schema["properties"])))
        shown.add_row(label, str(count), *(f"{share:.1%}" for share in shares), f"{mean(answered):.0f}")
    return shown


def taken(found: Mapping[str, Sequence[RealPage]]) -> Iterator[Table]:
    """Of each ready-made schema that these pages fit, the share of pages whose data answers each property."""
    for title, kind in READY_MADE:
        schema = compile_schema(named_schema(title))
        left = [missing(_read(page, schema)[1], schema) for page in found[kind]]
        shown = Table(
            title=f"ready-made {title}: pages whose data answers a property for certain", title_justify="left"
        )
        shown.add_column("property")
        shown.add_column(f"of {len(left)}", justify="right")
        for name in schema.schema["properties"]:
            shown.add_row(name, f"{mean(name not in each for each in left):.0%}")
        yield shown


def _read(page: RealPage, schema: CompiledSchema) -> tuple[str, Known]:
    document = page.document(schema)
    return document.text, settled(known_values(document, schema), schema)


def _answer_tokens(known: Known, schema: CompiledSchema) -> int:
    answer = merged(known, {}, schema)
    return len(tokenize(json.dumps(answer, ensure_ascii=False)[1:-1])) if answer else 0
