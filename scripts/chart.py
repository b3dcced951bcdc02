"""Line charts as SVG, without a library: they follow the reader's light or dark scheme and stay sharp at any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal, TypeAlias

Colour: TypeAlias = Literal["ours", "other", "good", "bad", "quiet"]
Point: TypeAlias = tuple[float, float]

WIDTH = 800
LEFT, RIGHT, HEAD, FOOT, BETWEEN = 64, 24, 62, 44, 26

_STYLE = """
  svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif }
  .page { fill: #ffffff } text { fill: #33404d } .title { font-size: 16px; font-weight: 600; fill: #17202a }
  .soft { fill: #5d6b79 } .grid { stroke: #e3e8ed } .axis { stroke: #8593a1 }
  .ours { color: #1d5fd1 } .other { color: #c2540a } .good { color: #16803c } .bad { color: #c22121 }
  .quiet { color: #6b7783 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14191f } text { fill: #c6d0da } .title { fill: #eef2f6 }
    .soft { fill: #94a3b2 } .grid { stroke: #2a333d } .axis { stroke: #66747f }
    .ours { color: #79aefc } .other { color: #f29b55 } .good { color: #5fcf8b } .bad { color: #f58080 }
    .quiet { color: #94a1ae }
  }
  .line { fill: none; stroke: currentColor; stroke-width: 2 } .dash { stroke-dasharray: 5 4 }
  .area { fill: currentColor; fill-opacity: 0.15 } .dot { fill: currentColor }
  .name { fill: currentColor; font-weight: 600 }
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """From 0 to `most`, a line and a number at each of `ticks`."""

    label: str
    most: float
    ticks: Sequence[float]
    least: float = 0.0


@dataclass(slots=True)
class Panel:
    """One coordinate system; what is added later lies above."""

    x: Axis
    y: Axis
    height: int = 220
    _parts: list[Callable[[_Frame], str]] = field(default_factory=list)

    def line(self, points: Iterable[Point], colour: Colour, *, dashed: bool = False) -> None:
        drawn = list(points)
        kind = "line dash" if dashed else "line"
        self._parts.append(
            lambda frame: f'<polyline class="{colour} {kind}" points="{" ".join(frame.at(*each) for each in drawn)}"/>'
        )

    def steps(self, points: Iterable[Point], colour: Colour) -> None:
        """Each value holds until the next point."""
        drawn: list[Point] = []
        for x, y in points:
            if drawn:
                drawn.append((x, drawn[-1][1]))
            drawn.append((x, y))
        self.line(drawn, colour)

    def dots(self, points: Iterable[Point], colour: Colour, *, radius: float = 4.0) -> None:
        drawn = list(points)
        self._parts.append(
            lambda frame: "".join(
                f'<circle class="{colour} dot" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="{radius:g}"/>'
                for x, y in drawn
            )
        )

    def band(self, low: Sequence[Point], high: Sequence[Point], colour: Colour) -> None:
        around = [*low, *reversed(high)]
        self._parts.append(
            lambda frame: f'<polygon class="{colour} area" points="{" ".join(frame.at(*each) for each in around)}"/>'
        )

    def span(self, begin: float, end: float, colour: Colour, name: str = "") -> None:
        """The whole height from `begin` to `end`."""
        top, bottom = self.y.most, self.y.least
        self.band([(begin, bottom), (end, bottom)], [(begin, top), (end, top)], colour)
        if name:
            self.name((begin + end) / 2, top, name, colour, dy=15, anchor="middle")

    def name(
        self, x: float, y: float, text: str, colour: Colour, *, dx: float = 0, dy: float = 0, anchor: str = "start"
    ) -> None:
        """Words beside what they are about; better than a legend."""
        self._parts.append(
            lambda frame: (
                f'<text class="{colour} name" x="{frame.x(x) + dx:.1f}" y="{frame.y(y) + dy:.1f}" '
                f'text-anchor="{anchor}">{escape(text)}</text>'
            )
        )

    def draw(self, top: float) -> str:
        frame = _Frame(self.x, self.y, top, self.height)
        return "\n".join([*_scales(frame), *(part(frame) for part in self._parts)])


def picture(title: str, subtitle: str, panels: Sequence[Panel]) -> str:
    """One SVG: the panels below each other under their title."""
    top, drawn = HEAD, []
    for panel in panels:
        drawn.append(panel.draw(top))
        top += panel.height + FOOT + BETWEEN
    height = top - BETWEEN + 6
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(subtitle)}</desc>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            f'<text class="title" x="18" y="26">{escape(title)}</text>',
            f'<text class="soft" x="18" y="46">{escape(subtitle)}</text>',
            *drawn,
            "</svg>\n",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values lie on the paper."""

    x_axis: Axis
    y_axis: Axis
    top: float
    height: float

    def x(self, value: float) -> float:
        axis = self.x_axis
        return LEFT + (value - axis.least) / (axis.most - axis.least) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        axis = self.y_axis
        return self.top + self.height * (1 - (value - axis.least) / (axis.most - axis.least))

    def at(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"


def _scales(frame: _Frame) -> list[str]:
    left, right, bottom = LEFT, WIDTH - RIGHT, frame.top + frame.height
    parts = []
    for tick in frame.y_axis.ticks:
        y = frame.y(tick)
        parts += [
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="soft" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>',
        ]
    for tick in frame.x_axis.ticks:
        x = frame.x(tick)
        parts += [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{bottom:.1f}"/>',
            f'<text class="soft" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{tick:g}</text>',
        ]
    middle = frame.top + frame.height / 2
    x_words, y_words = escape(frame.x_axis.label), escape(frame.y_axis.label)
    centre = (left + right) / 2
    return [
        *parts,
        f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>',
        f'<text class="soft" x="{centre}" y="{bottom + 37:.1f}" text-anchor="middle">{x_words}</text>',
        f'<text class="soft" text-anchor="middle" transform="translate(16 {middle:.1f}) rotate(-90)">{y_words}</text>',
    ]
