"""The live panel of a run on a terminal. Imports rich, so only whoever shows it imports this."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel as Box
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scraper.events import RunProgress


class Panel:
    """Shows the newest RunProgress at the bottom of the terminal; log lines scroll above it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: RunProgress) -> None:
        self._live.update(self._render(progress))

    def log(self, line: bytes) -> None:
        """One line of a worker's log, as it is."""
        self._console.print(Text.from_ansi(line.decode(errors="replace").rstrip()))

    def _render(self, progress: RunProgress) -> Box:
        finished = progress.done + progress.parked
        numbers = Table.grid(padding=(0, 3))
        numbers.add_row(
            Text(f"{progress.done} done", style="green"),
            Text(f"{progress.parked} parked", style="yellow" if progress.parked else "dim"),
            f"{progress.waiting} waiting",
            f"{progress.per_minute:.1f}/min",
            f"{_duration(progress.time_left_s)} left",
        )
        bar = ProgressBar(total=max(1, finished + progress.waiting), completed=finished)
        limited = Text(f"limited by {progress.limited_by}", style="dim")
        return Box(Group(numbers, bar, limited), title=self._title, title_align="left")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
