"""The live panel on a terminal: a `View` drawn with rich. Only whoever shows one imports this."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Self, cast

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel as Box
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from scraper.observability import time_spent
from scraper.observability.view import View, duration, number_of, seconds_text

TWO_COLUMNS_FROM = 100
"""Columns of a terminal."""
EVENTS_SHOWN = 6
BAR = 12
SHORTEST_PROGRESS = 10
_BLOCKS = "▁▂▃▄▅▆▇█"
_CIRCUITS = {
    "closed": ("● closed", "green"),
    "half_open": ("◐ half open", "yellow"),
    "open": ("▲ OPEN", "bold red"),
}
_LEVELS = {"debug": ("·", "dim"), "info": ("·", "cyan"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}
_GPU = {
    "unknown": ("·", "dim"),
    "idle": ("○", "cyan"),
    "working": ("◐", "green"),
    "busy": ("●", "green"),
    "protected": ("▲", "yellow"),
    "stopped": ("✗", "bold red"),
}
_SHARES = (("█", "blue"), ("▓", "cyan"), ("▒", "green"), ("░", "magenta"))
"""How the phases that most time goes to are drawn, each in its own way without colours too."""


class Panel:
    """Shows the newest View at the bottom of the terminal; log lines scroll above it."""

    def __init__(self, title: str, *, events: bool = False, console: Console | None = None) -> None:
        self.title = title
        self._events = events
        self._console = console or Console(stderr=True)
        self._note = ""
        self._view: View | None = None
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, view: View) -> None:
        self._view = view
        self._live.update(self.render(view), refresh=True)
        self._to_first_column()

    def note(self, text: str) -> None:
        """From now on this stands in the panel too, at once."""
        self._note = text
        if self._view is None:
            self.log(text.encode())
        else:
            self.show(self._view)

    def log(self, line: bytes) -> None:
        """One line of a log, as it is, above the panel."""
        self._console.print(Text.from_ansi(line.decode(errors="replace").rstrip()))
        self._to_first_column()

    def _to_first_column(self) -> None:
        """A terminal writes ^C where the cursor is: behind the last corner that is a new line, which nobody wipes."""
        self._console.control(Control((ControlType.CARRIAGE_RETURN,)))

    def log_stream(self) -> IO[str]:
        """A stream whose lines scroll above the panel."""
        return cast("IO[str]", _LogAbove(self))

    def render(self, view: View) -> Box:
        wide = self._console.width >= TWO_COLUMNS_FROM
        parts: list[RenderableType] = [
            _Progress(view),
            _grid(_verdict(view), wide=False),
            Text(),
            _grid(_facts(view), wide=wide),
            _grid([("time", _Time(view.recent_seconds or view.seconds))], wide=False),
        ]
        if self._note:
            parts += [Text(), Text(self._note, style="bold yellow")]
        if self._events and view.events:
            parts += [Text(), *(_event(view, index) for index in _last(view))]
        _, style = _GPU[view.gpu_state]
        return Box(Group(*parts), title=self.title, title_align="left", padding=(0, 1), border_style=style)


class _LogAbove(io.TextIOBase):
    """A text stream whose lines scroll above a panel instead of through it."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._rest = ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._panel.log(line.encode())
        return len(text)


def _grid(facts: Sequence[tuple[str, RenderableType]], *, wide: bool) -> Table:
    """(name, value), two and two beside each other where there is room."""
    beside = 2 if wide else 1
    grid = Table.grid(padding=(0, 2), expand=True)
    for _ in range(beside):
        grid.add_column(no_wrap=True, width=10, style="dim")
        grid.add_column(ratio=1)
    for at in range(0, len(facts), beside):
        grid.add_row(*(cell for fact in facts[at : at + beside] for cell in fact))
    return grid


def _verdict(view: View) -> list[tuple[str, RenderableType]]:
    """Whether the model server is busy, idle or left alone, and why: what is worth the first look."""
    mark, style = _GPU[view.gpu_state]
    return [
        ("GPU", Text(f"{mark} {view.gpu}", style=style)),
        ("limited by", Text(view.limited_by, style="bold")),
    ]


def _facts(view: View) -> list[tuple[str, RenderableType]]:
    throttle = view.throttle
    return [
        ("in flight", _Parts(*_of(throttle.in_flight, throttle.limit), *_line(throttle.waiting))),
        ("starts", _Parts(*_of(throttle.starts_last_minute, throttle.requests_per_minute, also=" in the last 60 s"))),
        ("circuit", _Parts(*_circuit(view))),
        ("apart", _Parts(*_apart(throttle.gaps, throttle.smallest_gap_s))),
        ("latency", _Parts(*_latency(view))),
        ("tokens", _Parts(*_tokens(view))),
        ("workers", _Parts(*_workers(view))),
        ("trouble", _Parts(*_trouble(view.counts, view.seconds))),
        ("tasks", _Parts(*_tasks(view))),
        ("starts/10s", _Parts(Text(sparkline(view.spark), style="cyan"))),
    ]


class _Parts:
    """As many of the parts as there is room for, the first ones first, and each of them whole."""

    def __init__(self, *parts: Text) -> None:
        self._parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = self._parts[0].copy()
        for part in self._parts[1:]:
            if line.cell_len + 2 + part.cell_len > options.max_width:
                break
            line.append("  ").append_text(part)
        line.truncate(options.max_width, overflow="ellipsis")
        yield line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


class _Progress:
    """How far the run is: a bar over the whole width, and what it means."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view = self._view
        finished, left = view.done + view.parked, view.left
        if not left and not finished:
            return
        said = list(_said_of_progress(view))
        while len(said) > 1 and len(", ".join(said)) > options.max_width - SHORTEST_PROGRESS - 2:
            said.pop()
        text = ", ".join(said)
        room = options.max_width - len(text) - 2
        if left is not None and room >= SHORTEST_PROGRESS:
            total = finished + left
            ahead = round(finished / total * room)
            parked = min(ahead, -(-view.parked * room // total))
            yield Text.assemble(
                ("█" * (ahead - parked), "green"), ("▓" * parked, "yellow"), ("░" * (room - ahead), "dim"), f"  {text}"
            )
        else:
            yield Text(text, no_wrap=True, overflow="ellipsis")


def _said_of_progress(view: View) -> Iterator[str]:
    """What has most room last."""
    finished = view.done + view.parked
    if view.left is None:
        yield f"{number_of('task', finished)} finished"
    else:
        total = finished + view.left
        yield f"{finished / total:.0%} done"
        yield f"{duration(view.seconds_left)} left" if view.seconds_left is not None else "? left"
        yield f"{finished} of {number_of('task', total)}"
    yield f"{view.finished_per_minute:g} a minute"


class _Time:
    """Where the tasks' time goes: one bar of all of it, and the names of its parts."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        total = sum(seconds.values())
        most = sorted(seconds.items(), key=lambda item: -item[1])[: len(_SHARES)]
        self._shares = [(phase, spent / total) for phase, spent in most if total > 0 and spent / total >= 0.005]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._shares:
            yield Text("–", style="dim")
            return
        bar, names = Text(), []
        for (phase, share), (block, style) in zip(self._shares, _SHARES, strict=False):
            bar.append(block * round(share * 2 * BAR), style)
            name = f"{time_spent.NAMES.get(phase, phase)} {share:.0%}"
            names.append(Text.assemble((block, style), f" {name}"))
        yield from _Parts(bar, *names).__rich_console__(console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def _of(value: int, limit: float | None, *, also: str = "") -> Iterator[Text]:
    """A bar that is full at the limit, and the numbers beside it."""
    if limit is None:
        yield Text(f"{value}{also}")
        return
    share = min(1.0, value / limit)
    full = round(share * BAR)
    style = "red" if value > limit else "yellow" if full == BAR else "green"
    yield Text.assemble(("█" * full, style), ("░" * (BAR - full), "dim"), f" {value}/{limit:g}", (also, "dim"))


def _line(waiting: int) -> Iterator[Text]:
    if waiting:
        yield Text(f"{waiting} in line", style="dim")


def _circuit(view: View) -> Iterator[Text]:
    throttle = view.throttle
    name, style = _CIRCUITS.get(throttle.circuit, (throttle.circuit, ""))
    retry = "" if throttle.retry_in_s is None else f", next try in {duration(throttle.retry_in_s)}"
    yield Text.assemble((name, style), (retry, "default"))
    if throttle.misconfigured:
        yield Text("✗ wrong setting", style="bold red")
    if throttle.paused_for_s:
        yield Text("‖ paused", style="yellow")
    if throttle.circuit == "open" and throttle.circuit_ordered:
        yield Text("by an operator's order")
    opened = sum(state == "open" for _, state in view.circuit_log)
    if opened:
        since = duration(view.at - view.circuit_log[-1][0])
        yield Text(f"opened {opened}×, changed {since} ago", style="dim")


def _apart(gaps: Sequence[int], smallest: float | None) -> Iterator[Text]:
    """How far two starts are from each other; T, the interval of the pace, is where none should be below."""
    if not any(gaps):
        yield Text("–", style="dim")
        return
    if smallest is not None:
        yield Text(f"never closer than {seconds_text(smallest)}")
    if gaps[0] + gaps[1]:
        yield Text(f"{(gaps[0] + gaps[1]) / sum(gaps):.0%} closer than the pace", style="yellow")


def _latency(view: View) -> Iterator[Text]:
    yield Text(f"p50 {seconds_text(view.latency_p50_s)}  p95 {seconds_text(view.latency_p95_s)}")
    if view.first_token_p50_s is not None:
        yield Text(f"first token {seconds_text(view.first_token_p50_s)}", style="dim")


def _tokens(view: View) -> Iterator[Text]:
    read, written = view.counts.get("prompt_tokens", 0), view.counts.get("completion_tokens", 0)
    yield Text(f"{view.tokens_per_second:.0f} written/s")
    yield Text(f"{_short(read)} read, {_short(written)} written", style="dim")


def _workers(view: View) -> Iterator[Text]:
    yield Text.assemble(str(view.workers), (f", {number_of('task', view.in_hand)} in hand", "dim"))
    for what in view.away:
        yield Text(f"✗ {what} away", style="bold red")


def _trouble(counts: Mapping[str, int], seconds: Mapping[str, float]) -> Iterator[Text]:
    retries, failed = counts.get("retries", 0), counts.get("failed_calls", 0)
    faults, restarts = counts.get("faults", 0), counts.get("restarts", 0)
    if not (retries or failed or faults or restarts):
        yield Text("none", style="dim")
    if faults:
        yield Text(number_of("fault", faults), style="bold red")
    if restarts:
        yield Text(number_of("worker restart", restarts), style="yellow")
    if failed:
        yield Text(f"{number_of('call', failed)} failed", style="red")
    if retries:
        waited = seconds.get("backoff", 0.0)
        text = Text(number_of("retry", retries, several="retries"), style="yellow")
        yield text.append(f" ({duration(waited)} backoff)", "dim") if waited else text


def _tasks(view: View) -> Iterator[Text]:
    yield Text(f"{view.done} done", style="green")
    yield Text(f"{view.parked} parked", style="yellow" if view.parked else "dim")
    if view.reasons:
        yield Text(", ".join(f"{reason} {count}" for reason, count in list(view.reasons.items())[:3]), style="dim")
    if view.left is not None:
        yield Text(f"{view.left} left", style="dim")


def _last(view: View) -> Iterable[int]:
    return range(max(0, len(view.events) - EVENTS_SHOWN), len(view.events))


def _event(view: View, index: int) -> Text:
    event = view.events[index]
    mark, style = _LEVELS.get(event.level, ("·", ""))
    when = datetime.fromtimestamp(event.at, UTC).astimezone().strftime("%H:%M:%S")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{when} ", "dim").append(f"{mark} {event.name}", style).append(f"  {event.text}")
    return text


def _short(number: int) -> str:
    """1,234,567 is 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def sparkline(values: Sequence[int]) -> str:
    """One block for each value; nothing is an empty place."""
    most = max(values, default=0)
    return "".join(_BLOCKS[max(0, -(-value * len(_BLOCKS) // most) - 1)] if value else "·" for value in values)
