import asyncio

import pytest

from scraper.pipeline.robots import (
    LIFE_SECONDS,
    MAX_BYTES,
    MAX_CRAWL_DELAY_SECONDS,
    MAX_ORIGINS,
    Found,
    Missing,
    Robots,
    Unreachable,
    parse,
    product_token,
)


class Site:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, origin):
        self.asked.append(origin)
        await self.gate.wait()
        return self.answer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [("scraper/0.1.0", "scraper"), ("ShopBot", "ShopBot"), ("Mozilla/5.0 (compatible; ShopBot/2.1; +https://a.com)", "ShopBot"),
     ("my-bot_2/1 (me@a.com)", "my-bot_2"), ("", "*"), ("(odd)", "*")],
)  # fmt: skip
def test_robots_txt_knows_a_crawler_by_its_product_token(user_agent, token):
    assert product_token(user_agent) == token


def test_the_group_of_our_own_name_counts_and_else_the_one_of_everybody():
    body = (
        b"User-agent: *\nDisallow: /\n\nUser-agent: scraper\nDisallow: /private\nAllow: /private/open\nCrawl-delay: 7\n"
    )
    rules = parse(body, token="scraper")
    assert rules.allows("https://a.com/page")
    assert not rules.allows("https://a.com/private/x?y=1")
    assert rules.allows("https://a.com/private/open/x")
    assert rules.crawl_delay_seconds == 7
    assert not parse(body, token="other").allows("https://a.com/page")


@pytest.mark.parametrize(
    ("said", "kept"), [("86400", MAX_CRAWL_DELAY_SECONDS), ("-1", 0), ("nan", 0), ("soon", 0), ("0.5", 0.5)]
)
def test_a_crawl_delay_is_bounded_and_nonsense_is_none(said, kept):
    assert parse(f"User-agent: *\nCrawl-delay: {said}".encode(), token="scraper").crawl_delay_seconds == kept


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe\x00", b"<html>not found</html>", b"\x00" * 100, b"Disallow: /\n" * 3, b"\r" * 1000]
)
def test_what_makes_no_sense_allows_everything(body):
    assert parse(body, token="scraper").allows("https://a.com/")


def test_a_byte_order_mark_hides_no_rule():
    assert not parse(b"\xef\xbb\xbfUser-agent: *\nDisallow: /", token="scraper").allows("https://a.com/")


def test_what_follows_the_first_500_kib_is_ignored():
    body = b"User-agent: *\n" + b"#\n" * (MAX_BYTES // 2) + b"Disallow: /\n"
    assert parse(body, token="scraper").allows("https://a.com/")


async def test_an_origin_is_asked_once_an_hour():
    site, clock = Site(Found(b"User-agent: *\nDisallow: /x")), Clock()
    robots = Robots(site, user_agent="scraper", clock=clock)
    assert not (await robots.of("https://a.com")).allows("https://a.com/x")
    await robots.of("https://a.com")
    await robots.of("http://a.com")
    assert site.asked == ["https://a.com", "http://a.com"]
    clock.now = LIFE_SECONDS
    await robots.of("https://a.com")
    assert len(site.asked) == 3


async def test_whoever_asks_at_the_same_time_waits_for_one_reading():
    site = Site(Missing())
    site.gate.clear()
    robots = Robots(site, user_agent="scraper", clock=Clock())
    waiting = [asyncio.create_task(robots.of("https://a.com")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one who gives up does not take the reading away from the others
    await asyncio.sleep(0)
    site.gate.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert all(rules.allows("https://a.com/x") for rules in done[1:])
    assert site.asked == ["https://a.com"]


async def test_an_unreachable_origin_is_left_alone_for_as_long_as_it_says():
    site, clock = Site(Unreachable("a.com: answered 503", 90.0)), Clock()
    robots = Robots(site, user_agent="scraper", clock=clock)
    await robots.of("https://a.com")
    clock.now = 30
    assert await robots.of("https://a.com") == Unreachable("a.com: answered 503", 60.0)
    clock.now = 90
    await robots.of("https://a.com")
    assert len(site.asked) == 2


async def test_the_memory_of_origins_is_bounded_and_keeps_those_in_use():
    site = Site(Missing())
    robots = Robots(site, user_agent="scraper", clock=Clock())
    for number in range(MAX_ORIGINS + 1):
        await robots.of(f"https://{number}.com")
        await robots.of("https://0.com")
    assert site.asked.count("https://0.com") == 1
    await robots.of("https://1.com")
    assert site.asked.count("https://1.com") == 2


async def test_closing_stops_a_reading_that_would_never_end():
    site = Site(Missing())
    site.gate.clear()
    robots = Robots(site, user_agent="scraper", clock=Clock())
    waiting = asyncio.create_task(robots.of("https://a.com"))
    await asyncio.sleep(0.0)
    await robots.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_large_robots_txt_means_the_same_as_a_small_one():
    site = Site(Found(b"#\n" * 50_000 + b"User-agent: *\nDisallow: /x"))
    robots = Robots(site, user_agent="scraper", clock=Clock())
    assert not (await robots.of("https://a.com")).allows("https://a.com/x")
