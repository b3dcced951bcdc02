"""What the head of a page says about it, as a few short lines above the text.

Published time, canonical address, price or brand often stand nowhere else in words. Read by name wherever they are:
a `<noscript>` with an image closes the head early, and microdata puts its `<meta>` into the body.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scraper.pipeline.elements import Attributes
from scraper.pipeline.one_line import one_line

MAX_VALUE_CHARS: Final = 500  # a description is one or two sentences; longer ones are stuffing

_LABELS: Final[dict[str, str]] = {
    "og:title": "Title",
    "twitter:title": "Title",
    "description": "Description",
    "og:description": "Description",
    "twitter:description": "Description",
    "canonical": "URL",
    "og:url": "URL",
    "og:site_name": "Site",
    "og:type": "Type",
    "og:locale": "Language",
    "author": "Author",
    "article:author": "Author",
    "dc.creator": "Author",
    "keywords": "Keywords",
    "news_keywords": "Keywords",
    "article:section": "Section",
    "article:published_time": "Published",
    "date": "Published",
    "dc.date": "Published",
    "datepublished": "Published",
    "article:modified_time": "Modified",
    "datemodified": "Modified",
    "brand": "Brand",
    "og:brand": "Brand",
    "product:brand": "Brand",
    "price": "Price",
    "og:price:amount": "Price",
    "product:price:amount": "Price",
    "pricecurrency": "Currency",
    "og:price:currency": "Currency",
    "product:price:currency": "Currency",
    "availability": "Availability",
    "og:availability": "Availability",
    "product:availability": "Availability",
    "sku": "SKU",
    "productid": "SKU",
    "product:retailer_item_id": "SKU",
    "mpn": "MPN",
    "product:mfr_part_no": "MPN",
    "gtin": "GTIN",
    "gtin8": "GTIN",
    "gtin12": "GTIN",
    "gtin13": "GTIN",
    "gtin14": "GTIN",
    "product:ean": "GTIN",
    "product:condition": "Condition",
    "itemcondition": "Condition",
    "ratingvalue": "Rating",
    "reviewcount": "Reviews",
}


def header(found: Iterable[Attributes], *, title: str, language: str | None) -> list[str]:
    """`Label: value` lines, the title first; for each label the first value that differs from those before it.

    A label is repeated only for facts of products, which a page may list several of; at most three times.
    """
    facts: dict[str, list[str]] = {"Title": [title]} if title else {}
    if language:
        facts["Language"] = [_short(language)]
    for attrs in found:
        name = attrs.get("itemprop") or attrs.get("property") or attrs.get("name") or attrs.get("rel") or ""
        label = _LABELS.get(name.lower())
        value = _short(attrs.get("content") or attrs.get("href") or "") if label else ""
        if label and value:
            known = facts.setdefault(label, [])
            if value not in known and len(known) < (3 if label in _SEVERAL else 1):
                known.append(value)
    return [f"{label}: {value}" for label, values in facts.items() for value in values]


_SEVERAL: Final = frozenset({"Price", "SKU", "MPN", "GTIN", "Brand", "Availability", "Author"})


def _short(value: str) -> str:
    value = one_line(value[: 4 * MAX_VALUE_CHARS])
    return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
