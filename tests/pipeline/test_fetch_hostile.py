"""Servers that mean harm, or are broken as if they did: every one ends in an error that says what happened."""

import asyncio
import gzip
import itertools
import struct
import tracemalloc
from functools import partial

import pytest

from scraper.errors import Held, Permanent, ScraperError, Transient
from scraper.models import ParkReason
from scraper.pipeline import awake, fetch
from tests.pipeline.local_web import answer
from tests.pipeline.test_fetch import browser, serve, web  # noqa: F401 - fixtures

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


def endless(start, piece, *, every=None):
    """A talk that begins with `start` and never stops saying `piece`."""

    async def talk(reader, writer):
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every or 0)

    return talk


def says(data, *, then_reset=False):
    async def talk(reader, writer):
        writer.write(data)
        await writer.drain()
        if then_reset:
            writer.get_extra_info("socket").setsockopt(*LINGER_NOT)
            writer.transport.abort()

    return talk


SOL_SOCKET, SO_LINGER = 1, 13
LINGER_NOT = (SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (says(b""), "closed the connection without an answer"),
        (says(b"", then_reset=True), "a.com: "),
        (says(OK + b"Content-Length: 1000\r\n\r\n<p>hello"), "the answer broke off"),
        (says(OK + b"Content-Length: 1000\r\n\r\n<p>hello", then_reset=True), "a.com: "),
        (says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), "the answer broke off"),
        (says(OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"), "a.com: "),
        (says(answer(b"<p>hello, world", length=8)), "the answer is not valid HTTP"),
        (says(b"SSH-2.0-OpenSSH_9.0\r\n\r\n"), "the answer is not valid HTTP"),
        (says(b"HTTP/1.1 abc OK\r\n\r\n"), "the answer is not valid HTTP"),
        (says(b"\x00" * 4096), "the answer is not valid HTTP"),
        (says(OK + b"Content-Length: -5\r\n\r\nhello"), "the answer is not valid HTTP"),
        (says(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), "the answer is not valid HTTP"),
        (says(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello" * 999)[:-20]), "cannot be unpacked"),
        (says(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8bnonsense" + b"x" * 999), "cannot be unpacked"),
    ],
)
async def test_a_broken_answer_is_worth_another_attempt(browser, serve, talk, message):  # noqa: F811 - fixtures
    async with serve({"/": talk}), browser() as get:
        with pytest.raises(Transient, match=message) as error:
            await get("http://a.com/")
        assert "hello" not in str(error.value)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "talk",
    [
        endless(b"", b"", every=5),
        endless(b"HTTP/1.1 200", b" ", every=1),
        endless(OK, b"X-Drip: 1\r\n", every=1),
        endless(OK + b"\r\n<html>", b"drip ", every=1),
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", every=1),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every=1),
        endless(OK + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b""), every=1),
    ],
)
async def test_a_site_that_never_finishes_is_left_after_the_time_limit(browser, serve, talk):  # noqa: F811 - fixtures
    async with serve({"/": talk}), browser(timeout_seconds=30) as get:
        started = asyncio.get_running_loop().time()
        with pytest.raises(Transient, match=r"a\.com: no complete answer within 30 s"):
            await get("http://a.com/")
        assert asyncio.get_running_loop().time() - started == pytest.approx(30, abs=1)


@pytest.mark.virtual_time
async def test_a_robots_txt_that_never_ends_does_not_hold_the_page_for_ever(browser, serve):  # noqa: F811 - fixtures
    async with serve({"/robots.txt": endless(OK + b"\r\n", b"#", every=1)}), browser() as get:
        with pytest.raises(Transient, match=r"robots\.txt cannot be read: a\.com: no complete answer within 15 s"):
            await get("http://a.com/")


@pytest.mark.virtual_time
async def test_waiting_for_a_turn_takes_nothing_from_the_time_limit(browser, serve):  # noqa: F811 - fixtures
    async with serve({"/": answer(b"late")}), browser(timeout_seconds=2, delay_seconds=4) as get:
        await get("http://a.com/")
        assert (await get("http://a.com/")).text == "late"
        assert get.trace.timings()["host_delay"] == pytest.approx(4, abs=0.1)


@pytest.mark.virtual_time
async def test_a_page_that_is_cancelled_goes_at_once(browser, serve):  # noqa: F811 - fixtures
    async with serve({"/": endless(OK + b"\r\n", b"x", every=1)}), browser() as get:
        task = asyncio.create_task(get("http://a.com/"))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() < 6


@pytest.mark.parametrize(
    "talk",
    [
        endless(OK, b"X-More: and more\r\n"),
        endless(OK, b"X-Long: " + b"y" * 65536),
        endless(b"HTTP/1.1 200 ", b"z" * 65536),
        says(OK + b"X-Huge: " + b"y" * 200_000 + b"\r\n\r\n<p>"),
    ],
)
async def test_headers_without_end_are_not_read(browser, serve, talk):  # noqa: F811 - fixtures
    async with serve({"/": talk}), browser() as get:
        reason, message = await get.refused("http://a.com/")
        assert reason is ParkReason.TOO_LARGE
        assert message == "a.com: the headers of the answer are larger than 200 headers, 32 KiB each"


@pytest.mark.parametrize(
    "talk",
    [
        endless(OK + b"\r\n<html>", b"and more " * 1000),
        says(OK + b"Content-Length: 99999999999\r\n\r\n<html>" + b"x" * 2000),
        says(OK + b"Content-Length: 100001\r\n\r\n<html>" + b"x" * 99_995),
        says(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"<p>" + b"x" * 50_000_000)),
        says(OK + b"Content-Encoding: gzip, gzip\r\n\r\n" + gzip.compress(gzip.compress(b"<p>" + b"x" * 50_000_000))),
    ],
)
async def test_more_than_the_limit_is_not_read(browser, serve, talk):  # noqa: F811 - fixtures
    async with serve({"/": talk}), browser(max_bytes=100_000) as get:
        tracemalloc.start()
        reason, message = await get.refused("http://a.com/")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (reason, message) == (
            ParkReason.TOO_LARGE,
            "a.com: the page is larger than 0.0954 MiB (FETCH_MAX_BYTES)",
        )
        assert peak < 3_000_000


async def test_a_page_of_exactly_the_limit_is_read(browser, serve):  # noqa: F811 - fixtures
    async with serve({"/": answer(b"x" * 100_000)}), browser(max_bytes=100_000) as get:
        assert len((await get("http://a.com/")).text) == 100_000


async def test_a_few_informational_answers_before_the_real_one_are_passed_over(browser, serve):  # noqa: F811 - fixtures
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with serve({"/": says(early + answer(b"real"))}), browser() as get:
        assert (await get("http://a.com/")).text == "real"


@pytest.mark.parametrize("status", [101, 199])
async def test_answers_that_no_page_ever_has_are_an_error(browser, serve, status):  # noqa: F811 - fixtures
    async with (
        serve({"/": says(b"HTTP/1.1 %d X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" % status)}),
        browser() as get,
    ):
        with pytest.raises(ScraperError, match=r"a\.com: "):
            await get("http://a.com/")


async def test_names_that_do_not_exist_and_hosts_that_are_down_are_tried_again(web, browser):  # noqa: F811 - fixtures
    async with browser(obey_robots=False) as get:
        with pytest.raises(Transient, match=r"nowhere\.com: the name cannot be resolved \(Name or service not known\)"):
            await get("http://nowhere.com/")
        with pytest.raises(Transient, match=r"a\.com: cannot be reached \(.*refused\)"):
            await get("http://a.com/")


async def test_the_systems_resolver_is_asked_where_no_other_is_given(browser):  # noqa: F811 - fixtures
    async with browser(resolve=None, obey_robots=False) as get:
        with pytest.raises(Transient, match=r"nowhere\.invalid: the name cannot be resolved"):
            await get("http://nowhere.invalid/")


@pytest.mark.parametrize("location", ["/ä?ö", "/\u20ac", "\\\\evil.com\\x", "/%zz", "?", "#", ""])
async def test_odd_redirects_end_in_a_page_or_an_error_of_ours(browser, serve, location):  # noqa: F811 - fixtures
    moved = b"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"
    async with serve({"/": says(moved)}), browser() as get:
        with pytest.raises((Permanent, Transient)):
            await get("http://a.com/")


async def test_random_bytes_never_surprise(browser, serve):  # noqa: F811 - fixtures
    seeds = itertools.count()

    async def talk(reader, writer):
        seed = next(seeds)
        noise = bytes((seed * 7919 + n * n * 31) % 256 for n in range(400))
        writer.write(
            [noise, OK + noise, OK + b"\r\n" + noise, OK + b"Content-Encoding: deflate\r\n\r\n" + noise][seed % 4]
        )
        await writer.drain()

    async with serve({"/": talk}), browser(obey_robots=False) as get:
        for _ in range(40):
            try:
                page = await get("http://a.com/")
            except ScraperError as error:
                assert str(error).startswith("a.com: ")  # noqa: PT017 - an error or a page, either is fine
            else:
                assert page.url == "http://a.com/"


def stand_still(seconds):
    """Nothing of this process goes on, as when it is stopped."""
    asyncio.get_running_loop().advance(seconds)


@pytest.mark.virtual_time
@pytest.mark.parametrize("path", ["/", "/robots.txt"])
async def test_a_process_that_was_stopped_past_its_time_limit_blames_no_site(path, browser, serve, monkeypatch):  # noqa: F811 - fixtures
    monkeypatch.setattr(fetch, "OVERSLEPT_SECONDS", 0.2)

    async def stop(reader, writer):
        stand_still(1.5)
        await asyncio.Event().wait()

    async with serve({path: stop}), browser(timeout_seconds=1.0) as get:
        with pytest.raises(Held, match="this process was stopped"):
            await get("http://a.com/")


@pytest.mark.virtual_time
@pytest.mark.parametrize("path", ["/", "/robots.txt"])
async def test_nor_where_its_time_limit_ended_just_after_it_was_woken(path, browser, serve, monkeypatch):  # noqa: F811 - fixtures
    monkeypatch.setattr(awake, "STOPPED_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "Awake", partial(awake.Awake, look_seconds=0.02))

    async def stop(reader, writer):
        stand_still(1.0)
        await asyncio.Event().wait()

    async with serve({path: stop}), browser(timeout_seconds=2.0) as get:
        with pytest.raises(Held, match="this process was stopped"):
            await get("http://a.com/")


@pytest.mark.virtual_time
async def test_a_site_that_is_silent_is_to_blame_where_this_process_was_stopped_before(browser, serve, monkeypatch):  # noqa: F811 - fixtures
    monkeypatch.setattr(awake, "STOPPED_SECONDS", 1.5)
    monkeypatch.setattr(fetch, "Awake", partial(awake.Awake, look_seconds=0.02))

    async def say_nothing(reader, writer):
        await asyncio.Event().wait()

    async with serve({"/": say_nothing}), browser(timeout_seconds=0.3) as get:
        stand_still(2.0)
        await asyncio.sleep(0.1)
        with pytest.raises(Transient):
            await get("http://a.com/")
