"""Values at a path of schema.org's terms, through whatever lists and objects a page has put there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scraper.models import Json

MAX_FOUND: Final = 100
_NOT_THE_PRICE: Final = ("ListPrice", "StrikethroughPrice", "SRP", "MSRP", "MinimumAdvertisedPrice", "RegularPrice")


def at(value: Json, path: str) -> list[tuple[str, Json]]:
    """(place, value) of everything at `path`: scalars and objects, lists opened."""
    level: list[tuple[str, Json]] = [("", value)]
    for step in path.split("."):
        level = [
            (f"{place}/{name}", each[name])
            for place, each in _opened(level)
            if isinstance(each, dict) and (name := step if step in each else step.lower()) in each
        ][:MAX_FOUND]
        if not level:
            return []
    return list(_opened(level))[:MAX_FOUND]


def _opened(level: list[tuple[str, Json]]) -> Iterator[tuple[str, Json]]:
    for place, value in level:
        if isinstance(value, list):
            yield from ((f"{place}/{index}", each) for index, each in enumerate(value))
        else:
            yield place, value


def with_plain_offers(thing: dict[str, Json]) -> dict[str, Json]:
    """`thing`, its offers as a list of objects with one `price` each where they have one, nested ones taken out."""
    if "offers" not in thing:
        return thing
    plain = [_plain(offer) for _, offer in at(thing, "offers") if isinstance(offer, dict) for offer in _singles(offer)]
    sku = thing.get("sku")
    own = [offer for offer in plain if sku and offer.get("sku") == sku]
    offers = own or plain
    return thing | {"offers": offers[0] if len(offers) == 1 and isinstance(thing["offers"], dict) else offers}


def _singles(offer: dict[str, Json]) -> list[dict[str, Json]]:
    nested = [each for _, each in at(offer, "offers") if isinstance(each, dict)]
    if not nested:
        return [offer]
    shared = {key: value for key, value in offer.items() if key in {"priceCurrency", "availability", "itemCondition"}}
    return [shared | each for each in nested]


def _plain(offer: dict[str, Json]) -> dict[str, Json]:
    offer = dict(offer)
    for _, told in at(offer, "priceSpecification"):
        if not isinstance(told, dict) or "price" not in told:
            continue
        kind = str(told.get("priceType", ""))
        if any(each in kind for each in _NOT_THE_PRICE):
            offer.setdefault("listPrice", told["price"])
        elif "referenceQuantity" not in told:
            offer.setdefault("price", told["price"])
            if "priceCurrency" in told:
                offer.setdefault("priceCurrency", told["priceCurrency"])
    low, high = offer.get("lowPrice"), offer.get("highPrice")
    if (
        "price" not in offer
        and low is not None
        and (low == high or (high is None and str(offer.get("offerCount")) == "1"))
    ):
        offer["price"] = low
    return offer
