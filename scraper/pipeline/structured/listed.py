"""The list that a page is, as an ItemList of its data tells it, and where on the page each entry stands.

Pages carry lists of what else one may like just as well, and often only the first entries of a long one. So a list is
the page's own only where the page says so, by its name, or carries no other and is about no single thing; and it is
whole only where it says how many entries it has, or where all headings of their kind on the page are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from scraper.models import Json
from scraper.pipeline.structured.names import PageNames, as_words
from scraper.pipeline.structured.paths import with_plain_offers
from scraper.pipeline.structured.sayings import Source
from scraper.pipeline.structured.subject import subjects
from scraper.pipeline.structured.things import ONE_THING
from scraper.pipeline.structured.vocabulary import DESCRIBING

MOST_ENTRIES: Final = 200


def entries_of(structured: Sequence[Json], names: PageNames) -> tuple[list[Source], bool]:
    """The entries of the page's own list, in their order, and whether it says that these are all; none if in doubt."""
    found: dict[str, tuple[list[Source], bool]] = {}
    for source in DESCRIBING:
        lists = [each for one in structured if one["source"] == source for each in _lists(one["path"], one["value"])]
        if not lists:
            continue
        path, told, is_main = lists[0]
        if len(lists) > 1 or not (is_main or _is_the_pages(told, names, structured)):
            return [], False
        found[source] = _entries(Source(source, path, told))
    if len({_names(entries) for entries, _ in found.values()}) != 1:
        return [], False
    return next(iter(found.values()))


def stretches(entries: Sequence[Source], text: str, *, complete: bool) -> list[tuple[int, int]] | None:
    """For each entry where on the page it stands, from its name to the next one's. None where one is missing, where
    their order is another, or where there are more than these.
    """
    begins: list[int] = []
    at = 0
    for each in entries:
        name = name_of(each.value)
        at = text.find(name, at)
        if not name or at < 0:
            return None
        begins.append(at)
        at += len(name)
    if not complete and not _are_all_headings(begins, text):
        return None
    longest = max(end - begin for begin, end in pairwise(begins))
    return [*pairwise(begins), (begins[-1], begins[-1] + 2 * longest)]


def name_of(entry: Json) -> str:
    name = next((entry[key] for key in ("name", "headline", "title") if key in entry), "")
    return name if isinstance(name, str) else ""


def _lists(path: str, value: Json) -> Iterator[tuple[str, dict[str, Json], bool]]:
    """The lists of a thing, and whether it calls them what it mainly is."""
    if not isinstance(value, dict):
        return
    if "ItemList" in (value.get("@type") or ()):
        yield path, value, False
    main = value.get("mainEntity")
    if isinstance(main, dict) and "ItemList" in (main.get("@type") or ()):
        yield f"{path}/mainEntity", main, True


def _is_the_pages(told: dict[str, Json], names: PageNames, structured: Sequence[Json]) -> bool:
    name = told.get("name")
    if isinstance(name, str) and name:
        return as_words(name) in names.names or names.is_name(name)
    described = [one for one in structured if one["source"] in DESCRIBING]
    return not any(subjects(iter(described), thing, names) for thing in ONE_THING)


def _entries(told: Source) -> tuple[list[Source], bool]:
    elements = told.value.get("itemListElement")
    if not isinstance(elements, list) or not 1 < len(elements) <= MOST_ENTRIES:
        return [], False
    found = []
    for number, element in enumerate(elements, 1):
        if not isinstance(element, dict) or str(element.get("position", number)) not in {str(number), str(number - 1)}:
            return [], False
        found.append(_flat(replace(told, path=f"{told.path}/itemListElement/{number - 1}", value=element)))
    return found, str(told.value.get("numberOfItems")) == str(len(found))


def _flat(element: Source) -> Source:
    """What a step of a list says itself and what the thing in it says, as one."""
    item = element.value.get("item")
    if isinstance(item, str):
        return replace(element, value={"url": item, **element.value})
    if not isinstance(item, dict):
        return replace(element, value=with_plain_offers(element.value))
    value = with_plain_offers({**element.value, **item})
    return replace(element, path=f"{element.path}/item", value=value)


def _names(entries: Sequence[Source]) -> tuple[str, ...]:
    return tuple(as_words(name_of(each.value)) for each in entries)


def _are_all_headings(begins: Sequence[int], text: str) -> bool:
    """Whether all names are headings of one level, and no other heading of it stands among or behind them."""
    headings = {match.end(): len(match[1]) for match in _HEADING.finditer(text)}
    levels = {headings.get(begin, 0) for begin in begins}
    if len(levels) != 1 or not (level := levels.pop()):
        return False
    behind = [(at, each) for at, each in headings.items() if at >= begins[0] and each <= level]
    end = next((place for place, (_, each) in enumerate(behind) if each < level), len(behind))
    return [at for at, _ in behind[:end]] == list(begins)


_HEADING: Final = re.compile(r"^(#{1,6}) +", re.MULTILINE)
