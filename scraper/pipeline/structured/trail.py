"""The way to a page through its site, as its BreadcrumbList tells it: whole, and as the categories it leads through.

The start of the site is no category, and neither is the page itself, which may be without a link. Taken only where a
source has one such list, all of whose steps have a name and stand in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from scraper.models import Json
from scraper.pipeline.structured.names import PageNames, as_words
from scraper.pipeline.structured.sayings import Source

MAX_STEPS: Final = 20
MOST_OF_ITS_NAME: Final = 0.5
SITE_CHARS: Final = 4  # of a name, to be found in a host by no accident
LANGUAGE_CHARS: Final = 5  # of the path of a start page, beside its slashes: /en/, /pt-br/
_START: Final = frozenset(
    """
home, homepage, home page, start, startseite, accueil, inicio, início, página principal, pagina principal,
página inicial, strona główna, domů, domov, hem, hjem, etusivu, főoldal, acasă, avaleht, sākums, главная, начало,
ana sayfa, ホーム, トップ, 首頁, 首页, 홈
""".replace("\n", " ")
    .strip()
    .split(", ")
)


def trails(structured: Sequence[Json], names: PageNames, *, url: str) -> dict[str, list[Source]]:
    """For `breadcrumbs` and for `categories`, each source that tells them; their steps stay at their places."""
    by_source: dict[str, list[tuple[str, Json]]] = {}
    for one in structured:
        by_source.setdefault(one["source"], []).extend(_lists_in(one["path"], one["value"]))
    found: dict[str, list[Source]] = {"breadcrumbs": [], "categories": []}
    for source, lists in by_source.items():
        if len(lists) != 1 or (steps := _steps(lists[0][1])) is None:
            continue
        path = lists[0][0]
        found["breadcrumbs"].append(Source(source, path, {"itemListElement": steps}))
        found["categories"].append(Source(source, path, {"itemListElement": _between(steps, names, url)}))
    return found


def _lists_in(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    if not isinstance(value, dict):
        return
    if "BreadcrumbList" in (value.get("@type") or ()):
        yield path, value
    elif "breadcrumb" in value:
        yield from _lists_in(f"{path}/breadcrumb", value["breadcrumb"])


def _steps(trail: dict[str, Json]) -> list[Json] | None:
    """Its steps as `{name, url}`; None where one has no name, or they are not in their order."""
    told = trail.get("itemListElement")
    if not isinstance(told, list) or not 1 < len(told) <= MAX_STEPS:
        return None
    steps: list[Json] = []
    for number, each in enumerate(told, 1):
        if not isinstance(each, dict) or str(each.get("position", number)) not in {str(number), str(number - 1)}:
            return None
        item = each.get("item")
        inside = item if isinstance(item, dict) else {}
        name = each.get("name") or inside.get("name")
        if not isinstance(name, str) or not name.strip():
            return None
        address = item if isinstance(item, str) else inside.get("@id") or inside.get("url") or each.get("url")
        steps.append({"name": name, "url": address if isinstance(address, str) else ""})
    return steps


def _between(steps: Sequence[Json], names: PageNames, url: str) -> list[Json]:
    """The steps without those that are no category; none where the last one may be either."""
    is_page = _is_page(steps, names)
    if is_page is None:
        return []
    kept = range(bool(_is_start(steps[0], url)), len(steps) - is_page)
    return [each if at in kept else {} for at, each in enumerate(steps)]


def _is_start(step: Json, url: str) -> bool:
    """Whether it is called a start, or as the site, or leads to its root."""
    name = as_words(step["name"])
    host = "".join(filter(str.isalnum, _parts(url).netloc))
    if name in _START or (len(name) >= SITE_CHARS and name.replace(" ", "") in host):
        return True
    path = _parts(step["url"]).path.strip("/")
    return bool(step["url"]) and len(path) <= LANGUAGE_CHARS and "/" not in path


def _is_page(steps: Sequence[Json], names: PageNames) -> bool | None:
    """Whether the last step is the page itself; None where it only has some of the words of the page's name."""
    name, address = steps[-1]["name"], steps[-1]["url"]
    if names.is_address(address) or (not address and all(each["url"] for each in steps[:-1])):
        return True
    if as_words(name) in names.names or names.is_name(name, share=MOST_OF_ITS_NAME):
        return True
    return None if names.is_name(name) else False


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
