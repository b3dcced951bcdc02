"""The progress bar of `submit`, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Counts(Protocol):
    """What a submission says of itself."""

    @property
    def queued(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def bytes_read(self) -> int: ...


@contextmanager
def submit_bar(total_bytes: int | None) -> Iterator[Callable[[Counts], None]]:
    """Gives the function to call with each new count; it draws nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 only for a terminal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 the same

    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("", total=total_bytes)

        def show(counts: Counts) -> None:
            text = f"{counts.queued} queued, {counts.skipped} skipped"
            bar.update(row, completed=counts.bytes_read, description=text)

        yield show
