"""The live panel on a terminal: a `View` drawn with rich. Only whoever shows one imports this."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Self, cast

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.panel import Panel as Box
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from scraper.observability.view import View, duration, number_of, pause_text, seconds_text

TWO_COLUMNS_FROM = 100
"""Columns of a terminal."""
EVENTS_SHOWN = 6
PHASES_SHOWN = 5
BAR = 12
_BLOCKS = "▁▂▃▄▅▆▇█"
_CIRCUITS = {
    "closed": ("● closed", "green"),
    "half_open": ("◐ half open", "yellow"),
    "open": ("▲ OPEN", "bold red"),
}
_LEVELS = {"debug": ("·", "dim"), "info": ("·", "cyan"), "warning": ("!", "yellow"), "error": ("✗", "bold red")}
GAP_NAMES = ("<½T", "½–1T", "T", "–1½T", "–2T", "–4T", ">4T")


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
        facts = _facts(view)
        grid = Table.grid(padding=(0, 2), expand=True)
        for _ in range(2 if wide else 1):
            grid.add_column(no_wrap=True, width=10, style="dim")
            grid.add_column(no_wrap=True, ratio=1)
        for at in range(0, len(facts), 2 if wide else 1):
            row = [cell for fact in facts[at : at + (2 if wide else 1)] for cell in fact]
            grid.add_row(*row)
        parts: list[RenderableType] = [grid, Text(), _limited(view)]
        if self._note:
            parts.append(Text(self._note, style="bold yellow"))
        if self._events and view.events:
            parts += [Text(), *(_event(view, index) for index in _last(view))]
        return Box(Group(*parts), title=self.title, title_align="left", padding=(0, 1))


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


def _facts(view: View) -> list[tuple[str, Text]]:
    """(name, value), two and two beside each other where there is room."""
    throttle = view.throttle
    return [
        ("in flight", _of(throttle.in_flight, throttle.limit, also=_line(throttle.waiting))),
        ("starts", _of(throttle.starts_last_minute, throttle.requests_per_minute, also=" in the last 60 s")),
        ("circuit", _circuit(view)),
        ("gaps", _gaps(throttle.gaps, throttle.smallest_gap_s)),
        ("latency", _latency(view)),
        ("tokens", _tokens(view)),
        ("workers", _workers(view)),
        ("trouble", _trouble(view.counts, view.seconds)),
        ("tasks", _tasks(view)),
        ("left", _left(view)),
        ("starts/10s", Text(sparkline(view.spark), style="cyan")),
        ("time", _time(view.recent_seconds or view.seconds)),
    ]


def _of(value: int, limit: float | None, *, also: str = "") -> Text:
    """A bar that is full at the limit, and the numbers beside it."""
    if limit is None:
        return Text(f"{value}{also}")
    share = min(1.0, value / limit)
    full = round(share * BAR)
    style = "red" if value > limit else "yellow" if full == BAR else "green"
    return Text.assemble(
        ("█" * full, style), ("░" * (BAR - full), "dim"), f" {value}/{limit:g}", (also, "dim"), no_wrap=True
    )


def _line(waiting: int) -> str:
    return f", {waiting} in line" if waiting else ""


def _circuit(view: View) -> Text:
    throttle = view.throttle
    name, style = _CIRCUITS.get(throttle.circuit, (throttle.circuit, ""))
    text = Text(name, style=style)
    if throttle.circuit == "open" and throttle.circuit_ordered:
        text.append(" by an operator's order", "default")
    if throttle.retry_in_s is not None:
        text.append(f", next try in {duration(throttle.retry_in_s)}", "default")
    if throttle.paused_for_s:
        text.append(f"  ‖ paused, {pause_text(throttle)}", "yellow")
    if throttle.misconfigured:
        text.append("  ✗ wrong setting", "bold red")
    opened = sum(state == "open" for _, state in view.circuit_log)
    if opened:
        since = duration(view.at - view.circuit_log[-1][0])
        text.append(f"  opened {opened}×, changed {since} ago", "dim")
    return text


def _gaps(gaps: Sequence[int], smallest: float | None) -> Text:
    if not any(gaps):
        return Text("–", style="dim")
    text = Text(sparkline(gaps), style="cyan")
    if smallest is not None:
        text.append(f" at least {seconds_text(smallest)}", "default")
    if gaps[0] + gaps[1]:
        text.append(f", {(gaps[0] + gaps[1]) / sum(gaps):.0%} under T", "dim")
    return text


def _latency(view: View) -> Text:
    return Text(
        f"p50 {seconds_text(view.latency_p50_s)}  p95 {seconds_text(view.latency_p95_s)}"
        f"  first token {seconds_text(view.first_token_p50_s)}"
    )


def _tokens(view: View) -> Text:
    read, written = view.counts.get("prompt_tokens", 0), view.counts.get("completion_tokens", 0)
    text = Text(f"{view.tokens_per_second:.0f} written/s")
    return text.append(f"  {_short(read)} read, {_short(written)} written", "dim")


def _workers(view: View) -> Text:
    text = Text(str(view.workers))
    text.append(f", {number_of('task', view.in_hand)} in hand", "dim")
    for what in view.away:
        text.append(f"  ✗ {what} away", "bold red")
    return text


def _trouble(counts: Mapping[str, int], seconds: Mapping[str, float]) -> Text:
    retries, failed = counts.get("retries", 0), counts.get("failed_calls", 0)
    text = Text(number_of("retry", retries, several="retries"), style="yellow" if retries else "dim")
    if backoff := seconds.get("backoff", 0.0):
        text.append(f" ({duration(backoff)} backoff)", "dim")
    text.append(f"  {number_of('call', failed)} failed", "red" if failed else "dim")
    if faults := counts.get("faults", 0):
        text.append(f"  {number_of('fault', faults)}", "bold red")
    if restarts := counts.get("restarts", 0):
        text.append(f"  {number_of('worker restart', restarts)}", "yellow")
    return text


def _tasks(view: View) -> Text:
    text = Text(f"{view.done} done", style="green")
    text.append(f"  {view.parked} parked", "yellow" if view.parked else "dim")
    if view.reasons:
        text.append(f" ({', '.join(f'{reason} {count}' for reason, count in list(view.reasons.items())[:3])})", "dim")
    return text


def _left(view: View) -> Text:
    if view.queue is None:
        return Text(f"{view.in_hand} in hand, {view.finished_per_minute:g}/min", no_wrap=True)
    text = Text(f"{view.queue.left} waiting", no_wrap=True)
    text.append(f"  {view.finished_per_minute:g}/min")
    text.append(f"  {duration(view.seconds_left)} left" if view.seconds_left is not None else "  ? left")
    finished = view.done + view.parked
    if total := finished + view.queue.left:
        text.append(f"  {finished / total:.0%} done", "dim")
    return text


def _time(seconds: Mapping[str, float]) -> Text:
    total = sum(seconds.values())
    if total <= 0:
        return Text("–", style="dim")
    most = sorted(seconds.items(), key=lambda item: -item[1])[:PHASES_SHOWN]
    return Text("  ".join(f"{phase} {spent / total:.0%}" for phase, spent in most if spent / total >= 0.005))


def _limited(view: View) -> Text:
    return Text.assemble(("limited by ", "bold"), (view.limited_by, "bold"))


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
