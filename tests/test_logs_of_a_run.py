"""What the log of a whole run says, and what it never says: real processes, a simulated site and model."""

# ruff: noqa: F401, F811 - fixtures are imported, and asked for by their names

import asyncio
import json
import os
import pty
import re
import subprocess
import time
from collections import Counter
from dataclasses import fields

import pytest

from scraper import events
from scraper.testing.vllm_faults import parse_faults
from tests.service import SCRAPER, Service
from tests.test_whole_path import (
    HANGS_SECONDS,
    TROUBLE,
    broker_url,
    ended,
    model,
    service,
    site,
    submit,
)

KEY = "sk-planted-key-4711"
PASSWORD = "planted-password"
PROMPT = "planted instruction of the owner"
METADATA = "planted metadata"
INLINE = "planted text of an inline page"


def lines_of(log):
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


async def run_of(service, *arguments):
    with service.running("--until-empty", *arguments) as process:
        code, log = await ended(process)
    assert code == 0, log
    return log


async def test_no_secret_prompt_page_or_answer_is_ever_logged(service, site, model):
    """At the loudest level, with every kind of trouble, and a server whose errors quote what it was sent."""
    model.api_key = KEY
    service.environment |= {
        "VLLM_API_KEY": KEY,
        "DASHBOARD_TOKEN": PASSWORD,
        "LOG_LEVEL": "debug",
        "VLLM_BASE_BACKOFF": "0.05",
        "VLLM_CIRCUIT_BREAKER_TIMEOUT": "0.3",
    }
    for fault in ("500=4x", "cut=2x", "bad_json=2x"):
        model.faults.add(parse_faults(fault)[0])
    pages = [f"/product/{number}" for number in range(1, 9)]
    common = {"instructions": PROMPT, "metadata": {"note": METADATA}}
    await submit(
        service,
        *[{"url": site.url(path), **common} for path in (*pages, *TROUBLE, "/injection", "/null-bytes")],
        {"html": f"<p>{INLINE}</p><p>Kettle 3 EUR</p>", **common},
        {"url": f"http://user:{PASSWORD}@127.0.0.1:1/", "task_id": "with-password", **common},
        code=None,
    )
    log = await run_of(service)
    assert Counter(line["event"] for line in lines_of(log))["task_settled"] > len(pages)
    truths = [site.truth(path) for path in pages]
    private = [
        KEY,
        PASSWORD,
        PROMPT,
        METADATA,
        INLINE,
        *(truth["name"] for truth in truths),
        *(truth["sku"] for truth in truths),
    ]
    assert all(len(text) > 4 for text in private)
    assert [text for text in private if text in log] == []


async def test_debug_adds_lines_and_changes_none(tmp_path, site, model):
    said = {}
    for level in ("info", "debug"):
        folder = tmp_path / level
        folder.mkdir()
        service = Service(
            folder,
            VLLM_BASE_URL=model.base_url,
            VLLM_REQUESTS_PER_MINUTE=1200,
            ALLOW_PRIVATE_ADDRESSES="on",
            FETCH_DELAY=0,
            LOG_LEVEL=level,
        )
        await submit(service, *[site.url(f"/product/{number}") for number in range(1, 7)], site.url("/status/404"))
        said[level] = lines_of(await run_of(service))
    shapes = {
        level: {(line["event"], line["level"], frozenset(line)) for line in lines} for level, lines in said.items()
    }
    more = shapes["debug"] - shapes["info"]
    assert {(event, level) for event, level, _ in more} >= {("task_step", "debug")}
    assert {level for _, level, _ in shapes["info"]} <= {"info", "warning", "error"}
    every_task = Counter(
        line["event"] for line in said["info"] if line["event"] in {"task_received", "llm_success", "task_settled"}
    )
    assert every_task == {"task_received": 7, "llm_success": 6, "task_settled": 7}
    assert every_task == Counter(line["event"] for line in said["debug"] if line["event"] in every_task)
    steps = Counter()
    for line in said["debug"]:
        if line["event"] == "task_step":
            steps[line["task_id"], line["phase"]] += line["seconds"]
    for story in (line for line in said["debug"] if line["event"] == "task_settled"):
        told = sum(seconds for (task, _), seconds in steps.items() if task == story["task_id"])
        assert told == pytest.approx(story["total_s"], rel=0.02, abs=0.005)


async def test_every_line_is_an_event_with_exactly_its_fields(service, site):
    await submit(service, site.url("/product/1"), site.url("/status/404"))
    log = await run_of(service)
    kinds = {
        kind.name: {field.name for field in fields(kind)}
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    }
    for line in lines_of(log):
        assert set(line) - {"event", "timestamp", "level", "pid", "task_id"} == kinds[line["event"]] - {
            "pid",
            "task_id",
        }
        assert line["timestamp"].endswith("Z")


def run_on_a_terminal(service):
    """All that a run until empty writes to a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*SCRAPER, "--until-empty"],
        env={**service.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        cwd=service.folder,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, deadline = "", time.monotonic() + HANGS_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                shown += os.read(master, 1 << 16).decode(errors="replace")
            except OSError:  # the run has ended
                break
        return process.wait(HANGS_SECONDS), shown
    finally:
        process.kill()
        process.wait()
        os.close(master)


async def test_lines_of_the_supervisor_scroll_above_the_live_panel(service, site):
    """Each of them comes after the panel was wiped and before it is drawn again: never into it."""
    service.environment |= {"PREFETCH_COUNT": "2", "VLLM_MAX_CONCURRENT": "9"}  # both surprise, and are told
    await submit(service, *[site.url(f"/product/{number}") for number in range(1, 13)])
    code, shown = await asyncio.to_thread(run_on_a_terminal, service)
    assert code == 0, shown
    assert "12 tasks: 12 done" in shown
    assert shown.count("setting_warning") == 2
    for before in re.findall(r"([^╯]*?)setting_warning", shown):
        assert "╭" not in before
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
