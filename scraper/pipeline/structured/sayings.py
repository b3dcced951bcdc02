"""What a page's sources say about one field, and whether they say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from scraper.models import Json
from scraper.pipeline.structured.paths import at
from scraper.pipeline.structured.states import IN_STOCK
from scraper.pipeline.structured.vocabulary import SOURCES, Property
from scraper.pipeline.structured.wanted import Wanted
from scraper.pipeline.structured.worth import Worth, worth

MAX_LIST: Final = 200


@dataclass(frozen=True, slots=True)
class Source:
    """One thing as one source describes it."""

    source: str
    path: str
    value: Json


@dataclass(frozen=True, slots=True)
class Saying:
    """One value, and the sources that say it."""

    source: str
    path: str
    worth: Worth
    sources: frozenset[str]

    @property
    def value(self) -> Json:
        return self.worth.value


def agreed(
    field: Wanted, said: Property, about: Sequence[Source], *, is_shown: Callable[[Saying], bool]
) -> Saying | None:
    """The one value that all sources agree on. Of several addresses the first is meant: pictures come in order.

    A page's own state is no witness against others, except about numbers: there it may know of a reduction. Alone, it
    must say a number twice, because one that nobody else says may be a price of something else, or in cents.
    """
    found = list(_sayings(field, said, about))
    if said.kind == "address":
        return min(found, key=_rank, default=None)
    state = [each for each in found if each.source == "embedded_state"]
    firm = [each for each in found if each.source != "embedded_state"] or state
    if not firm or (said.kind == "amount" and firm is state and len(state) < 2):
        return None
    ones = [_one_of(one, said, is_shown) for one in _by_source(firm).values()]
    first = min((each for each in ones if each), key=_rank, default=None)
    if first is None or any(each is None or each.worth.key != first.worth.key for each in ones):
        return None
    if said.kind == "amount" and state and not any(_is_amount(first, each) for each in state):
        return None
    return _said(first, found)


def _one_of(sayings: Sequence[Saying], said: Property, is_shown: Callable[[Saying], bool]) -> Saying | None:
    """What one source says. Of the prices of its offers the one that is shown; what any of them has is in stock."""
    several = {each.worth.key: each for each in reversed(sayings)}
    if len(several) > 1 and said.kind == "amount":
        several = {key: each for key, each in several.items() if is_shown(each)}
    if len(several) > 1 and said.name == "availability":
        several = {key: each for key, each in several.items() if key in IN_STOCK}
    return next(iter(several.values())) if len(several) == 1 else None


def _is_amount(saying: Saying, state: Saying) -> bool:
    """Whether the page's state says the same amount; programs often count in cents."""
    amount, counted = Decimal(saying.worth.key), Decimal(state.worth.key)
    return counted in {amount, 100 * amount}


def _by_source(sayings: Sequence[Saying]) -> dict[str, list[Saying]]:
    found: dict[str, list[Saying]] = {}
    for each in sayings:
        found.setdefault(each.source, []).append(each)
    return found


def agreed_list(each: Wanted, said: Property, about: Sequence[Source]) -> list[Saying]:
    """The values of a list, in order and each once, where the sources that have one name the same."""
    lists: dict[str, dict[str, Saying]] = {}
    found = list(_sayings(each, said, about, parted=said.kind == "words"))
    for saying in found:
        lists.setdefault(saying.source, {}).setdefault(saying.worth.key, saying)
    firm = {source: one for source, one in lists.items() if source in {"json_ld", "microdata", "rdfa"}} or lists
    alike = len({frozenset(one) for one in firm.values()}) == 1
    if not firm or not (alike or said.kind == "address"):
        return []
    first = min(firm, key=SOURCES.index)
    return [_said(saying, found) for saying in firm[first].values()][:MAX_LIST]


def _sayings(field: Wanted, said: Property, about: Sequence[Source], *, parted: bool = False) -> Iterator[Saying]:
    for source in about:
        for path in {"meta": said.meta, "embedded_state": said.state}.get(source.source, said.paths):
            got = [
                Saying(source.source, f"{source.path}{place}", found, frozenset({source.source}))
                for place, raw in _raw(source, path, parted=parted)
                if (found := worth(raw, said, field)) is not None
            ]
            yield from got
            if got:
                break


def _raw(source: Source, path: str, *, parted: bool) -> Iterator[tuple[str, Json]]:
    if source.source == "meta":
        found = [(f"/{path}", each) for each in source.value.get(path, ())]
    else:
        found = at(source.value, path)
    for place, raw in found:
        if parted and isinstance(raw, str):
            yield from ((place, each) for each in raw.split(","))
        else:
            yield place, raw


def _said(one: Saying, found: Sequence[Saying]) -> Saying:
    agreeing = frozenset(each.source for each in found if each.worth.key == one.worth.key)
    return Saying(one.source, one.path, one.worth, agreeing)


def _rank(saying: Saying) -> int:
    return SOURCES.index(saying.source)
