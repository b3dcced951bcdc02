"""The elements of a page that are looked for by their names, found with one query instead of one for each reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from selectolax.lexbor import LexborHTMLParser, LexborNode

Attributes: TypeAlias = Mapping[str, str | None]  # None where an attribute has no value


@dataclass(slots=True)
class Elements:
    """Each kind in the page's order, as it was before anything was cut out."""

    facts: list[Attributes] = field(default_factory=list)  # `<meta content>`, canonical and microdata's own `<link>`
    metas: list[Attributes] = field(default_factory=list)  # those of the facts that are `<meta>`
    canonical: str = ""  # the first address that the page calls so
    scripts: list[LexborNode] = field(default_factory=list)
    styles: list[LexborNode] = field(default_factory=list)
    headings: list[LexborNode] = field(default_factory=list)  # of the first level


def elements_of(tree: LexborHTMLParser) -> Elements:
    found = Elements()
    kept = {_SCRIPT: found.scripts, _STYLE: found.styles, _HEADING: found.headings}
    canonical: str | None = None
    for node in tree.css("meta, link, script, style, h1"):
        tag = node.tag_id
        if tag in kept:
            kept[tag].append(node)
            continue
        attrs = node.attributes
        if tag == _META:
            if "content" in attrs:
                found.metas.append(attrs)
                found.facts.append(attrs)
        elif (is_canonical := (attrs.get("rel") or "").lower() == "canonical") or "itemprop" in attrs:
            found.facts.append(attrs)
            if is_canonical and canonical is None:
                canonical = attrs.get("href") or ""
    found.canonical = canonical or ""
    return found


def tag_ids(names: Iterable[str]) -> dict[str, int]:
    """The numbers that lexbor gives to tags: constants of the library that it does not export by name."""
    tree = LexborHTMLParser("")
    return {name: tree.create_node(name).tag_id for name in names}


_META, _SCRIPT, _STYLE, _HEADING = tag_ids(["meta", "script", "style", "h1"]).values()
