"""From a parsed page to what it says about itself for machines: plain JSON, bounded, each with its source and place.

lexbor finds what there is to read: a query costs a thirtieth of a parse, less than a search for a word in the page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from selectolax.lexbor import LexborHTMLParser, LexborNode

from scraper.models import Json
from scraper.pipeline.elements import Elements
from scraper.pipeline.structured.bounds import Room
from scraper.pipeline.structured.json_ld import read_json_ld
from scraper.pipeline.structured.marked_up import MICRODATA, RDFA, read_marked_up
from scraper.pipeline.structured.meta import read_meta
from scraper.pipeline.structured.names import PageNames, page_names
from scraper.pipeline.structured.state import read_state

Found: TypeAlias = dict[str, Json]  # source, path, value

MAX_HEADINGS: Final = 3
MAX_NAME_CHARS: Final = 500


def read_structured(
    tree: LexborHTMLParser, elements: Elements, *, url: str | None, sources: Collection[str]
) -> tuple[Found, ...]:
    """Every thing that the page describes in data, in the page's order, the best kind of source first.

    The first entry is the page itself (`source` is `page`): its names and addresses. Reads only; call it before
    anything is cut out of the tree. Never raises, whatever the page. Other sources than `sources` are not looked at.
    """
    room = Room()
    meta = read_meta(elements.metas, room) if "meta" in sources else {}
    found = [_found("meta", "", meta)] if meta else []
    scripts = _scripts(elements.scripts)
    if "json_ld" in sources:
        things = read_json_ld(_texts(scripts.json_ld), room)
        found += [_found("json_ld", path, thing) for path, thing in things]
    if tree.css_first("[itemscope], [typeof]") is not None:
        if "microdata" in sources:
            things = read_marked_up(tree, MICRODATA, room, base_url=url)
            found += [_found("microdata", path, thing) for path, thing in things]
        if "rdfa" in sources and tree.css_first("[typeof]") is not None:
            found += [_found("rdfa", path, thing) for path, thing in read_marked_up(tree, RDFA, room, base_url=url)]
    page = _page(tree, elements, meta, url)
    if "embedded_state" in sources:
        states = read_state(_texts(scripts.documents), _texts(scripts.programs), names_of(page), room)
        found += [_found("embedded_state", path, thing) for path, thing in states]
    return (_found("page", "", page), *found) if found else ()


def _found(source: str, path: str, value: Json) -> Found:
    return {"source": source, "path": path, "value": value}


def _page(tree: LexborHTMLParser, elements: Elements, meta: dict[str, list[str]], url: str | None) -> dict[str, Json]:
    headings = [
        " ".join(node.text(separator=" ").split())[:MAX_NAME_CHARS] for node in elements.headings[:MAX_HEADINGS]
    ]
    title = tree.css_first("title")
    root = tree.root
    return {
        "headings": [heading for heading in headings if heading],
        "title": "" if title is None else " ".join(title.text().split())[:MAX_NAME_CHARS],
        "social_title": (meta.get("og:title") or meta.get("twitter:title") or [""])[0][:MAX_NAME_CHARS],
        "url": url or "",
        "canonical": elements.canonical[:2000],
        "social_url": (meta.get("og:url") or [""])[0][:2000],
        "language": "" if root is None else (root.attributes.get("lang") or "")[:35],
    }


def names_of(page: dict[str, Json]) -> PageNames:
    """The names and addresses of the page from its own entry."""
    return page_names(
        [*page["headings"], page["title"], page["social_title"]], [page["canonical"], page["social_url"], page["url"]]
    )


@dataclass(slots=True)
class _Scripts:
    json_ld: list[LexborNode] = field(default_factory=list)
    documents: list[LexborNode] = field(default_factory=list)  # JSON of any other kind
    programs: list[LexborNode] = field(default_factory=list)  # that may assign data


def _scripts(nodes: Iterable[LexborNode]) -> _Scripts:
    scripts = _Scripts()
    for node in nodes:
        attrs = node.attributes
        kind = (attrs.get("type") or "").strip().lower()
        if "ld+json" in kind:
            scripts.json_ld.append(node)
        elif kind.endswith("json"):
            scripts.documents.append(node)
        elif "src" not in attrs and kind in _PROGRAMS:
            scripts.programs.append(node)
    return scripts


def _texts(scripts: Iterable[LexborNode]) -> list[str]:
    return [node.text() for node in scripts]


_PROGRAMS: Final = frozenset({"", "text/javascript", "application/javascript", "module"})
