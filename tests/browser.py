"""A real Chromium without a window, as scripts/install_chromium.sh finds or installs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

ARTEFACTS = Path(__file__).parent.parent / "build" / "screenshots"
LAUNCH_MS = 180_000.0  # a second on an idle machine
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    assert found, "there is no Chromium here: run scripts/install_chromium.sh"
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """With a profile of its own, which is removed afterwards."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=chromium(), args=FLAGS, timeout=LAUNCH_MS)
        try:
            yield opened
        finally:
            await opened.close()


class Watched:
    """A page, and everything that may not happen on it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type != "info" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((origin, "data:")) else self.complaints.append(f"asks {request.url}")
            ),
        )
