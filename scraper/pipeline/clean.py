"""What a reader of the page would see, as compact text for a model.

One parse in C and one walk over the tree, without recursion: broken and hostile pages never raise. Structure that
carries meaning stays: headings `# `, list items `- `, one table row per line with ` | ` between cells, `~~struck~~` old
prices, raised digits as in `12^99`. What a reader would not see (scripts, comments, hidden elements, zero-width
characters) is left out and counted. `aria-hidden` is no reason to leave text out: it hides from screen readers what is
on the screen, prices included.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeAlias

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from scraper.models import Document
from scraper.pipeline.elements import elements_of, tag_ids
from scraper.pipeline.head import header
from scraper.pipeline.nesting import flatten, tags_of, too_deep
from scraper.pipeline.outline import HEAD, marks
from scraper.pipeline.structured.read import read_structured
from scraper.pipeline.visibility import remove_hidden
from scraper.pipeline.writer import Writer, absolute

MAX_TITLE_CHARS: Final = 500


def clean(
    html: str,
    *,
    base_url: str | None = None,
    keep_links: bool = False,
    data_from: Collection[str] = (),
    is_flat: bool = False,
) -> Document:
    """Visible text of `html` under a short header of what its head says. Never raises, whatever the page.

    With `keep_links`, links and images are followed by their absolute address. What the page says for machines is
    read from the same parse, of the sources in `data_from`. `dropped` counts elements per kind, and `zero_width`
    characters. `is_flat`: it was looked at already, and is not nested too deep.
    """
    if not is_flat and too_deep(html, tags=tags_of(html)):
        html = flatten(html)
    tree = LexborHTMLParser(html.encode("utf-8", "replace"), options=LexborDocumentOptions.WO_EVENTS)
    root = tree.root
    if root is None:
        return Document("")
    writer = Writer(_base_url(tree, base_url) if keep_links else None)
    elements = elements_of(tree)
    structured = read_structured(tree, elements, url=base_url, sources=data_from) if data_from else ()
    title = _take_title(tree, writer)
    head = [writer.visible(line) for line in header(elements.facts, title=title, language=root.attrs.get("lang"))]
    for kind, count in remove_hidden(tree, elements.styles).items():
        writer.drop(kind, count)
    _walk(root, writer, _EDGES_WITH_LINKS if keep_links else _EDGES)
    if head and writer.lines:
        head.append("")
    outline = marks(bytes([HEAD]) * len(head)) + writer.outline()
    return Document("\n".join([*head, *writer.lines]), title, writer.dropped, structured, outline)


def clean_text(text: str) -> Document:
    """A submitted text as it is, but for line ends, control and zero-width characters."""
    writer = Writer(None)
    lines = text.encode("utf-8", "replace").decode().splitlines()
    return Document("\n".join(writer.visible(line.replace("\t", " ").rstrip()) for line in lines), "", writer.dropped)


def _take_title(tree: LexborHTMLParser, writer: Writer) -> str:
    node = tree.css_first("title")
    if node is None or ((parent := node.parent) is not None and parent.tag == "svg"):
        return ""
    title = writer.visible(" ".join(node.text().split()))[:MAX_TITLE_CHARS]
    node.decompose()
    return title


_Edge: TypeAlias = Callable[[Writer, LexborNode], None]
_Action: TypeAlias = tuple[_Edge | None, _Edge | None]  # where an element begins, and where it ends


class _Edges(NamedTuple):
    """The same by the number of the tag, apart: most elements have neither."""

    begin: Mapping[int, _Edge]
    end: Mapping[int, _Edge]


def _walk(root: LexborNode, writer: Writer, edges: _Edges) -> None:  # noqa: C901, PLR0912 hot loop: calls cost
    """Visit what is shown, in reading order.

    The stack is ours: asking nodes for their parents costs more. A node is never compared: that compares its HTML.
    """
    begin, end = edges
    line = writer.line
    stack: list[LexborNode] = []
    node: LexborNode = root
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
            if tag in _NOT_SHOWN:
                writer.drop(_NOT_SHOWN[tag])
            else:
                if tag in begin:
                    begin[tag](writer, node)
                if (child := node.first_child) is not None:
                    stack.append(node)
                    node = child
                    continue
                if tag in end:
                    end[tag](writer, node)
            closed = True
        while (following := node.next) is None:
            if not stack:
                writer.end_line()
                return
            node = stack.pop()
            closed = True
            if (tag := node.tag_id) in end:
                end[tag](writer, node)
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


def _on(names: str, begin: _Edge | None, end: _Edge | None = None) -> dict[int, _Action]:
    return dict.fromkeys(tag_ids(names.split()).values(), (begin, end))


def _edges(actions: Mapping[int, _Action]) -> _Edges:
    return _Edges(
        {tag: begin for tag, (begin, _) in actions.items() if begin is not None},
        {tag: end for tag, (_, end) in actions.items() if end is not None},
    )


_TEXT: Final = 2
_COMMENT: Final = 4
_NOT_SHOWN: Final = {_COMMENT: "comment"} | {tag: _LEFT_OUT[name] for name, tag in tag_ids(_LEFT_OUT).items()}
_ACTIONS: Final[dict[int, _Action]] = {
    **_on(_BLOCKS, Writer.block, Writer.block),
    **_on("article main", Writer.main, Writer.main_end),
    **_on("aside footer header", Writer.frame, Writer.frame_end),
    **_on("nav", Writer.navigation, Writer.navigation_end),
    **_on("a", None, Writer.link_end),
    **_on("p", Writer.paragraph, Writer.paragraph),
    **_on("h1 h2 h3 h4 h5 h6", Writer.heading, Writer.heading_end),
    **_on("li", Writer.item, Writer.item_end),
    **_on("pre", Writer.preformatted_begin, Writer.preformatted_end),
    **_on("tr", Writer.row, Writer.row),
    **_on("td th", Writer.cell, Writer.cell_end),
    **_on("del s strike", Writer.struck, Writer.struck),
    **_on("sup", Writer.raised),
    **_on("img", Writer.image),
    **_on("input", Writer.field),
    **_on("option", None, Writer.option_end),
    **_on("time", None, Writer.moment),
    **_on("button label select textarea", Writer.space, Writer.space),
}
_EDGES: Final = _edges(_ACTIONS)
_EDGES_WITH_LINKS: Final = _edges(
    _ACTIONS | _on("img", Writer.image_with_address) | _on("a", None, Writer.link_end_with_address)
)


def _base_url(tree: LexborHTMLParser, base_url: str | None) -> str | None:
    node = tree.css_first("[href]:is(base)")  # lexbor compares names as text: attributes first
    href = node.attrs.get("href") if node is not None else None
    return absolute(base_url, href) or base_url if href else base_url
