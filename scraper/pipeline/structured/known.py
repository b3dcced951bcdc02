"""What a page's own data answers of a schema, for certain: taken only where type, page and sources agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from scraper.models import Document, Json
from scraper.pipeline.grounding.text import MAX_EVIDENCE_CHARS
from scraper.pipeline.schema import CompiledSchema
from scraper.pipeline.structured.borne_out import Page, borne_out
from scraper.pipeline.structured.listed import entries_of, stretches
from scraper.pipeline.structured.paths import at, with_plain_offers
from scraper.pipeline.structured.plan import Asked, plans_for
from scraper.pipeline.structured.pointers import escaped, is_within, set_at
from scraper.pipeline.structured.sayings import Saying, Source, agreed, agreed_list
from scraper.pipeline.structured.subject import subjects, with_sure_title
from scraper.pipeline.structured.things import LISTING
from scraper.pipeline.structured.trail import trails
from scraper.pipeline.structured.vocabulary import DESCRIBING, SOURCES, Property, Thing
from scraper.pipeline.structured.wanted import Wanted

MAX_ENTRIES: Final = 200  # of an array of objects


@dataclass(frozen=True, slots=True)
class Known:
    """Values by the JSON pointer of their field; and for each its source, its place there, and the evidence."""

    values: Mapping[str, Json] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    def __or__(self, other: Known) -> Known:
        return Known({**self.values, **other.values}, {**self.fields, **other.fields})

    def __bool__(self) -> bool:
        return bool(self.values)


def known_values(document: Document, schema: CompiledSchema) -> Known:
    """What `document` answers of `schema` by its own data. What is not certain is left out. Never raises."""
    plans = [plan for plan in plans_for(schema) if plan.may_be_answered(document.structured)]
    if not plans:
        return Known()
    page = Page.of(document, document.structured[0]["value"])
    for plan in plans:
        about = _about(document.structured, plan.thing, page)
        on_trail = any(each.said.trail for each in plan.asked)
        trail = trails(document.structured, page.names, url=page.url) if on_trail else {}
        taker = _Taker(page, trail)
        is_list = plan.thing is LISTING
        if found := taker.listed(plan.asked, document.structured) if is_list else taker.take(plan.asked, about):
            return _fitting(found, schema)
    return Known()


def _about(structured: Sequence[Json], thing: Thing, page: Page) -> list[Source]:
    """The page's subject as each source describes it; head and state speak of it, too, where no other source does."""
    found = [
        Source(name, each.path, with_plain_offers(each.value))
        for name in DESCRIBING
        for each in subjects((one for one in structured if one["source"] == name), thing, page.names)
    ]
    headings = structured[0]["value"]["headings"]
    for each in structured:
        if each["source"] == "meta":
            found.append(Source("meta", each["path"], with_sure_title(each["value"], headings, thing)))
        elif each["source"] == "embedded_state":
            found.append(Source(**each))
    return found


class _Taker:
    """Collects what is certain about one thing and the things in it."""

    def __init__(self, page: Page, trail: Mapping[str, Sequence[Source]]) -> None:
        self._page = page
        self._trail = trail

    def take(self, asked: Sequence[Asked], about: Sequence[Source]) -> Known:
        found = Known()
        for each in asked:
            if each.said.kind == "thing":
                found |= self._thing(each, about)
            elif each.field.each is not None:
                told = self._trail.get(each.said.trail, ()) if each.said.trail else about
                found |= self._list(each.field, each.field.each, each.said, told)
            elif not each.said.trail:  # nobody knows how a schema wants several names in one text
                found |= self._value(each.field, each.said, about)
        return found

    def _value(self, field: Wanted, said: Property, about: Sequence[Source]) -> Known:
        def evidence(saying: Saying) -> str | None:
            return borne_out(saying, said, field, self._page)

        saying = agreed(field, said, about, is_shown=lambda each: evidence(each) is not None)
        if saying is None or (seen := evidence(saying)) is None:
            return Known()
        if said.kind == "paragraph":
            return _known(field.path, seen, [(saying, seen[:MAX_EVIDENCE_CHARS])])
        return _known(field.path, saying.value, [(saying, seen)])

    def _list(self, field: Wanted, each: Wanted, said: Property, about: Sequence[Source]) -> Known:
        sayings = agreed_list(each, said, about)
        borne: list[tuple[Saying, str]] = []
        for saying in sayings:
            seen = borne_out(saying, said, field, self._page)
            if seen is None:
                return Known()  # a list is taken whole or not at all
            borne.append((saying, seen))
        return _known(field.path, [saying.value for saying in sayings], borne) if borne else Known()

    def _thing(self, asked: Asked, about: Sequence[Source]) -> Known:
        """An object's properties, each by itself; nothing where a source has several such objects."""
        things: dict[str, list[Source]] = {}
        for source in about:
            if source.source in DESCRIBING and (some := _things_at(source, asked.said)):
                things.setdefault(source.source, []).extend(some)
        if not things or len({len(some) for some in things.values()}) > 1:
            return Known()
        if asked.field.each is not None:
            told = next(things[name] for name in SOURCES if name in things)
            return _entries(asked, asked.field.each, [(self, each) for each in told])
        return self.take(asked.inside, [some[0] for some in things.values() if len(some) == 1])

    def listed(self, asked: Sequence[Asked], structured: Sequence[Json]) -> Known:
        """The entries of the list that the page is, each borne out by what stands at its place on the page."""
        one, *others = asked
        if others or one.field.each is None or not one.whole:
            return Known()
        entries, complete = entries_of(structured, self._page.names)
        places = stretches(entries, self._page.text, complete=complete) if entries else None
        if places is None:
            return Known()
        takers = [_Taker(self._page.part(begin, end), {}) for begin, end in places]
        return _entries(one, one.field.each, list(zip(takers, entries, strict=True)))


def _entries(asked: Asked, entry: Wanted, things: Sequence[tuple[_Taker, Source]]) -> Known:
    """An array of objects is taken whole or not at all: each of them with every property."""
    if not asked.whole or len(things) > MAX_ENTRIES:
        return Known()
    entries = []
    origin: Mapping[str, Json] = {}
    for taker, source in things:
        found = taker.take(asked.inside, [source])
        if len(found.values) < len(entry.fields):
            return Known()
        one: dict[str, Json] = {}
        for path, value in found.values.items():
            set_at(one, path.removeprefix(entry.path), value)
        entries.append(one)
        origin = origin or next(iter(found.fields.values()))
    return Known({asked.field.path: entries}, {asked.field.path: origin})


def _things_at(source: Source, said: Property) -> list[Source]:
    found = []
    for path in said.paths:
        for place, value in at(source.value, path):
            if isinstance(value, dict):
                found.append(replace(source, path=f"{source.path}{place}", value=value))
            elif isinstance(value, str) and said.of == "organization":
                found.append(replace(source, path=f"{source.path}{place}", value={"name": value}))
    return found


def _known(path: str, value: Json, borne: Sequence[tuple[Saying, str]]) -> Known:
    saying, _ = borne[0]
    evidence = next((each for _, each in borne if each), "")
    told: dict[str, Json] = {"source": saying.source, "path": saying.path}
    if others := saying.sources - {saying.source}:
        told["also"] = sorted(others)
    if evidence:
        told |= {"grounded": True, "evidence": evidence}
    return Known({path: value}, {path: told})


def _fitting(known: Known, schema: CompiledSchema) -> Known:
    """Without the values that break the schema by themselves; what is missing beside them is no fault of theirs."""
    data: dict[str, Json] = {}
    for path, value in known.values.items():
        set_at(data, path, value)
    wrong = {
        "".join(f"/{escaped(str(step))}" for step in error.instance_path)
        for error in schema.validator.iter_errors(data)
        if error.instance_path and error.kind.name != "required"
    }
    kept = [path for path in known.values if not any(is_within(path, each) or is_within(each, path) for each in wrong)]
    return Known({path: known.values[path] for path in kept}, {path: known.fields[path] for path in kept})
