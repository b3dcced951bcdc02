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

from scraper.observability.progress import Report, duration


class Panel:
    """Shows the newest Report at the bottom of the terminal; log lines scroll above it."""

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

    def show(self, report: Report) -> None:
        self._live.update(self._render(report))

    def log(self, line: bytes) -> None:
        """One line of a worker's log, as it is."""
        self._console.print(Text.from_ansi(line.decode(errors="replace").rstrip()))

    def _render(self, report: Report) -> Box:
        finished = report.done + report.parked
        numbers = Table.grid(padding=(0, 3))
        numbers.add_row(
            Text(f"{report.done} done", style="green"),
            Text(f"{report.parked} parked", style="yellow" if report.parked else "dim"),
            f"{report.waiting} waiting",
            f"{report.per_minute:.1f}/min",
            f"{duration(report.seconds_left)} left" if report.seconds_left is not None else "? left",
        )
        bar = ProgressBar(total=max(1, finished + report.waiting), completed=finished)
        limited = Text(f"limited by {report.limited_by}", style="dim")
        return Box(Group(numbers, bar, limited), title=self._title, title_align="left")
