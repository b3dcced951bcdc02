"""What of a page is shown to a model whose context it does not fit: as much as fits, the least needed dropped first.

| rung     | what is shown                                                                            |
|----------|------------------------------------------------------------------------------------------|
| whole    | all of it                                                                                |
| frame    | all but the frame: navigation, header, footer, sidebars, runs of links                   |
| main     | what the page calls its main part, else where its text is densest; and its first heading |
| passages | the lines that the schema asks for, with what stands around them, in the page's order    |
| ends     | the beginning and a little of the end: for text without lines to choose from             |

The facts of the page's head stay on every rung. Pure; nothing is parsed again, lines were told apart while cleaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final, Literal, TypeAlias

from scraper.models import Document, Schema
from scraper.pipeline.budget import cut
from scraper.pipeline.outline import FRAME, HEAD, LINKS, MAIN, parts_of
from scraper.pipeline.parts import lists_things
from scraper.pipeline.relevance import Wanted, scores, wanted

Step: TypeAlias = Literal["whole", "frame", "main", "passages", "ends"]

LEAST_LEFT: Final = 300  # characters outside the frame: a page that would keep fewer is written inside it
LEAST_MAIN: Final = 0.2  # of the characters outside the frame, or it is not what the page calls its main part
MENU_LINES: Final = 4  # links in a row that are a menu, and not a few links in a text
LEAD_CHARS: Final = 2000  # under the first heading: what a page is about stands there, also outside its main part
RELEVANT_LINES: Final = 60  # beside the main part, wherever they stand: prices do stand elsewhere
LABEL_CHARS: Final = 200
HEADING_LINES: Final = 6  # before and behind the first heading, unless they are long
HEADING_CHARS: Final = 1500
NEAR_LINES: Final = 60  # behind the first heading
HEAD_SHARE: Final = 0.3  # of the room for passages; the next is of what is left then, and so on
LEAD_SHARE: Final = 0.3
RELEVANT_SHARE: Final = 0.8
RELEVANT_SHARE_OF_PROSE: Final = 0.5
FEW_LINES: Final = 12  # to choose from: then a page is cut in one place instead
MANY_LINES: Final = 50_000  # so many are no page; choosing would take seconds
LEFT_OUT: Final = "[…]"


@dataclass(frozen=True, slots=True)
class Rung:
    """What is left of a page."""

    step: Step
    text: str
    dropped_chars: int


class Ladder:
    """The rungs of one document for one schema, each made when it is asked for."""

    def __init__(self, document: Document, schema: Schema, instructions: str = "") -> None:
        self._document = document
        self._schema = schema
        self._instructions = instructions
        self.chars = len(document.text)

    @cached_property
    def _lines(self) -> list[str]:
        return self._document.text.split("\n")

    @cached_property
    def _parts(self) -> list[int]:
        return parts_of(self._document)

    @cached_property
    def _first_heading(self) -> int:
        return next((at for at, line in enumerate(self._lines) if line.startswith("# ")), 0)

    @cached_property
    def _sought(self) -> Wanted:
        return wanted(self._schema, self._instructions)

    def whole(self) -> Rung:
        return Rung("whole", self._document.text, 0)

    def head(self) -> str:
        """The facts of the page's head."""
        return "\n".join(line for line, parts in zip(self._lines, self._parts, strict=True) if parts & HEAD).strip()

    def without_frame(self) -> Rung:
        if len(self._lines) > MANY_LINES:
            return self.whole()
        return self._rung("frame", sorted({*self._outside_frame(), *self._asked_for()}))

    def main(self) -> Rung:
        if len(self._lines) > MANY_LINES:
            return self.whole()
        outside = self._outside_frame()
        main = self._main(outside)
        if self._chars(main) < LEAST_MAIN * self._chars(outside):
            return self.without_frame()
        return self._rung("main", sorted({*main, *self._head(outside), *self._lead(outside), *self._asked_for()}))

    def _asked_for(self) -> Iterator[int]:
        """What most likely holds what the schema asks for stays, wherever it stands."""
        return islice(self._relevant(), RELEVANT_LINES)

    def passages(self, keep_chars: int) -> Rung:
        """About `keep_chars` characters, those that the schema asks for first."""
        if not FEW_LINES <= len(self._lines) <= MANY_LINES:
            return self._ends(self.whole(), keep_chars)
        outside = self._outside_frame()
        if 2 * self._chars(at for at in outside if len(self._lines[at]) > keep_chars / 2) > self._chars(outside):
            return self._ends(self.without_frame(), keep_chars)
        chosen = _Chosen(self._lines, keep_chars)
        chosen.take(self._head(outside), share=HEAD_SHARE)
        chosen.take(self._lead(outside), share=LEAD_SHARE)
        chosen.take(self._relevant(), share=RELEVANT_SHARE_OF_PROSE if self._sought.prose else RELEVANT_SHARE)
        chosen.take(self._main(outside))
        chosen.take(outside)
        return self._rung("passages", sorted(chosen.lines))

    def _ends(self, rung: Rung, keep_chars: int) -> Rung:
        """For a page whose lines are no choice: too few, too many, or most of it in a few long ones."""
        kept = cut(rung.text, keep=keep_chars)
        return Rung("ends", kept.text, rung.dropped_chars + kept.dropped_chars)

    def _rung(self, step: Step, kept: Sequence[int]) -> Rung:
        """The lines `kept`, in order, with a mark wherever some are left out."""
        shown: list[str] = []
        before = -1
        for at in kept:
            if at > before + 1 and any(self._lines[before + 1 : at]):
                shown.append(LEFT_OUT)
            shown.append(self._lines[at])
            before = at
        if any(self._lines[before + 1 :]):
            shown.append(LEFT_OUT)
        return Rung(step, "\n".join(shown), self.chars + 1 - self._chars(kept))

    def _chars(self, kept: Iterable[int]) -> int:
        return sum(len(self._lines[at]) + 1 for at in kept)

    def _outside_frame(self) -> list[int]:
        everything = range(len(self._lines))
        frame = ({at for at in everything if self._parts[at] & FRAME} | self._menus()) - self._around_heading()
        outside = [at for at in everything if at not in frame]
        left = self._chars(at for at in outside if not self._parts[at] & HEAD)
        return outside if left >= LEAST_LEFT else list(everything)

    def _around_heading(self) -> set[int]:
        """What stands next to the first heading is about the page, however it is marked: categories, author, date."""
        heading = self._first_heading
        if not self._lines[heading].startswith("# "):
            return set()
        lines = range(max(0, heading - HEADING_LINES), min(len(self._lines), heading + HEADING_LINES))
        return set(lines) if self._chars(lines) <= HEADING_CHARS else set()

    def _menus(self) -> set[int]:
        """Many lines of only links in a row; not in the main part, and not where a list of things is asked for."""
        if lists_things(self._schema):
            return set()
        menus: set[int] = set()
        run: list[int] = []
        for at, line in enumerate(self._lines):
            if self._parts[at] & (LINKS | MAIN) == LINKS:
                run.append(at)
            elif line:
                if len(run) >= MENU_LINES:
                    menus.update(run)
                run = []
        return menus | set(run if len(run) >= MENU_LINES else ())

    def _main(self, outside: Sequence[int]) -> list[int]:
        called = [at for at in outside if self._parts[at] & MAIN]
        if self._chars(called) < LEAST_MAIN * self._chars(outside):
            return self._densest(outside)
        return called

    def _head(self, kept: Iterable[int]) -> list[int]:
        return [at for at in kept if self._parts[at] & HEAD]

    def _lead(self, kept: Sequence[int]) -> list[int]:
        """What stands under the first heading."""
        lead: list[int] = []
        chars = 0
        for at in kept:
            if at >= self._first_heading:
                chars += len(self._lines[at])
                if chars > LEAD_CHARS:
                    break
                lead.append(at)
        return lead

    def _densest(self, kept: Sequence[int]) -> list[int]:
        """The stretch of `kept` with most text and fewest links."""
        best = worth = 0.0
        begin = first = last = 0
        for place, at in enumerate(kept):
            if worth <= 0:
                worth, begin = 0.0, place
            worth += self._worth(at)
            if worth > best:
                best, first, last = worth, begin, place
        return list(kept[first : last + 1])

    def _worth(self, at: int) -> float:
        line = self._lines[at]
        if not line:
            return 0.0
        return -60.0 if self._parts[at] & LINKS else min(len(line), 400) - 30.0

    def _relevant(self) -> Iterator[int]:
        """Lines that may hold what is sought, the likeliest first, each with its neighbours."""
        return (near for at in self._likeliest for near in self._around(at))

    @cached_property
    def _likeliest(self) -> list[int]:
        found = scores(self._lines, self._sought)
        for at, parts in enumerate(self._parts):
            if found[at] > 0:
                found[at] += 1.0 if parts & MAIN else -2.0 if parts & FRAME else 0.0
                found[at] -= 1.0 if parts & LINKS else 0.0
                if 0 <= at - self._first_heading < NEAR_LINES:
                    found[at] += 3.0 * (1 - (at - self._first_heading) / NEAR_LINES)
        return sorted((at for at in range(len(found)) if found[at] > 0), key=lambda at: (-found[at], at))

    def _around(self, at: int) -> tuple[int, ...]:
        """A line and its short neighbours: a label stands above its value or below."""
        beside = (near for near in (at - 1, at + 1) if 0 <= near < len(self._lines))
        return (at, *(near for near in beside if 0 < len(self._lines[near]) <= LABEL_CHARS))


class _Chosen:
    """Lines taken as long as there is room for them."""

    def __init__(self, lines: Sequence[str], chars: int) -> None:
        self.lines: set[int] = set()
        self._sizes = [len(line) + 1 for line in lines]
        self._room = chars

    def take(self, wished: Iterable[int], *, share: float = 1.0) -> None:
        """As many of `wished` as fit into `share` of what room is left."""
        room = share * self._room
        for at in wished:
            if at in self.lines:
                continue
            cost = self._sizes[at] + (0 if at - 1 in self.lines else len(LEFT_OUT) + 1)
            if cost <= room:
                self.lines.add(at)
                room -= cost
                self._room -= cost
