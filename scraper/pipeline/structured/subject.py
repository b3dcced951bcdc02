"""Which of the things on a page is the one that it is about.

Shops mark up the products beside it just as well. The subject is known by the page's own names and addresses, or by
being called the main entity; a thing that merely is the only one of its kind is the subject if it at least shares most
of its words with the title.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scraper.models import Json
from scraper.pipeline.structured.names import PageNames, as_words
from scraper.pipeline.structured.vocabulary import Thing

MAX_CANDIDATES: Final = 200
MAX_ALIKE: Final = 12  # things that are the subject equally; more are a list
MOST_OF_ITS_WORDS: Final = 0.6


@dataclass(frozen=True, slots=True)
class Candidate:
    path: str
    value: dict[str, Json]
    is_main: bool


def subjects(found: Iterator[dict[str, Json]], thing: Thing, names: PageNames) -> list[Candidate]:
    """The things of one source that are the page's subject: several only where none is more so than the others."""
    candidates = [each for one in found for each in _candidates(one["path"], one["value"], thing)][:MAX_CANDIDATES]
    marked = [(_standing(each, names), each) for each in candidates]
    best = max((standing for standing, _ in marked), default=0)
    if best >= 2:
        alike = [each for standing, each in marked if standing == best]
        return alike if len(alike) <= MAX_ALIKE else []
    if len(candidates) == 1 and (best or _shares_words(candidates[0], names)):
        return candidates
    return []


def with_sure_title(meta: Mapping[str, list[str]], headings: Sequence[str], thing: Thing) -> Mapping[str, list[str]]:
    """A page's meta data, of its titles for others only one that names the subject: the page says that it is such a
    thing, and its first heading says the same. Others may have the site's name in them, or be an advertisement.
    """
    if "og:title" not in meta:
        return meta
    is_such = bool(headings) and not thing.social.isdisjoint(meta.get("og:type", ()))
    sure = [each for each in meta["og:title"] if as_words(each) == as_words(headings[0])] if is_such else []
    return {**meta, "og:title": sure}


def _candidates(path: str, value: Json, thing: Thing) -> Iterator[Candidate]:
    if not isinstance(value, dict):
        return
    if is_a(value, thing):
        yield Candidate(path, value, "mainEntityOfPage" in value)
    main = value.get("mainEntity")
    if isinstance(main, dict) and is_a(main, thing):
        yield Candidate(f"{path}/mainEntity", main, is_main=True)


def is_a(value: dict[str, Json], thing: Thing) -> bool:
    types = value.get("@type")
    return isinstance(types, list) and not thing.types.isdisjoint(types)


def _standing(candidate: Candidate, names: PageNames) -> int:
    """2 for a name or an address of the page, 1 for being called its main entity."""
    value = candidate.value
    named = any(isinstance(value.get(key), str) and names.is_name(value[key]) for key in ("name", "headline", "title"))
    there = any(names.is_address(address) for address in _addresses(value))
    return 2 * named + 2 * there + candidate.is_main


def _addresses(value: dict[str, Json]) -> Iterator[str]:
    page = value.get("mainEntityOfPage")
    offers = value.get("offers")
    told = [value.get("url"), value.get("@id"), page.get("@id") if isinstance(page, dict) else page]
    told += [each.get("url") for each in (offers if isinstance(offers, list) else [offers]) if isinstance(each, dict)]
    yield from (each for each in told if isinstance(each, str) and each)


def _shares_words(candidate: Candidate, names: PageNames) -> bool:
    for key in ("name", "headline", "title"):
        name = candidate.value.get(key)
        words = set(as_words(name).split()) if isinstance(name, str) else set()
        if words and any(len(words & set(page.split())) >= MOST_OF_ITS_WORDS * len(words) for page in names.names):
            return True
    return False
