import asyncio
import os
import resource
import signal
import sys
import textwrap
from dataclasses import replace

import pytest

from scraper.errors import Held, Permanent
from scraper.models import Page, ParkReason, Task
from scraper.pipeline.clean import clean
from scraper.pipeline.clean_process import CPU_SECONDS, MEMORY_BYTES
from scraper.pipeline.isolation import LARGE_CHARS, MANY_TAGS, Cleaner, needs_child
from scraper.pipeline.structured.vocabulary import SOURCES

TASK = Task("t", {"type": "object", "properties": {"url": {"type": "string"}}}, "0" * 64)
PRODUCT = {"title": "Product", "type": "object", "properties": {"price": {"type": "number"}, "url": {"type": "string"}}}
LARGE = "<p>large <a href='/x'>page</a></p>\n" * 8000


def page(text, **options):
    return Page("https://e.example/", text, **options)


def program(tmp_path, code):
    path = tmp_path / "child.py"
    path.write_text(textwrap.dedent(code))
    return [sys.executable, str(path)]


def noting(tmp_path, code):
    """A child that first writes down its process id, one per line."""
    return program(
        tmp_path,
        f"import os\nopen({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')\n{textwrap.dedent(code)}",
    )


def pids(tmp_path):
    path = tmp_path / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition):
    while not condition():  # noqa: ASYNC110 another process brings it about
        await asyncio.sleep(0.01)


async def crash(cleaner):
    with pytest.raises(Permanent) as refused:
        await cleaner(page("x"), TASK, suspect=True)
    assert refused.value.reason is ParkReason.CRASH_LOOP
    return str(refused.value)


def left_open(tags, paragraphs, *, tag="<b>"):
    """What is open when a paragraph ends is opened again in the next: tags × paragraphs elements, if they differ."""
    opened = "".join(f"{tag[:-1]} id={number}>" for number in range(tags))
    return f"<p>{opened}</p>{'<p>x</p>' * paragraphs}"


MULTIPLYING = [
    left_open(500, 500),
    left_open(500, 500, tag="<FONT>"),
    left_open(1900, 1900, tag="<strong>"),
    "</b>" * 2000 + left_open(500, 500),  # ends that end nothing must not hide it
]


@pytest.mark.parametrize(
    "html",
    [
        "x" * (LARGE_CHARS + 1),
        "<b>" * (MANY_TAGS + 1),
        "<div>" * 9000,
        "<ul>" * 9000 + "</ul>" * 9000,
        f"<div {' '.join(f'a{n}' for n in range(12_000))}>",
        *MULTIPLYING,
    ],
    ids=lambda html: html[:20],
)
def test_pages_that_may_take_long_need_a_child(html):
    assert needs_child(html)


@pytest.mark.parametrize("html", ["", "<p>x", "<li>x</li>" * 9000, "<p><b>x</b></p>" * 3000, left_open(20, 3000)])
def test_ordinary_pages_need_none(html):
    assert not needs_child(html)


async def test_a_large_page_is_cleaned_in_a_child_as_it_would_be_here():
    found = await Cleaner()(page(LARGE), TASK, suspect=False)
    assert found == clean(LARGE, base_url="https://e.example/", keep_links=True)
    assert "page (https://e.example/x)" in found.text


async def test_a_suspect_page_is_cleaned_in_a_child_and_an_ordinary_one_is_not(tmp_path):
    cleaner = Cleaner(
        command=noting(
            tmp_path, 'print(\'{"text": "from a child", "title": "", "dropped": {}, "structured": [], "outline": ""}\')'
        )
    )
    assert (await cleaner(page("<p>x"), TASK, suspect=False)).text == "x"
    assert pids(tmp_path) == []
    assert (await cleaner(page("<p>x"), TASK, suspect=True)).text == "from a child"


async def test_what_no_child_can_answer_for_is_not_started_one_for(tmp_path):
    cleaner = Cleaner(command=noting(tmp_path, ""))
    assert (await cleaner(page("a\tb", is_html=False), TASK, suspect=True)).text == "a b"
    with pytest.raises(Permanent, match="schema"):
        await cleaner(page(LARGE), Task("t", {}, "0" * 64), suspect=False)
    assert pids(tmp_path) == []


async def test_a_lone_surrogate_passes_to_the_child():
    assert (await Cleaner()(page("<p>a\ud800b"), TASK, suspect=True)).text == "a?b"


async def test_a_page_that_kills_its_child_is_tried_once_more_and_then_parked(tmp_path):
    cleaner = Cleaner(command=noting(tmp_path, "import signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert await crash(cleaner) == "cleaning the page ended with signal 11, in a process of its own, 2 times"
    assert len(pids(tmp_path)) == 2


async def test_a_child_that_dies_once_costs_nothing(tmp_path):
    code = f"""
        import sys
        if open({str(tmp_path / "pids")!r}).read().count("\\n") == 1:
            sys.exit(3)
        print('{{"text": "second", "title": "", "dropped": {{}}, "structured": [], "outline": ""}}')
    """
    assert (await Cleaner(command=noting(tmp_path, code))(page("x"), TASK, suspect=True)).text == "second"


@pytest.mark.parametrize("code", ["", "print('no json')", "print('{no json')", "print('[]')", "print('{\"text\": 3}')"])
async def test_a_child_that_answers_nonsense_counts_as_dead(code, tmp_path):
    assert "nonsense" in await crash(Cleaner(command=program(tmp_path, code)))


async def test_a_page_waits_where_the_machine_can_start_no_process(tmp_path):
    with pytest.raises(Held, match="no process to clean a page could be started"):
        await Cleaner(command=[str(tmp_path / "missing")])(page("x"), TASK, suspect=True)


async def test_a_page_waits_where_the_machine_has_no_file_left():
    await Cleaner()(page("x"), TASK, suspect=True)  # all that is opened once is open
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
    try:
        with pytest.raises(Held, match="Too many open files"):
            await Cleaner()(page("x"), TASK, suspect=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_child_that_hangs_is_killed(tmp_path):
    cleaner = Cleaner(command=noting(tmp_path, "import time; time.sleep(1000)"), seconds=0.3)
    assert "took more than 0.3 s" in await crash(cleaner)
    assert not any(is_there(pid) for pid in pids(tmp_path))


async def test_a_cancelled_task_leaves_no_child_behind(tmp_path):
    cleaner = Cleaner(command=noting(tmp_path, "import time; time.sleep(1000)"))
    cleaning = asyncio.create_task(cleaner(page(LARGE), TASK, suspect=True))
    async with asyncio.timeout(300):
        await until(lambda: pids(tmp_path))
        cleaning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cleaning
    assert not is_there(pids(tmp_path)[0])


async def test_no_more_children_run_at_once_than_allowed(tmp_path):
    cleaner = Cleaner(children=1, command=noting(tmp_path, "import time; time.sleep(1000)"))
    cleanings = [asyncio.create_task(cleaner(page("x"), TASK, suspect=True)) for _ in range(3)]
    async with asyncio.timeout(300):
        await until(lambda: len(pids(tmp_path)) == 1)
        cleanings[0].cancel()
        await until(lambda: len(pids(tmp_path)) == 2)
        first, second = pids(tmp_path)
        assert not is_there(first)
        assert is_there(second)
        for each in cleanings:
            each.cancel()
        await asyncio.gather(*cleanings, return_exceptions=True)


async def test_a_child_sees_no_secret_and_no_terminal_signal(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "SECRET")
    code = """
        import json, os
        told = f"{'SECRET' in str(os.environ)} {os.getsid(0) == os.getpid()}"
        print(json.dumps({"text": told, "title": "", "dropped": {}, "structured": [], "outline": ""}))
    """
    found = await Cleaner(command=program(tmp_path, code))(page("x"), TASK, suspect=True)
    assert found.text == "False True"


async def test_the_child_bounds_its_own_memory_and_time():
    code = (
        "import resource, scraper.pipeline.clean_process as c\n"
        "c.bound()\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_AS)[0])"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    assert output.split() == [str(CPU_SECONDS).encode(), str(MEMORY_BYTES).encode()]


async def test_a_child_whose_parent_died_ends_by_itself():
    command = [sys.executable, "-m", "scraper.pipeline.clean_process"]
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(b'{"html": "half a pa')
    child.stdin.close()  # as when the parent is gone
    assert await child.wait() == 1


async def test_a_child_is_lean():
    code = "import sys, scraper.pipeline.clean_process, scraper.pipeline.clean; print(*sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    assert not {b"asyncio", b"pydantic", b"httpx", b"jsonschema_rs", b"aio_pika"} & set(output.split())


async def test_sigterm_for_the_whole_group_does_not_kill_a_child_at_work(tmp_path):
    code = "import os, signal, scraper.pipeline.clean_process as c; c.bound(); os.kill(os.getpid(), signal.SIGTERM)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await child.wait() == 0
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN


async def test_what_a_page_says_for_machines_comes_out_of_the_child_too():
    html = '<script type="application/ld+json">{"@type": "Product", "name": "Kettle"}</script>' + LARGE
    found = await Cleaner(read_data=True)(page(html), replace(TASK, schema=PRODUCT), suspect=False)
    assert found == clean(html, base_url="https://e.example/", keep_links=True, data_from=SOURCES)
    assert found.structured[1]["value"] == {"@type": ["Product"], "name": "Kettle"}
