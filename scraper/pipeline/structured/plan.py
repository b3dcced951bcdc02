"""For each field of a schema, what of schema.org's properties it means: found once per schema, used for every page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from scraper.models import Json
from scraper.pipeline.schema import KEPT, CompiledSchema
from scraper.pipeline.structured.things import SUBJECTS, THINGS
from scraper.pipeline.structured.vocabulary import SOURCES, Property, Thing
from scraper.pipeline.structured.wanted import Wanted, as_name, wanted

TITLE_VOTES: Final = 10  # a schema that says what it is about needs no guess


@dataclass(frozen=True, slots=True)
class Asked:
    """A field whose meaning is known."""

    field: Wanted
    said: Property
    inside: tuple[Asked, ...] = ()  # of an object, or of the objects of an array
    whole: bool = False  # whether `inside` are all the fields there are


@dataclass(frozen=True)
class Plan:
    """A kind of thing that the schema may be about, and the fields that it then has."""

    thing: Thing
    asked: tuple[Asked, ...]

    def may_be_answered(self, structured: Sequence[Json]) -> bool:
        """Whether anything that a page says about itself can be about a field that is asked for."""
        return any(
            each["source"] != "page" and (each["source"] != "meta" or not self._metas.isdisjoint(each["value"]))
            for each in structured
        )

    @cached_property
    def _metas(self) -> frozenset[str]:
        return frozenset(name for each in self.asked for name in each.said.meta)


@lru_cache(KEPT)
def plans_for(schema: CompiledSchema) -> tuple[Plan, ...]:
    """The kinds of things that the schema can be about, several where they fit as well; none where anything does."""
    return tuple(_plans(wanted(schema)))


def sources_for(schema: CompiledSchema) -> tuple[str, ...]:
    """The kinds of sources that can answer anything of `schema`: a page's state costs most, and answers little."""
    asked = [each for plan in plans_for(schema) for each in plan.asked]
    if not asked:
        return ()
    return SOURCES if any(each.said.state for each in asked) else SOURCES[:-1]


def _plans(root: Wanted) -> list[Plan]:
    title = set(as_name(str(root.schema.get("title", ""))).split())
    votes = []
    for thing in SUBJECTS:
        asked = _asked(_fields_about(root, thing), thing)
        fits = sum(each.said.own for each in asked) + TITLE_VOTES * bool(title & thing.words)
        votes.append((fits, Plan(thing, asked)))
    best = max(fits for fits, _ in votes)
    return [plan for fits, plan in votes if fits == best and plan.asked] if best else []


def _fields_about(root: Wanted, thing: Thing) -> list[Wanted]:
    """The schema's fields; those of an object that is the thing itself, as in `{"product": {…}}`, in its place."""
    found: list[Wanted] = []
    for each in root.fields:
        inside = each.fields and each.words in thing.words and _property(thing, each) is None
        found += each.fields if inside else [each]
    return found


def _asked(fields: Sequence[Wanted], thing: Thing) -> tuple[Asked, ...]:
    found = []
    for each in fields:
        said = _property(thing, each)
        if said is None:
            continue
        if said.kind != "thing":
            found.append(Asked(each, said))
            continue
        below = each.fields or (each.each.fields if each.each else ())
        inside = _asked(below, THINGS[said.of])
        found.append(Asked(each, said, inside, whole=len(inside) == len(below)))
    return tuple(found)


def _property(thing: Thing, field: Wanted) -> Property | None:
    """What `field` means, unless its description says that it means something else by that name."""
    for name in field.called:
        if said := thing.property_named(name, is_thing=field.is_thing, told=field.says):
            return None if said.unless and said.unless.search(field.says) else said
    return None
