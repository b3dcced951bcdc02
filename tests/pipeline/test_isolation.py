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
from scraper.pipeline.clean_process import ANSWER, LARGE_BYTES, MEMORY_BYTES, MOST_CPU_SECONDS, QUESTION, cpu_seconds
from scraper.pipeline.isolation import LARGE_CHARS, MANY_TAGS, Cleaner, needs_child
from scraper.pipeline.structured.vocabulary import SOURCES

TASK = Task("t", {"type": "object", "properties": {"url": {"type": "string"}}}, "0" * 64)
PRODUCT = {"title": "Product", "type": "object", "properties": {"price": {"type": "number"}, "url": {"type": "string"}}}
LARGE = "<p>large <a href='/x'>page</a></p>\n" * 8000


def page(text, **options):
    return Page("https://e.example/", text, **options)


CHILD = """
import json, os, struct, sys, time

def question():
    head = sys.stdin.buffer.read(8)
    if len(head) < 8:
        sys.exit()  # as when the parent is gone
    options, page = struct.unpack(">II", head)
    return sys.stdin.buffer.read(options + page)[options:].decode()

def say(answer, is_last=False):
    sys.stdout.buffer.write(struct.pack(">?I", is_last, len(answer)) + answer)
    sys.stdout.buffer.flush()

def show(text, is_last=False):
    document = {"text": text, "title": "", "dropped": {}, "structured": [], "outline": ""}
    say(json.dumps(document).encode(), is_last)
"""


def program(tmp_path, code):
    path = tmp_path / "child.py"
    path.write_text(CHILD + textwrap.dedent(code))
    return [sys.executable, str(path)]


def noting(tmp_path, code):
    """A child that first writes down its process id, one per line."""
    noted = f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    return program(tmp_path, noted + textwrap.dedent(code))


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


async def cleaned(text, **options):
    async with Cleaner(**options) as cleaner:
        return await cleaner(page(text), TASK, suspect=True)


async def crash(text="x", **options):
    with pytest.raises(Permanent) as refused:
        await cleaned(text, **options)
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
    async with Cleaner() as cleaner:
        found = await cleaner(page(LARGE), TASK, suspect=False)
    assert found == clean(LARGE, base_url="https://e.example/", keep_links=True)
    assert "page (https://e.example/x)" in found.text


async def test_a_suspect_page_is_cleaned_in_a_child_and_an_ordinary_one_is_not(tmp_path):
    async with Cleaner(command=noting(tmp_path, "question(); show('from a child')")) as cleaner:
        assert (await cleaner(page("<p>x"), TASK, suspect=False)).text == "x"
        assert pids(tmp_path) == []
        assert (await cleaner(page("<p>x"), TASK, suspect=True)).text == "from a child"


async def test_what_no_child_can_answer_for_is_not_started_one_for(tmp_path):
    async with Cleaner(command=noting(tmp_path, "")) as cleaner:
        assert (await cleaner(page("a\tb", is_html=False), TASK, suspect=True)).text == "a b"
        with pytest.raises(Permanent, match="schema"):
            await cleaner(page(LARGE), Task("t", {}, "0" * 64), suspect=False)
    assert pids(tmp_path) == []


async def test_a_lone_surrogate_passes_to_the_child():
    assert (await cleaned("<p>a\ud800b")).text == "a?b"


PATIENT = """
    while True:
        show(f"{question()} {os.getpid()}")
"""


async def test_one_child_cleans_one_large_page_after_the_other(tmp_path):
    async with Cleaner(command=noting(tmp_path, PATIENT)) as cleaner:
        found = [(await cleaner(page(f"{number}"), TASK, suspect=True)).text for number in range(5)]
    assert [text.split() for text in found] == [[f"{number}", f"{pids(tmp_path)[0]}"] for number in range(5)]


async def test_the_pages_of_a_real_child_have_nothing_to_do_with_each_other():
    async with Cleaner() as cleaner:
        for text in ("<title>One</title><p hidden>a<p>one", "", LARGE, "<p>last"):
            found = await cleaner(page(text), TASK, suspect=True)
            assert found == clean(text, base_url="https://e.example/", keep_links=True)


async def test_a_child_that_has_grown_large_is_replaced(tmp_path):
    code = "show(question()); show(question(), is_last=True); time.sleep(1000)"
    async with Cleaner(command=noting(tmp_path, code)) as cleaner:
        for number in range(5):
            assert (await cleaner(page(f"{number}"), TASK, suspect=True)).text == f"{number}"
        assert len(pids(tmp_path)) == 3
        assert not any(is_there(pid) for pid in pids(tmp_path)[:2])


async def test_a_child_that_died_while_it_waited_costs_its_next_page_nothing(tmp_path):
    async with Cleaner(command=noting(tmp_path, PATIENT)) as cleaner:
        for number in range(3):
            assert (await cleaner(page(f"{number}"), TASK, suspect=True)).text.startswith(f"{number} ")
            os.kill(pids(tmp_path)[-1], signal.SIGKILL)
    assert len(pids(tmp_path)) == 3


async def test_a_child_that_is_not_needed_is_let_go(tmp_path):
    async with Cleaner(command=noting(tmp_path, PATIENT), idle_seconds=0) as cleaner, asyncio.timeout(300):
        assert await cleaner(page("x"), TASK, suspect=True)
        await until(lambda: not is_there(pids(tmp_path)[0]))
        assert await cleaner(page("x"), TASK, suspect=True)
    assert len(pids(tmp_path)) == 2


async def test_no_child_stays_behind_its_cleaner(tmp_path):
    async with Cleaner(command=noting(tmp_path, PATIENT)) as cleaner:
        await asyncio.gather(*(cleaner(page("x"), TASK, suspect=True) for _ in range(4)))
        assert 1 <= len(pids(tmp_path)) <= 2
        assert all(is_there(pid) for pid in pids(tmp_path))
    assert not any(is_there(pid) for pid in pids(tmp_path))


async def test_a_page_that_kills_its_child_is_tried_once_more_and_then_parked(tmp_path):
    died = await crash(command=noting(tmp_path, "import signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert died == "cleaning the page ended with signal 11, in a process of its own, 2 times"
    assert len(pids(tmp_path)) == 2


async def test_a_page_that_kills_its_child_costs_no_other_page_anything(tmp_path):
    code = """
        while True:
            page = question()
            if page == "deadly":
                os.abort()
            show(page)
    """
    async with Cleaner(command=noting(tmp_path, code)) as cleaner:
        pages = ["a", "deadly", "b", "deadly", "c", "d"]
        found = await asyncio.gather(
            *(cleaner(page(each), TASK, suspect=True) for each in pages), return_exceptions=True
        )
    assert ["deadly" if isinstance(each, Permanent) else each.text for each in found] == pages


async def test_a_page_that_takes_its_child_too_much_time_is_not_tried_again(tmp_path):
    code = """
        import scraper.pipeline.clean_process as c
        c.bound()
        c.allow(1)
        question()
        while True:
            pass
    """
    died = await crash(command=noting(tmp_path, code), seconds=300)
    assert died == (
        "cleaning the page took more than 2 s of processor time, the most for a page of 1 bytes, in a process of its own"
    )
    assert len(pids(tmp_path)) == 1


async def test_a_page_that_would_take_half_a_minute_is_ended_by_the_limit_on_time():
    html = f"<div {' '.join(f'a{number}' for number in range(140_000))}>"
    died = await crash(html, seconds=300)
    assert died.startswith(f"cleaning the page took more than {cpu_seconds(len(html))} s of processor time")
    assert "times" not in died


async def test_a_page_that_takes_too_much_memory_is_not_tried_again():
    died = await crash(left_open(3000, 3000), seconds=300)
    assert died.startswith("cleaning the page took more than ")
    assert "times" not in died


async def test_a_child_that_dies_once_costs_nothing(tmp_path):
    code = f"""
        if open({str(tmp_path / "pids")!r}).read().count("\\n") == 1:
            sys.exit(3 + 1)
        question()
        show("second")
    """
    assert (await cleaned("x", command=noting(tmp_path, code))).text == "second"


@pytest.mark.parametrize("answer", ["", "no json", "{no json", "[]", '{"text": 3}'])
async def test_a_child_that_answers_nonsense_counts_as_dead(answer, tmp_path):
    assert "nonsense" in await crash(command=program(tmp_path, f"question(); say({answer.encode()!r})"))


async def test_a_child_that_answers_without_end_counts_as_dead(tmp_path):
    code = (
        "question(); sys.stdout.buffer.write(struct.pack('>?I', False, 1 << 31)); sys.stdout.flush(); time.sleep(1000)"
    )
    assert "gave more than" in await crash(command=program(tmp_path, code))


async def test_a_child_that_ends_without_an_answer_counts_as_dead(tmp_path):
    assert "ended with exit code 0" in await crash(command=program(tmp_path, "question()"))


async def test_a_page_waits_where_the_machine_can_start_no_process(tmp_path):
    with pytest.raises(Held, match="no process to clean a page could be started"):
        await cleaned("x", command=[str(tmp_path / "missing")])


async def test_a_page_waits_where_the_machine_has_no_file_left():
    await cleaned("x")  # all that is opened once is open
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
    try:
        with pytest.raises(Held, match="Too many open files"):
            await cleaned("x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_child_that_hangs_is_killed(tmp_path):
    died = await crash(command=noting(tmp_path, "import time; time.sleep(1000)"), seconds=0.3)
    assert "took more than 0.3 s" in died
    assert not any(is_there(pid) for pid in pids(tmp_path))


async def test_a_cancelled_task_leaves_no_child_behind(tmp_path):
    async with Cleaner(command=noting(tmp_path, "time.sleep(1000)")) as cleaner, asyncio.timeout(300):
        cleaning = asyncio.create_task(cleaner(page(LARGE), TASK, suspect=True))
        await until(lambda: pids(tmp_path))
        cleaning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cleaning
        assert not is_there(pids(tmp_path)[0])


async def test_no_more_children_run_at_once_than_allowed(tmp_path):
    async with Cleaner(children=1, command=noting(tmp_path, "time.sleep(1000)")) as cleaner, asyncio.timeout(300):
        cleanings = [asyncio.create_task(cleaner(page("x"), TASK, suspect=True)) for _ in range(3)]
        await until(lambda: len(pids(tmp_path)) == 1)
        cleanings[0].cancel()
        await until(lambda: len(pids(tmp_path)) == 2)
        first, second = pids(tmp_path)
        assert not is_there(first)
        assert is_there(second)
        for each in cleanings:
            each.cancel()
        await asyncio.gather(*cleanings, return_exceptions=True)


async def test_a_child_sees_no_secret_no_open_file_and_no_terminal_signal(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "SECRET")
    opened = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(opened, True)  # noqa: FBT003 it takes no keywords
    code = f"""
        try:
            is_open = os.fstat({opened}) is not None
        except OSError:
            is_open = False
        question()
        show(f"{{'SECRET' in str(os.environ)}} {{is_open}} {{os.getsid(0) == os.getpid()}}")
    """
    found = await cleaned("x", command=program(tmp_path, code))
    os.close(opened)
    assert found.text == "False False True"


async def test_the_child_bounds_its_own_memory_and_time():
    code = (
        "import resource, scraper.pipeline.clean_process as c\n"
        "c.bound()\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_AS)[0])"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    seconds, memory = map(int, output.split())
    assert MOST_CPU_SECONDS < seconds <= MOST_CPU_SECONDS + 5  # what its start took is not the page's
    assert memory == MEMORY_BYTES


@pytest.mark.parametrize("half", [b"", b"\0", QUESTION.pack(2, 1000) + b"{}half a pa"], ids=["idle", "head", "page"])
async def test_a_child_whose_parent_died_ends_by_itself(half):
    command = [sys.executable, "-m", "scraper.pipeline.clean_process"]
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdin is not None
    child.stdin.write(half)
    child.stdin.close()  # as when the parent is gone
    assert await child.wait() == 0


@pytest.mark.parametrize(
    ("html", "is_last"), [(b"<p>x", False), (b"<table>" + b"<td>x" * 800_000, True)], ids=["small", "large"]
)
async def test_a_page_after_which_a_child_is_large_is_its_last(html, is_last):
    held = bytearray(LARGE_BYTES + 1)  # what its parent needs does not count
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scraper.pipeline.clean_process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    del held
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(QUESTION.pack(2, len(html)) + b"{}" + html)
    said_last, size = ANSWER.unpack(await child.stdout.readexactly(ANSWER.size))
    assert said_last is is_last
    await child.stdout.readexactly(size)
    if not is_last:
        child.stdin.close()
    assert await child.wait() == 0


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
    async with Cleaner(read_data=True) as cleaner:
        found = await cleaner(page(html), replace(TASK, schema=PRODUCT), suspect=False)
    assert found == clean(html, base_url="https://e.example/", keep_links=True, data_from=SOURCES)
    assert found.structured[1]["value"] == {"@type": ["Product"], "name": "Kettle"}
