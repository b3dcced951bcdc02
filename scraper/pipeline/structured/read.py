"""From a parsed page to what it says about itself for machines: plain JSON, bounded, each with its source and place.

lexbor finds what there is to read: a query costs a thirtieth of a parse, less than a search for a word in the page.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeAlias

from selectolax.lexbor import LexborHTMLParser

from scraper.models import Json
from scraper.pipeline.structured.bounds import Room
from scraper.pipeline.structured.json_ld import read_json_ld
from scraper.pipeline.structured.marked_up import MICRODATA, RDFA, read_marked_up
from scraper.pipeline.structured.meta import read_meta
from scraper.pipeline.structured.names import PageNames, page_names
from scraper.pipeline.structured.state import read_state

Found: TypeAlias = dict[str, Json]  # source, path, value

MAX_HEADINGS: Final = 3
MAX_NAME_CHARS: Final = 500


def read_structured(tree: LexborHTMLParser, *, url: str | None, sources: Collection[str]) -> tuple[Found, ...]:
    """Every thing that the page describes in data, in the page's order, the best kind of source first.

    The first entry is the page itself (`source` is `page`): its names and addresses. Reads only; call it before
    anything is cut out of the tree. Never raises, whatever the page. Other sources than `sources` are not looked at.
    """
    room = Room()
    meta = read_meta(tree, room) if "meta" in sources else {}
    found = [_found("meta", "", meta)] if meta else []
    if "json_ld" in sources:
        json_ld = [node.text() for node in tree.css(_JSON_LD)]
        found += [_found("json_ld", path, thing) for path, thing in read_json_ld(json_ld, room)]
    if "microdata" in sources:
        things = read_marked_up(tree, MICRODATA, room, base_url=url)
        found += [_found("microdata", path, thing) for path, thing in things]
    if "rdfa" in sources and tree.css_first("[typeof]") is not None:
        found += [_found("rdfa", path, thing) for path, thing in read_marked_up(tree, RDFA, room, base_url=url)]
    page = _page(tree, meta, url)
    if "embedded_state" in sources:
        states = read_state(*_scripts(tree), names_of(page), room)
        found += [_found("embedded_state", path, thing) for path, thing in states]
    return (_found("page", "", page), *found) if found else ()


def _found(source: str, path: str, value: Json) -> Found:
    return {"source": source, "path": path, "value": value}


def _page(tree: LexborHTMLParser, meta: dict[str, list[str]], url: str | None) -> dict[str, Json]:
    headings = [" ".join(node.text(separator=" ").split())[:MAX_NAME_CHARS] for node in tree.css("h1")[:MAX_HEADINGS]]
    title = tree.css_first("title")
    canonical = tree.css_first("[rel=canonical]:is(link)")
    root = tree.root
    return {
        "headings": [heading for heading in headings if heading],
        "title": "" if title is None else " ".join(title.text().split())[:MAX_NAME_CHARS],
        "social_title": (meta.get("og:title") or meta.get("twitter:title") or [""])[0][:MAX_NAME_CHARS],
        "url": url or "",
        "canonical": "" if canonical is None else (canonical.attributes.get("href") or "")[:2000],
        "social_url": (meta.get("og:url") or [""])[0][:2000],
        "language": "" if root is None else (root.attributes.get("lang") or "")[:35],
    }


def names_of(page: dict[str, Json]) -> PageNames:
    """The names and addresses of the page from its own entry."""
    return page_names(
        [*page["headings"], page["title"], page["social_title"]], [page["canonical"], page["social_url"], page["url"]]
    )


def _scripts(tree: LexborHTMLParser) -> tuple[list[str], list[str]]:
    """Texts of the page's scripts: JSON that is no JSON-LD, and programs that may assign data."""
    documents: list[str] = []
    programs: list[str] = []
    for node in tree.css("script"):
        attrs = node.attributes
        kind = (attrs.get("type") or "").strip().lower()
        if kind.endswith("json") and "ld+json" not in kind:
            documents.append(node.text())
        elif "src" not in attrs and kind in _PROGRAMS:
            programs.append(node.text())
    return documents, programs


_JSON_LD: Final = "[type*='ld+json' i]:is(script)"
_PROGRAMS: Final = frozenset({"", "text/javascript", "application/javascript", "module"})
