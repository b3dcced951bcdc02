"""What a reader of the page would see, as compact text for a model.

One parse in C and one walk over the tree, without recursion: broken and hostile pages never raise. Structure that
carries meaning stays: headings `# `, list items `- `, one table row per line with ` | ` between cells, `~~struck~~` old
prices, raised digits as in `12^99`. What a reader would not see (scripts, comments, hidden elements, zero-width
characters) is left out and counted. `aria-hidden` is no reason to leave text out: it hides from screen readers what is
on the screen, prices included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import urljoin

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from scraper.models import Document
from scraper.pipeline.head import header
from scraper.pipeline.nesting import flatten, too_deep
from scraper.pipeline.outline import FRAME, HEAD, LINKS, MAIN, mark
from scraper.pipeline.structured.read import read_structured
from scraper.pipeline.visibility import remove_hidden, without_invisible

MAX_URL_CHARS: Final = 1000
MAX_LINK_CHARS: Final = 500_000  # of all addresses in a page: a short link grows by its base's length
SHORT_CELL_CHARS: Final = 80  # a line break after less than this stays inside its table row
MAX_TITLE_CHARS: Final = 500
LINKS_SHARE: Final = 0.7  # of a line's characters inside links: what is left are bullets, prices, dates


def clean(
    html: str, *, base_url: str | None = None, keep_links: bool = False, data_from: Collection[str] = ()
) -> Document:
    """Visible text of `html` under a short header of what its head says. Never raises, whatever the page.

    With `keep_links`, links and images are followed by their absolute address. What the page says for machines is
    read from the same parse, of the sources in `data_from`. `dropped` counts elements per kind, and `zero_width`
    characters.
    """
    if too_deep(html):
        html = flatten(html)
    tree = LexborHTMLParser(html.encode("utf-8", "replace"), options=LexborDocumentOptions.WO_EVENTS)
    root = tree.root
    if root is None:
        return Document("")
    writer = _Writer(_base_url(tree, base_url) if keep_links else None)
    structured = read_structured(tree, url=base_url, sources=data_from) if data_from else ()
    title = _take_title(tree, writer)
    head = [writer.visible(line) for line in header(tree, title=title)]
    for kind, count in remove_hidden(tree).items():
        writer.drop(kind, count)
    _walk(root, writer, _ACTIONS_WITH_LINKS if keep_links else _ACTIONS)
    if head and writer.lines:
        head.append("")
    outline = mark(HEAD) * len(head) + writer.outline()
    return Document("\n".join([*head, *writer.lines]), title, writer.dropped, structured, outline)


def clean_text(text: str) -> Document:
    """A submitted text as it is, but for line ends, control and zero-width characters."""
    writer = _Writer(None)
    lines = text.encode("utf-8", "replace").decode().splitlines()
    return Document("\n".join(writer.visible(line.replace("\t", " ").rstrip()) for line in lines), "", writer.dropped)


def _take_title(tree: LexborHTMLParser, writer: _Writer) -> str:
    node = tree.css_first("title")
    if node is None or ((parent := node.parent) is not None and parent.tag == "svg"):
        return ""
    title = writer.visible(" ".join(node.text().split()))[:MAX_TITLE_CHARS]
    node.decompose()
    return title


class _Writer:
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
        self._marks: list[int] = []  # of each line
        self._regions: list[tuple[int, int, int]] = []  # first line, line behind the last, part of the page
        self._open: dict[str, tuple[int, int]] = {}  # regions around the current position: first line, how many
        self._linked = 0  # characters of the line that are inside links

    def outline(self) -> str:
        """What part of the page each line belongs to."""
        marks = self._marks
        for first, behind, part in self._regions:
            marks[first:behind] = [each | part for each in marks[first:behind]]
        return "".join(map(mark, marks))

    def drop(self, kind: str, count: int = 1) -> None:
        self.dropped[kind] = self.dropped.get(kind, 0) + count

    def visible(self, text: str) -> str:
        shown, dropped = without_invisible(text)
        for kind, count in dropped.items():
            self.drop(kind, count)
        return shown

    def end_line(self) -> None:
        whole = "".join(self.line)
        links = LINKS if self._linked > LINKS_SHARE * len(whole) else 0
        self._linked = 0
        text = " ".join(whole.split())
        self.line.clear()
        if not text.isascii() or not text.isprintable():
            shown = self.visible(text)
            text = shown if shown is text else " ".join(shown.split())
        if text and text.strip("| "):
            if self._gap and self.lines:
                self.lines.append("")
                self._marks.append(0)
            self.lines.append(self._prefix + text)
            self._marks.append(links)
            self._prefix, self._gap = "", False

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
            address = self._links[reference] = _absolute(self._base_url, reference)
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
        if stamp and len(stamp) <= 40 and stamp not in node.text():
            self.line.append(f" ({stamp})")


_Edge: TypeAlias = Callable[[_Writer, LexborNode], None]
_Action: TypeAlias = tuple[_Edge | None, _Edge | None] | str  # at the tag's begin and end; or why it is left out


def _walk(root: LexborNode, writer: _Writer, actions: Mapping[int, _Action]) -> None:  # noqa: C901, PLR0912 hot loop: calls cost
    """Visit what is shown, in reading order.

    The stack is ours: asking nodes for their parents costs more. A node is never compared: that compares its HTML.
    """
    line = writer.line
    stack: list[tuple[LexborNode, _Edge | None]] = []
    node = root
    closed = gap = False  # an element has just ended; and then another began: `<b>In stock</b><i>today</i>`
    while True:
        tag = node.tag_id
        if tag == _TEXT:
            text = node.text_content or ""
            if writer.preformatted and "\n" in text:
                writer.verbatim(text)
            elif line or not text.isspace():
                if gap and line and _would_merge(line[-1], text):
                    line.append(" ")
                line.append(text)
            closed = gap = False
        else:
            gap = gap or closed
            action = actions.get(tag, _INLINE)
            if action is _BLOCK:
                if line:
                    writer.block(node)
                finish: _Edge | None = _Writer.block
            elif isinstance(action, str):
                writer.drop(action)
                finish = None
            else:
                begin, finish = action
                if begin is not None:
                    begin(writer, node)
            if (child := node.first_child) is not None and not isinstance(action, str):
                stack.append((node, finish))
                node = child
                continue
            if finish is not None:
                finish(writer, node)
            closed = True
        while (following := node.next) is None:
            if not stack:
                writer.end_line()
                return
            node, finish = stack.pop()
            closed = True
            if finish is not None and (line or finish is not _Writer.block):
                finish(writer, node)
        node = following


def _would_merge(left: str, right: str) -> bool:
    """Whether two neighbouring elements' texts would read as one word; single letters are meant to."""
    return left[-1:].isalnum() and right[:1].isalnum() and len(left) + len(right) > 2


_BLOCKS: Final = (
    "address blockquote body br caption center dd details dialog div dl dt fieldset figcaption figure form frameset "
    "hgroup hr legend menu ol optgroup search section summary table tbody tfoot thead ul"
)
_LEFT_OUT: Final = {
    "script": "script",
    "style": "style",
    "template": "template",
    "svg": "svg",
    "iframe": "iframe",
    "object": "embedded",
    "audio": "embedded",
    "video": "embedded",
    "canvas": "embedded",
    "noembed": "embedded",
    "noframes": "embedded",
    "datalist": "hidden",
    "rp": "hidden",
}


def _tag_ids(names: Iterable[str]) -> dict[str, int]:
    """The numbers that lexbor gives to tags: constants of the library that it does not export by name."""
    tree = LexborHTMLParser("")
    return {name: tree.create_node(name).tag_id for name in names}


def _on(names: str, begin: _Edge | None, end: _Edge | None = None) -> dict[int, _Action]:
    return dict.fromkeys(_tag_ids(names.split()).values(), (begin, end))


_TEXT: Final = 2
_COMMENT: Final = 4
_INLINE: Final[_Action] = (None, None)
_BLOCK: Final[_Action] = (_Writer.block, _Writer.block)
_ACTIONS: Final[dict[int, _Action]] = {
    _COMMENT: "comment",
    **{number: _LEFT_OUT[name] for name, number in _tag_ids(_LEFT_OUT).items()},
    **dict.fromkeys(_tag_ids(_BLOCKS.split()).values(), _BLOCK),
    **_on("article main", _Writer.main, _Writer.main_end),
    **_on("aside footer header", _Writer.frame, _Writer.frame_end),
    **_on("nav", _Writer.navigation, _Writer.navigation_end),
    **_on("a", None, _Writer.link_end),
    **_on("p", _Writer.paragraph, _Writer.paragraph),
    **_on("h1 h2 h3 h4 h5 h6", _Writer.heading, _Writer.heading_end),
    **_on("li", _Writer.item, _Writer.item_end),
    **_on("pre", _Writer.preformatted_begin, _Writer.preformatted_end),
    **_on("tr", _Writer.row, _Writer.row),
    **_on("td th", _Writer.cell, _Writer.cell_end),
    **_on("del s strike", _Writer.struck, _Writer.struck),
    **_on("sup", _Writer.raised),
    **_on("img", _Writer.image),
    **_on("input", _Writer.field),
    **_on("option", None, _Writer.option_end),
    **_on("time", None, _Writer.moment),
    **_on("button label select textarea", _Writer.space, _Writer.space),
}
_ACTIONS_WITH_LINKS: Final = (
    _ACTIONS | _on("img", _Writer.image_with_address) | _on("a", None, _Writer.link_end_with_address)
)


def _base_url(tree: LexborHTMLParser, base_url: str | None) -> str | None:
    node = tree.css_first("[href]:is(base)")  # see head.py for the order
    href = node.attrs.get("href") if node is not None else None
    return _absolute(base_url, href) or base_url if href else base_url


def _absolute(base_url: str | None, reference: str) -> str:
    """The http(s) address that `reference` leads to, or nothing."""
    try:
        address = urljoin(base_url or "", reference.strip())
    except ValueError:  # such as an unclosed bracket in the host
        return ""
    return address if address.startswith(("http://", "https://")) and len(address) <= MAX_URL_CHARS else ""
