#!/usr/bin/env python3
"""docs/panel.svg: what a terminal shows of a run, after a minute and a half of one. All of it is simulated."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
from demo import ROOT, SCRAPER, simulated
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from scraper.commands.attached import Attachment
from scraper.config import Settings
from scraper.event_loop import run
from scraper.observability.panel import Panel
from scraper.observability.view import View

OUTPUT = ROOT / "docs" / "panel.svg"
COLUMNS = 100
PAGES = 120
TROUBLE = ("/status/404", "/type/pdf", "/redirect-loop")
SECONDS = 90.0
FONT_FACES = re.compile(r"\s*@font-face \{\{.*?\}\}", re.DOTALL)
"""They load a font from elsewhere; whoever looks has one of his own."""


@click.command()
@click.option("-o", "--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path), help="File.")
def main(*, output: Path) -> None:
    """Make the picture of the panel. Takes two minutes.

    \b
    Example:
      python scripts/panel_picture.py
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(simulated("scraper.testing.site"))
        model = stack.enter_context(simulated("scraper.testing.vllm", "--fault", "503=1x"))
        given = {
            "BROKER_URL": f"sqlite:///{folder / 'queue.db'}",
            "RESULTS_URL": f"sqlite:///{folder / 'queue.db'}",
            "RUN_DIR": str(folder / "run"),
            "VLLM_BASE_URL": f"{model}/v1",
            "ALLOW_PRIVATE_ADDRESSES": "on",
            "FETCH_DELAY": "0.2",
        }
        paths = [*TROUBLE, *(f"/product/{number}" for number in range(1, PAGES + 1 - len(TROUBLE)))]
        urls = "".join(f"{site}{path}\n" for path in paths)
        environment = {**os.environ, **given}
        submit = [*SCRAPER, "submit", "--schema", "product", "-"]
        subprocess.run(submit, input=urls, env=environment, cwd=folder, text=True, check=True)
        workers = subprocess.Popen(SCRAPER, env=environment, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            time.sleep(SECONDS)
            names = {name.lower(): value for name, value in given.items()}
            view = run(_look(Settings.model_validate(names)))
        finally:
            workers.terminate()
            workers.wait()
    output.write_text(_picture(view))


async def _look(settings: Settings) -> View:
    async with Attachment(settings) as attached:
        await attached.view()
        await asyncio.sleep(4.0)  # the length of the queue is asked for every two seconds
        return await attached.view()


def _picture(view: View) -> str:
    console = Console(file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True, color_system="truecolor")
    console.print(Panel("scraper", console=console).render(view))
    drawn = console.export_svg(title="scraper --until-empty", code_format=FONT_FACES.sub("", CONSOLE_SVG_FORMAT))
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines())


if __name__ == "__main__":
    main()
