"""Which values of an answer stand on the page, and what is left of the answer without those that do not. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scraper.models import Json, Schema
from scraper.pipeline.grounding import PageIndex
from scraper.pipeline.grounding.places import Path, Place, places, pointer

MAX_LOOK_UPS: Final = 2000  # values of one answer; what is beyond them counts as not found
MAX_EVIDENCE: Final = 500  # values whose evidence is kept: a result must not outgrow its page
MAX_PRUNED: Final = 200  # values taken out one by one


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of each value by its JSON pointer, and the places of those that do not stand on the page."""

    fields: Mapping[str, Json]
    unfounded: tuple[Path, ...] = ()

    @property
    def unsupported(self) -> tuple[str, ...]:
        return tuple(pointer(path) for path in self.unfounded)


def judge(data: Json, schema: Schema, page: PageIndex, *, known: Mapping[str, Json] | None = None) -> Verdict:
    """Look every value of a model's answer up on its page.

    `known` are the fields whose values come from elsewhere, by their pointers: they and all below stay as they are.
    """
    known = known or {}
    fields: dict[str, Json] = dict(known)
    unfounded: list[Path] = []
    looked_up = 0
    for place in places(data, schema):
        if known and _is_known(place, known):
            continue
        told: dict[str, Json] = {"source": "model"}
        fields[place.pointer] = told
        if place.exempt:
            continue
        looked_up += 1
        evidence = page.find(place.value, place.field) if looked_up <= MAX_LOOK_UPS else None
        told["grounded"] = evidence is not None
        if evidence is None:
            unfounded.append(place.path)
        elif looked_up <= MAX_EVIDENCE:
            told["evidence"] = evidence
    return Verdict(fields, tuple(unfounded))


def _is_known(place: Place, known: Mapping[str, Json]) -> bool:
    return any(pointer(place.path[:length]) in known for length in range(1, len(place.path) + 1))


def properties(unfounded: Iterable[Path]) -> tuple[str, ...]:
    """The properties of the whole answer that values without ground stand in, each once."""
    return tuple(dict.fromkeys(path[0] for path in unfounded if path and isinstance(path[0], str)))


def better(old: Json, new: Json, names: Collection[str], *, judge_of: Callable[[Json], Verdict]) -> Json:
    """`old` with those of its properties `names` that `new` answers with more ground; all of `new` if it is a list."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new if type(new) is type(old) and len(judge_of(new).unfounded) < len(judge_of(old).unfounded) else old
    merged = old
    for name in names:
        if name in new and new[name] is not None:
            tried = {**merged, name: new[name]}
            if len(judge_of(tried).unfounded) < len(judge_of(merged).unfounded):
                merged = tried
    return merged


def pruned(data: Json, unfounded: Collection[Path], *, fits: Callable[[Json], bool]) -> Json:
    """`data` without the values that have no ground, still as its schema wants it (`fits`); None where it cannot be.

    A value is left out, or is null where the schema wants it and allows that; where it allows neither, whatever the
    value is a part of goes with it.
    """
    left = [copy.deepcopy(data)]  # in a list, so that the answer as a whole has a place too
    if len(unfounded) > MAX_PRUNED:
        return None
    gone: set[Path] = set()
    for path in sorted(unfounded, key=_from_the_end, reverse=True):
        if any(path[:length] in gone for length in range(1, len(path) + 1)):
            continue
        taken = _take_out(left, path, fits)
        if not taken:
            return None
        gone.add(taken)
    return left[0]


def _from_the_end(path: Path) -> tuple[tuple[int, str], ...]:
    """Sorts items of an array by their number: those taken out last first leave the others where they were."""
    return tuple((step, "") if isinstance(step, int) else (0, step) for step in path)


def _take_out(left: list[Json], path: Path, fits: Callable[[Json], bool]) -> Path:
    """Take out the value at `path` or the smallest part around it that may go: its path; empty where nothing may."""
    for length in range(len(path), 0, -1):
        whole = left[0]
        for instead in (_without, _with_null):
            left[0] = instead(whole, path[:length])
            if fits(left[0]):
                return path[:length]
        left[0] = whole
    return ()


def _without(whole: Json, path: Path) -> Json:
    return _changed(whole, path, lambda parent, step: parent.pop(step))


def _with_null(whole: Json, path: Path) -> Json:
    def change(parent: Json, step: str | int) -> None:
        parent[step] = None

    return _changed(whole, path, change)


def _changed(whole: Json, path: Path, change: Callable[[Json, str | int], object]) -> Json:
    """A copy of `whole` that shares with it all that is not on the way to `path`."""
    top = at = copy.copy(whole)
    for step in path[:-1]:
        at[step] = copy.copy(at[step])
        at = at[step]
    change(at, path[-1])
    return top
