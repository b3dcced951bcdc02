"""What is shown of a page, written down as lines of text: what each tag does to them where it begins and ends.

A line ends at a block's edge. Beside each line is noted what part of the page it belongs to; see outline.py.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin

from selectolax.lexbor import LexborNode

from scraper.pipeline.one_line import one_line
from scraper.pipeline.outline import FRAME, LINKS, MAIN, marks, with_part
from scraper.pipeline.visibility import without_invisible

MAX_URL_CHARS: Final = 1000
MAX_LINK_CHARS: Final = 500_000  # of all addresses in a page: a short link grows by its base's length
SHORT_CELL_CHARS: Final = 80  # a line break after less than this stays inside its table row
LINKS_SHARE: Final = 0.7  # of a line's characters inside links: what is left are bullets, prices, dates


class Writer:
    """Collects text into lines; a line ends at a block's edge, as in a browser."""

    def __init__(self, base_url: str | None) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.dropped: dict[str, int] = {}
        self.preformatted = 0  # how many <pre> are open around the current position
        self._prefix = ""
        self._gap = False
        self._cells = 0  # how many table cells are open around the current position
        self._row_begun = False
        self._base_url = base_url
        self._links: dict[str, str] = {}
        self._link_room = MAX_LINK_CHARS
        self._parts = bytearray()  # of the page, that each line belongs to
        self._regions: list[tuple[int, int, int]] = []  # first line, line behind the last, part of the page
        self._open: dict[str, tuple[int, int]] = {}  # regions around the current position: first line, how many
        self._linked = 0  # characters of the line that are inside links

    def outline(self) -> str:
        """What part of the page each line belongs to."""
        for first, behind, part in self._regions:
            self._parts[first:behind] = with_part(self._parts[first:behind], part)
        return marks(self._parts)

    def drop(self, kind: str, count: int = 1) -> None:
        self.dropped[kind] = self.dropped.get(kind, 0) + count

    def visible(self, text: str) -> str:
        shown, dropped = without_invisible(text)
        for kind, count in dropped.items():
            self.drop(kind, count)
        return shown

    def end_line(self) -> None:
        whole = "".join(self.line)
        self.line.clear()
        text = one_line(whole)
        if not text.isascii() or not text.isprintable():
            shown = self.visible(text)
            text = shown if shown is text else one_line(shown)
        if text and text.strip("| "):
            if self._gap and self.lines:
                self.lines.append("")
                self._parts.append(0)
            self.lines.append(self._prefix + text)
            self._parts.append(LINKS if self._linked > LINKS_SHARE * len(whole) else 0)
            self._prefix, self._gap = "", False
        self._linked = 0

    def verbatim(self, text: str) -> None:
        """Preformatted text keeps its line ends."""
        *ended, last = text.split("\n")
        for part in ended:
            self.line.append(part)
            self.end_line()
        self.line.append(last)

    # What a tag does where it begins and ends. Inside a table cell a break after something short is only a space.

    def block(self, _: LexborNode) -> None:
        line = self.line
        if not line:
            return
        if self._cells and len(line[-1]) < SHORT_CELL_CHARS:
            line.append(" ")
        else:
            self.end_line()

    def paragraph(self, node: LexborNode) -> None:
        self.block(node)
        if not self._cells:
            self._gap = True

    def heading(self, node: LexborNode) -> None:
        if self.line:
            self.end_line()
        self._gap = True
        self._prefix = "#" * int((node.tag or "h1")[1]) + " "

    def heading_end(self, _: LexborNode) -> None:
        if self.line:
            self.end_line()
        self._prefix = ""

    def item(self, node: LexborNode) -> None:
        self.block(node)
        if self.line:
            self.line.append("- ")
        else:
            self._prefix = "- "

    def item_end(self, node: LexborNode) -> None:
        self.block(node)
        self._prefix = ""

    def preformatted_begin(self, node: LexborNode) -> None:
        self.block(node)
        self.preformatted += 1

    def preformatted_end(self, node: LexborNode) -> None:
        self.block(node)
        self.preformatted -= 1

    def row(self, _: LexborNode) -> None:
        if self.line:
            self.end_line()
        self._row_begun = False

    def cell(self, _: LexborNode) -> None:
        self._cells += 1
        if self._row_begun:
            self.line.append(" | ")
        self._row_begun = True

    def cell_end(self, _: LexborNode) -> None:
        self._cells -= 1

    def space(self, _: LexborNode) -> None:
        self.line.append(" ")

    def struck(self, _: LexborNode) -> None:
        self.line.append("~~")

    def raised(self, _: LexborNode) -> None:
        if self.line and self.line[-1][-1:].isalnum():
            self.line.append("^")

    def option_end(self, node: LexborNode) -> None:
        if node.next is not None:
            self.line.append(", ")

    def image(self, node: LexborNode) -> None:
        alt = node.attrs.get("alt")
        if alt:
            self.line.append(f" {alt[:MAX_URL_CHARS]} ")

    def image_with_address(self, node: LexborNode) -> None:
        self.image(node)
        attrs = node.attrs
        self._address(attrs.get("data-src") or attrs.get("src"))

    def link_end(self, _: LexborNode) -> None:
        """Counts its last piece of text, which mostly is its only one; a link around blocks is more than a link."""
        if self.line:
            self._linked += len(self.line[-1])

    def link_end_with_address(self, node: LexborNode) -> None:
        self.link_end(node)
        self._address(node.attrs.get("href"))

    # Regions, each where it is not inside another of its kind. A header or footer of an article is a part of it, and
    # one with the page's first heading is no frame.

    def frame(self, node: LexborNode) -> None:
        self._begin("frame", node)

    def frame_end(self, node: LexborNode) -> None:
        first = self._end("frame", node)
        if first is None or "main" in self._open or any(line.startswith("# ") for line in self.lines[first:]):
            return
        self._regions.append((first, len(self.lines), FRAME))

    def navigation(self, node: LexborNode) -> None:
        self._begin("navigation", node)

    def navigation_end(self, node: LexborNode) -> None:
        first = self._end("navigation", node)
        if first is not None:
            self._regions.append((first, len(self.lines), FRAME))

    def main(self, node: LexborNode) -> None:
        self._begin("main", node)

    def main_end(self, node: LexborNode) -> None:
        first = self._end("main", node)
        if first is not None:
            self._regions.append((first, len(self.lines), MAIN))

    def _begin(self, region: str, node: LexborNode) -> None:
        self.block(node)
        first, depth = self._open.get(region, (len(self.lines), 0))
        self._open[region] = (first, depth + 1)

    def _end(self, region: str, node: LexborNode) -> int | None:
        """The first line of a region that ends here; None while it is still inside another of its kind."""
        self.block(node)
        first, depth = self._open.pop(region)
        if depth == 1:
            return first
        self._open[region] = (first, depth - 1)
        return None

    def _address(self, reference: str | None) -> None:
        if not reference or reference[0] == "#" or len(reference) > MAX_URL_CHARS:
            return
        address = self._links.get(reference)
        if address is None and self._link_room > 0:
            address = self._links[reference] = absolute(self._base_url, reference)
            self._link_room -= len(address) + 10
        if address is None or self._link_room <= 0:
            self.drop("link")
        elif address:
            self._link_room -= len(address)
            self.line.append(f" ({address})")

    def field(self, node: LexborNode) -> None:
        attrs = node.attributes
        kind = (attrs.get("type") or "text").lower()
        if kind == "hidden":
            self.drop("hidden")
        elif kind in {"checkbox", "radio"}:
            self.line.append(" [x] " if "checked" in attrs else " ")
        elif kind != "password" and attrs.get("value"):
            self.line.append(f" {attrs['value']} ")

    def moment(self, node: LexborNode) -> None:
        stamp = node.attrs.get("datetime")
        if stamp and len(stamp) <= 40 and stamp not in self._just_written():
            self.line.append(f" ({stamp})")

    def _just_written(self) -> str:
        """The end of the line, as long as any moment that is written in words."""
        return "".join(each[-80:] for each in self.line[-8:])


def absolute(base_url: str | None, reference: str) -> str:
    """The http(s) address that `reference` leads to, or nothing."""
    try:
        address = urljoin(base_url or "", reference.strip())
    except ValueError:  # such as an unclosed bracket in the host
        return ""
    return address if address.startswith(("http://", "https://")) and len(address) <= MAX_URL_CHARS else ""
