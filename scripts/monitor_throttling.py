#!/usr/bin/env python3
"""What the workers do and what limits them: from their log in a pipe or a file, or from those that run on this host.

Reads as fast as the workers write and never slows them. On a terminal it shows a live panel, in a pipe one line every
ten requests. Lines that are no log lines pass through untouched.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run by path: its own folder is what Python puts there

import click

from scraper.errors import Misconfigured, ScraperError
from scraper.observability.monitor import LogReader, Outlet, followed, pieces
from scraper.observability.progress import summary
from scraper.observability.view import View, plain_line
from scraper.terminal_text import in_one_line

FRAME_SECONDS = 0.25
SNAPSHOT_SECONDS = 1.0
REQUESTS_A_LINE = 10
LAST_SECONDS = 2.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--file", "file", type=click.Path(dir_okay=False, path_type=Path), help="Follow a log file, rotated or not."
)
@click.option("--no-follow", is_flag=True, help="Read the file to its end and stop.")
@click.option("--attach", is_flag=True, help="Ask the workers that run on this host (same VLLM_BASE_URL and RUN_DIR).")
@click.option("--json", "as_json", is_flag=True, help="One JSON snapshot a second, and one at the end.")
def main(*, file: Path | None, no_follow: bool, attach: bool, as_json: bool) -> None:
    """Show what the workers do and what limits them.

    \b
    Examples:
      python -m scraper.main 2>&1 | python scripts/monitor_throttling.py
      python scripts/monitor_throttling.py --file scraper.log
      python scripts/monitor_throttling.py --attach
      python scripts/monitor_throttling.py --file old.log --no-follow --json | jq .limited_by
    """
    if attach and file is not None:
        raise click.UsageError("--attach and --file: choose one")
    if no_follow and file is None:
        raise click.UsageError("--no-follow belongs to --file")
    if not attach and file is None and sys.stdin.isatty():
        raise click.UsageError("nothing to read: pipe a log into it, or name one with --file, or use --attach")
    stop = _Stop(patient=not attach and file is None)
    shown: _Screen = _JsonScreen() if as_json else _PanelScreen() if sys.stdout.isatty() else _PlainScreen()
    try:
        with shown:
            source: _Source = (
                _Attached(shown, stop) if attach else _Log(shown, stop, _chunks(file, stop, to_the_end=no_follow), file)
            )
            _show(source, shown, stop)
            if source.trouble is not None:
                raise source.trouble
            view = source.view()
    except ScraperError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the log'}: {error.strerror}") from error
    shown.end(view)


class _Stop:
    """Ctrl-c reaches the workers as well: while a pipe is read, the first one waits for what they still say."""

    def __init__(self, *, patient: bool) -> None:
        self.now = threading.Event()
        self.asked = False
        self._patient = patient
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, lambda *_: self.now.set())

    def _interrupted(self, *_: object) -> None:
        if self.asked or not self._patient:
            self.now.set()
        self.asked = True


class _Screen:
    """One way to show: the reading thread calls `pass_on` and `requests`, the showing one everything else."""

    frame_seconds = FRAME_SECONDS
    stopping = False  # asked to stop, but the workers may have more to say
    last_line = b""  # of those that are no log lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""

    def pass_on(self, line: bytes) -> None:
        """A line that is no log line."""

    def requests(self, view: View) -> None:
        """Ten more requests have been sent."""

    def show(self, view: View) -> None:
        """It is time for a new picture."""

    def gone(self) -> bool:
        """Whether nobody looks any more."""
        return False

    def end(self, view: View) -> None:
        """The last words."""


class _Source(Protocol):
    ended: threading.Event
    trouble: OSError | None  # why it ended

    def view(self) -> View: ...


def _last_words(view: View, last_line: bytes) -> str:
    """The summary of the run; empty where the workers have just said it themselves."""
    words = summary(view.outcomes, view.reasons)
    said = last_line.decode(errors="replace")
    return "" if _counts(said) == _counts(words) else f"{words}\n"


def _counts(words: str) -> str:
    """A summary without the reasons, whose order is open."""
    return words.partition(" (")[0].partition(";")[0].strip()


def _show(source: _Source, shown: _Screen, stop: _Stop) -> None:
    while not (source.ended.wait(shown.frame_seconds) or stop.now.is_set() or shown.gone()):
        shown.stopping = stop.asked
        shown.show(source.view())


# --- where it comes from ---------------------------------------------------------------------------------------------


def _chunks(file: Path | None, stop: _Stop, *, to_the_end: bool) -> Iterator[bytes]:
    if file is None:
        return pieces(sys.stdin.fileno())
    if to_the_end and not file.exists():
        raise Misconfigured(f"{file}: there is no such file")
    return followed(file, stopped=stop.now, to_the_end=to_the_end)


def _without_workers(view: View, why: str) -> View:
    """Instead of a limit it says why there is nothing to see."""
    return dataclasses.replace(view, limited_by=in_one_line(f"nothing: {why}"), change="")


class _Log:
    """Read by a thread that does nothing else."""

    def __init__(self, shown: _Screen, stop: _Stop, chunks: Iterator[bytes], file: Path | None) -> None:
        self.ended = threading.Event()
        self.trouble: OSError | None = None
        self._reader = LogReader(pass_on=shown.pass_on, every=REQUESTS_A_LINE, on_requests=shown.requests)
        self._chunks = chunks
        self._file = file
        self._stop = stop
        threading.Thread(target=self._read, daemon=True).start()

    def view(self) -> View:
        view = self._reader.view()
        if view.workers or view.counts or view.outcomes:
            return view
        if self._file is not None and not self._file.exists():
            return _without_workers(view, f"{self._file} is not there yet")
        return _without_workers(view, "no worker has said anything yet")

    def _read(self) -> None:
        try:
            for chunk in self._chunks:
                self._reader.take(chunk)
        except OSError as error:
            self.trouble = error
        finally:
            self._reader.end()
            self.ended.set()


class _Attached:
    """Asks once a second, in a thread with a loop of its own."""

    def __init__(self, shown: _Screen, stop: _Stop) -> None:
        from scraper.commands import read_settings  # noqa: PLC0415 only where workers are asked
        from scraper.commands.attached import Attachment  # noqa: PLC0415 the same

        self.ended = threading.Event()
        self.trouble: OSError | None = None
        self._shown = shown
        self._stop = stop
        self._attachment = Attachment(read_settings())
        self._requests: int | None = None
        self._view = asyncio.run(self._look())
        threading.Thread(target=self._keep_asking, daemon=True).start()

    def view(self) -> View:
        return self._view

    async def _look(self) -> View:
        view = await self._attachment.view()
        if view.workers:
            return view
        return _without_workers(view, "no worker runs on this host with this VLLM_BASE_URL and RUN_DIR")

    def _keep_asking(self) -> None:
        try:
            asyncio.run(self._ask())
        finally:
            self.ended.set()

    async def _ask(self) -> None:
        async with self._attachment:
            while not self._stop.now.is_set():
                self._view = await self._look()
                requests = self._view.counts.get("attempts", 0)
                if self._requests is None or requests >= self._requests + REQUESTS_A_LINE:
                    self._requests = requests
                    self._shown.requests(self._view)
                await asyncio.sleep(1.0)


# --- how it is shown -------------------------------------------------------------------------------------------------


class _PlainScreen(_Screen):
    """For a pipe: a line every ten requests, and what is passed on in between."""

    def __init__(self) -> None:
        self._outlet = Outlet(sys.stdout.fileno())

    def pass_on(self, line: bytes) -> None:
        self.last_line = line
        self._outlet.write(line)

    def requests(self, view: View) -> None:
        self._outlet.write(f"{plain_line(view)}\n".encode())

    def gone(self) -> bool:
        return self._outlet.closed.is_set()

    def end(self, view: View) -> None:
        if words := _last_words(view, self.last_line):  # behind those of the workers it would look like news
            self._outlet.write(f"{plain_line(view)}\n{words}".encode())
        self._outlet.end(seconds=LAST_SECONDS)
        _leave(self._outlet)


class _JsonScreen(_Screen):
    """A snapshot a second on stdout; what is passed on goes to stderr."""

    frame_seconds = SNAPSHOT_SECONDS

    def __init__(self) -> None:
        self._outlet, self._others = Outlet(sys.stdout.fileno()), Outlet(sys.stderr.fileno())

    def pass_on(self, line: bytes) -> None:
        self._others.write(line)

    def show(self, view: View) -> None:
        self._outlet.write(f"{view.to_json()}\n".encode())

    def gone(self) -> bool:
        return self._outlet.closed.is_set()

    def end(self, view: View) -> None:
        self.show(view)
        for outlet in (self._outlet, self._others):
            outlet.end(seconds=LAST_SECONDS)
        _leave(self._outlet)


class _PanelScreen(_Screen):
    """A live panel on a terminal; what is passed on scrolls above it."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 only for a terminal

        from scraper.observability.panel import Panel  # noqa: PLC0415 the same

        self._console = Console()
        self._panel = Panel("scraper", events=True, console=self._console)
        self._passed: deque[bytes] = deque(maxlen=1000)

    def __enter__(self) -> Self:
        self._panel.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pass_on()
        self._panel.__exit__(None, None, None)

    def pass_on(self, line: bytes) -> None:
        self.last_line = line
        self._passed.append(line)

    def show(self, view: View) -> None:
        self._pass_on()
        if self.stopping:
            self._panel.title = "scraper · stopping; ctrl-c again leaves at once"
        self._panel.show(view)

    def end(self, view: View) -> None:
        self._panel.title = "scraper"
        self._console.print(self._panel.render(view))
        self._console.print(_last_words(view, self.last_line), end="", markup=False, highlight=False)

    def _pass_on(self) -> None:
        while self._passed:
            self._panel.log(self._passed.popleft())


def _leave(outlet: Outlet) -> None:
    """Without Python's own last flush, which complains where nobody reads any more."""
    if outlet.trouble is not None:
        with suppress(OSError):
            os.write(2, f"Error: standard output: cannot be written ({outlet.trouble.strerror})\n".encode())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
