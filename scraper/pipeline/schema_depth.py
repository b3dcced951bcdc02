"""How deep an answer may be nested, by its schema: what goes deeper is no answer any more."""

from __future__ import annotations

from typing import Final

from scraper.models import Json

MAX_DEPTH: Final = 64  # where the schema sets no bound

_SCALARS: Final = frozenset({"string", "number", "integer", "boolean", "null"})
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


def deepest(root: Json) -> int:
    """Levels of objects and arrays that an answer to the schema `root` may have; MAX_DEPTH where any."""
    return _deepest(root, root, frozenset())


def resolve(schema: Json, reference: str) -> Json:
    """What the local `reference` leads to; None where it leads nowhere."""
    found = schema
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and len(name) < 6:
            found = found[int(name)] if int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _deepest(part: Json, root: Json, inside: frozenset[str]) -> int:
    """The least of all that bounds `part`: everything that stands in one schema holds at once."""
    if part is False:
        return 0
    if not isinstance(part, dict):
        return MAX_DEPTH
    bounds = [_of_kinds(part, root, inside)]
    for key in _REFERENCES:
        target = part.get(key)
        if isinstance(target, str):
            again = target in inside
            bounds.append(MAX_DEPTH if again else _deepest(resolve(root, target), root, inside | {target}))
    if isinstance(together := part.get("allOf"), list):
        bounds += [_deepest(each, root, inside) for each in together]
    for key in ("anyOf", "oneOf"):
        if isinstance(choices := part.get(key), list):
            bounds.append(max((_deepest(each, root, inside) for each in choices), default=MAX_DEPTH))
    return min(bounds)


def _of_kinds(part: dict[str, Json], root: Json, inside: frozenset[str]) -> int:
    kinds = part.get("type")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds or ())
    if not kinds:
        return MAX_DEPTH
    levels = [0]
    if "object" in kinds:
        levels.append(_of_object(part, root, inside))
    if "array" in kinds:
        levels.append(_of_array(part, root, inside))
    if not kinds <= _SCALARS | {"object", "array"}:
        return MAX_DEPTH
    return min(MAX_DEPTH, max(levels))


def _of_object(part: dict[str, Json], root: Json, inside: frozenset[str]) -> int:
    named = [*_values(part.get("properties")), *_values(part.get("patternProperties"))]
    return 1 + max(_deepest(each, root, inside) for each in [*named, part.get("additionalProperties", True)])


def _of_array(part: dict[str, Json], root: Json, inside: frozenset[str]) -> int:
    items = part.get("items", True)
    first = [*(items if isinstance(items, list) else ()), *(part.get("prefixItems") or ())]
    rest = part.get("additionalItems", True) if isinstance(items, list) else items
    return 1 + max(_deepest(each, root, inside) for each in [*first, rest])


def _values(named: Json) -> list[Json]:
    return list(named.values()) if isinstance(named, dict) else []
