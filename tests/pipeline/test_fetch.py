import asyncio
import contextlib
import gzip
import sqlite3
import ssl
import time
from pathlib import Path

import pytest

from scraper.errors import Held, Permanent, Transient
from scraper.models import Page, ParkReason
from scraper.pipeline.fetch import Fetcher
from scraper.trace import Trace
from tests.pipeline.local_web import OTHER_PUBLIC, PUBLIC, LocalWeb, Site, answer, redirect

TLS = Path(__file__).parent / "tls"


@pytest.fixture
async def web():
    with LocalWeb().connected() as web:
        web.names = {"a.com": [PUBLIC], "b.com": [OTHER_PUBLIC]}
        yield web


class Browser:
    """A fetcher and what it noted down last."""

    def __init__(self, fetcher):
        self.fetcher = fetcher

    async def __call__(self, url):
        self.trace = Trace(clock=asyncio.get_running_loop().time)
        return await self.fetcher.fetch(url, trace=self.trace)

    async def refused(self, url):
        with pytest.raises(Permanent) as error:
            await self(url)
        return error.value.reason, str(error.value)


@pytest.fixture
def browser(web, tmp_path):
    """A fetcher without delays, unless asked for otherwise."""

    @contextlib.asynccontextmanager
    async def browser(**settings):
        settings = {"delay_seconds": 0.0, "run_dir": tmp_path, "resolve": web.resolve, **settings}
        async with Fetcher(**settings) as fetcher:
            yield Browser(fetcher)

    return browser


@pytest.fixture
def serve(web):
    @contextlib.asynccontextmanager
    async def serve(pages, at=PUBLIC, **settings):
        async with Site(pages, **settings) as site:
            web.sites[at] = site
            yield site

    return serve


async def test_a_page_arrives_decoded_with_its_address(browser, serve):
    async with (
        serve({"/x?y=1": answer("<p>Größe".encode("cp1252"), content_type="text/html; charset=iso-8859-1")}),
        browser() as get,
    ):
        assert await get("http://A.com./x?y=1#part") == Page("http://a.com/x?y=1", "<p>Größe", is_html=True)
        assert get.trace.url == "http://a.com/x?y=1"


async def test_plain_text_is_a_page_that_is_not_html(browser, serve):
    async with serve({"/": answer(b"words", content_type="text/plain")}), browser() as get:
        assert await get("http://a.com/") == Page("http://a.com/", "words", is_html=False)


async def test_what_is_sent_names_the_sender_and_asks_for_what_can_be_unpacked(browser, serve):
    async with serve({"/": answer()}) as site, browser(user_agent="shopbot/1 (+me@a.com)") as get:
        await get("http://a.com/")
        assert site.asked == ["/robots.txt", "/"]
        sent = site.headers[1]
        assert sent["user-agent"] == "shopbot/1 (+me@a.com)"
        assert sent["host"] == "a.com"
        assert sent["accept-encoding"] == "gzip, deflate"
        assert not {"cookie", "authorization", "referer"} & sent.keys()


async def test_escapes_in_an_address_go_out_as_they_are(browser, serve):
    path = "/a%2Cb%7e;c='d'?q=%2C%27+%41&sig=a%2Fb%3D"
    async with serve({path: answer()}), browser() as get:
        assert (await get(f"http://a.com{path}")).url == f"http://a.com{path}"


async def test_a_packed_page_is_unpacked(browser, serve):
    async with serve({"/": answer(gzip.compress(b"<p>hello" * 999), Content_Encoding="gzip")}), browser() as get:
        assert (await get("http://a.com/")).text == "<p>hello" * 999


async def test_a_large_page_is_decoded_as_well(browser, serve):
    async with serve({"/": answer("ä".encode() * 500_000)}), browser() as get:
        assert (await get("http://a.com/")).text == "ä" * 500_000


async def test_pages_fetched_at_once_do_not_disturb_each_other(browser, serve):
    async with serve({f"/{n}": answer(b"%d" % n) for n in range(20)}) as site, browser() as get:
        pages = await asyncio.gather(*(Browser(get.fetcher)(f"http://a.com/{n}") for n in range(20)))
        assert [page.text for page in pages] == [str(n) for n in range(20)]
        assert site.count("/robots.txt") == 1


# Addresses


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://127.1/", "http://[::1]/", "http://[::ffff:7f00:1]/",
     "http://[fe80::1%25eth0]/", "http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://localhost./", "http://x.localhost:8000/",
     "file:///etc/passwd", "ftp://a.com/", "gopher://a.com/", "data:text/html,x", "javascript:alert(1)", "//a.com/", "a.com", "", "http://", "http:///x",
     "http://a.com:22/", "http://a.com:0/", "http://a.com:99999/", "http://a.com:port/", "http://user:pw@a.com/", "http://user@a.com/",
     "http://exa mple.com/", "http://a..com/", "http://%31%32%37.0.0.1/", "http://a.com\\@127.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://[::1", "http://a.com/\x00",
     "http://xn--/", "http://xn--a/", "http://a.com/" + "x" * 9000, "\ud800", "http://[64:ff9b::7f00:1]/"],
)  # fmt: skip
async def test_addresses_that_must_not_be_fetched_are_refused_before_anything_is_dialled(web, browser, url):
    async with browser() as get:
        reason, message = await get.refused(url)
        assert reason is ParkReason.REFUSED_ADDRESS
        assert "pw" not in message
        assert "user:" not in message
        assert get.trace.url is None
    assert web.dialled == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200", "::1", "::ffff:127.0.0.1", "fe80::1%lo"]
)
async def test_a_public_name_at_a_private_address_is_refused(web, browser, address):
    web.names["evil.com"] = [address]
    async with browser() as get:
        reason, message = await get.refused("http://evil.com/")
    assert reason is ParkReason.REFUSED_ADDRESS
    assert message.startswith("evil.com is at ")
    assert web.dialled == []


async def test_a_name_that_changes_its_answer_is_still_dialled_where_it_was_checked(web, browser, serve):
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    web.names["evil.com"] = lambda: next(answers)
    async with serve({"/": answer(b"public")}), browser(obey_robots=False) as get:
        assert (await get("http://evil.com/")).text == "public"
        assert web.dialled == [(PUBLIC, 80)]
        reason, _ = await get.refused("http://evil.com/")  # resolved anew, checked anew
        assert reason is ParkReason.REFUSED_ADDRESS
        assert web.dialled == [(PUBLIC, 80)]


async def test_a_name_that_changes_its_answer_after_robots_txt_is_refused(web, browser, serve):
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    web.names["evil.com"] = lambda: next(answers)
    async with serve({}), browser() as get:
        reason, _ = await get.refused("http://evil.com/")
    assert reason is ParkReason.REFUSED_ADDRESS
    assert web.dialled == [(PUBLIC, 80)]


async def test_only_the_public_ones_of_mixed_addresses_are_dialled(web, browser, serve):
    web.names["a.com"] = ["10.0.0.1", PUBLIC, "::1"]
    async with serve({"/": answer()}), browser(obey_robots=False) as get:
        await get("http://a.com/")
    assert web.dialled == [(PUBLIC, 80)]


async def test_the_next_address_is_dialled_where_the_first_does_not_answer(web, browser, serve):
    web.names["a.com"] = [OTHER_PUBLIC, PUBLIC]
    async with serve({"/": answer()}), browser(obey_robots=False) as get:
        await get("http://a.com/")
    assert web.dialled == [(OTHER_PUBLIC, 80), (PUBLIC, 80)]


async def test_no_socket_is_made_for_an_address_of_ones_own_network_however_it_was_come_by(browser, web, monkeypatch):
    web.names["a.com"] = ["127.0.0.1"]
    monkeypatch.setattr("scraper.pipeline.fetch_wire.dialable", lambda found, **_: found)
    async with browser() as get:
        assert (await get.refused("http://a.com/"))[0] is ParkReason.REFUSED_ADDRESS
    assert web.dialled == []


async def test_ones_own_network_is_fetched_from_where_the_owner_allows_it(tmp_path):
    async with (
        Site({"/": answer(b"mine")}) as site,
        Fetcher(run_dir=tmp_path, delay_seconds=0, allow_private_addresses=True) as fetcher,
    ):
        for host in ("127.0.0.1", "localhost"):  # the second through the system's resolver
            url = f"http://{host}:{site.address[1]}/"
            assert (await fetcher.fetch(url, trace=Trace(clock=time.monotonic))).text == "mine"


# TLS


def served_with_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "shop.pem")
    return context


async def test_a_certificate_is_checked_against_the_name_and_not_the_address(web, browser, serve):
    trusting = ssl.create_default_context(cafile=TLS / "authority.pem")
    web.names |= {"shop.example.com": [PUBLIC], "evil.example.com": [PUBLIC]}
    async with serve({"/": answer(b"safe")}, tls=served_with_tls()), browser(tls=trusting, obey_robots=False) as get:
        assert (await get("https://shop.example.com/")).text == "safe"
        with pytest.raises(
            Transient, match=r"evil\.example\.com: its TLS certificate is not valid \(Hostname mismatch"
        ):
            await get("https://evil.example.com/")


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(web, browser, serve):
    web.names["shop.example.com"] = [PUBLIC]
    async with serve({"/": answer()}, tls=served_with_tls()), browser(obey_robots=False) as get:
        with pytest.raises(Transient, match="TLS certificate is not valid"):
            await get("https://shop.example.com/")


async def test_an_https_address_of_a_server_that_speaks_plain_http_is_parked_with_what_to_write(browser, serve):
    async def greet(reader, writer):
        writer.write(answer())
        await writer.drain()

    async with serve({"": greet}), browser() as get:
        with pytest.raises(
            Permanent, match=r"a\.com: does not speak https at port 443; is it an http:// address?"
        ) as it:
            await get("https://a.com/")
    assert it.value.reason is ParkReason.PAGE_GONE


async def test_a_tls_greeting_that_is_refused_is_a_connection_problem(browser, serve):
    async def refuse(reader, writer):
        await reader.read(100)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # an alert: handshake failure
        await writer.drain()

    async with serve({"": refuse}), browser(obey_robots=False) as get:
        with pytest.raises(Transient, match=r"a\.com: no TLS connection can be made"):
            await get("https://a.com/")


async def test_an_http_address_at_a_port_for_https_is_parked_with_what_to_write(browser, serve):
    async with serve({"/": answer(b"The plain HTTP request was sent to HTTPS port", status=400)}), browser() as get:
        with pytest.raises(Permanent, match=r"a\.com: answered 400; is it an https:// address\?"):
            await get("http://a.com:8443/")
        with pytest.raises(Permanent, match=r"a\.com: answered 400$"):
            await get("http://a.com/")


@pytest.mark.virtual_time
async def test_a_server_that_never_finishes_the_tls_handshake_is_left(browser, serve):
    async with serve({"/": answer()}), browser(obey_robots=False) as get:
        with pytest.raises(Transient, match=r"a\.com: no connection within 10 s"):
            await get("https://a.com/")


# Redirects


async def test_a_redirect_is_followed_and_the_page_bears_its_last_address(browser, serve):
    pages = {"/1": redirect("2?x#y", 301), "/2?x": redirect("//b.com/3", 307)}
    async with serve(pages), serve({"/3": answer(b"there")}, at=OTHER_PUBLIC), browser() as get:
        assert await get("http://a.com/1") == Page("http://b.com/3", "there", is_html=True)
        assert get.trace.url == "http://b.com/3"


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://user:pw@a.com/", "http://169.254.169.254/latest/", "http://localhost/", "http://[::1]/", "http://127.1/",
     "gopher://a.com/", "http://a.com:22/", "http://private.com/", "javascript:x", "http://[x", "http://a.com/" + "y" * 9000],
)  # fmt: skip
async def test_a_redirect_to_a_refused_address_is_not_followed(web, browser, serve, location):
    web.names["private.com"] = ["192.168.1.1"]
    async with serve({"/": redirect(location)}), browser(obey_robots=False) as get:
        reason, message = await get.refused("http://a.com/")
        assert reason is ParkReason.REFUSED_ADDRESS
        assert "pw" not in message
        assert web.dialled == [(PUBLIC, 80)]


async def test_redirects_in_a_circle_are_noticed(browser, serve):
    async with serve({"/1": redirect("/2"), "/2": redirect("/1")}) as site, browser() as get:
        reason, message = await get.refused("http://a.com/1")
        assert (reason, message) == (ParkReason.REDIRECTS, "a.com: the redirects go round in a circle")
        assert site.asked == ["/robots.txt", "/1", "/2"]


async def test_ten_redirects_are_followed_and_no_more(browser, serve):
    pages = {f"/{n}": redirect(f"/{n + 1}") for n in range(50)} | {"/11": answer(b"far")}
    async with serve(pages) as site, browser(obey_robots=False) as get:
        assert (await get("http://a.com/1")).text == "far"
        site.asked.clear()
        assert (await get.refused("http://a.com/0"))[0] is ParkReason.REDIRECTS
        assert len(site.asked) == 11


async def test_a_redirect_without_a_place_is_permanent(browser, serve):
    async with serve({"/": answer(b"", status=302)}), browser() as get:
        assert (await get.refused("http://a.com/"))[0] is ParkReason.REDIRECTS


@pytest.mark.parametrize("cookie", ["seen=1", "city=Zürich", "city=北京"])
async def test_a_site_that_redirects_until_its_cookie_comes_back_gets_it_and_the_next_page_does_not(
    browser, serve, cookie
):
    async def door(reader, writer):
        known = cookie in site.headers[-1].get("cookie", "").encode("latin-1").decode()
        writer.write(answer(b"in") if known else redirect("/", Set_Cookie=f"{cookie}; Path=/"))
        await writer.drain()

    async with serve({"/": door, "/next": answer()}) as site, browser() as get:
        assert (await get("http://a.com/")).text == "in"
        await get("http://a.com/next")
        assert "cookie" not in site.headers[-1]


async def test_cookies_that_no_browser_keeps_are_passed_over(browser, serve, recwarn):
    odd = ["a=1; max-age=" + "9" * 400, "b=" + "v" * 5000, "c=\xff\x01; domain=\xff; expires=Wed, 99 Foo 9" + "9" * 30]
    head = "HTTP/1.1 302 X\r\nLocation: /in\r\nContent-Length: 0\r\n"
    cookies = "".join(f"Set-Cookie: {each}\r\n" for each in [*odd, *(f"n{number}=1" for number in range(150))])

    async def flood(reader, writer):
        writer.write(f"{head}{cookies}\r\n".encode("latin-1"))
        await writer.drain()

    async with serve({"/": flood, "/in": answer(b"in")}) as site, browser() as get:
        assert (await get("http://a.com/")).text == "in"
    kept = site.headers[-1]["cookie"].split("; ")
    assert kept[-1] == "n47=1"
    assert len(kept) <= 50
    assert not recwarn.list


async def test_a_cookie_goes_to_no_other_site(browser, serve):
    leak = redirect("http://b.com/", Set_Cookie="secret=1; Domain=b.com")
    async with serve({"/": leak}), serve({"/": answer()}, at=OTHER_PUBLIC) as other, browser() as get:
        await get("http://a.com/")
        assert "cookie" not in other.headers[-1]


# robots.txt


async def test_what_robots_txt_forbids_is_not_fetched(browser, serve):
    rules = answer(b"User-agent: *\nDisallow: /private", content_type="text/plain")
    async with serve({"/robots.txt": rules, "/ok": answer()}) as site, browser() as get:
        await get("http://a.com/ok")
        reason, message = await get.refused("http://a.com/private/x")
        assert (reason, message) == (ParkReason.ROBOTS, "a.com: its robots.txt asks not to fetch this page")
        assert site.asked == ["/robots.txt", "/ok"]


async def test_a_redirect_leads_nowhere_that_robots_txt_forbids(browser, serve):
    rules = answer(b"User-agent: *\nDisallow: /")
    async with (
        serve({"/": redirect("http://b.com/x")}),
        serve({"/robots.txt": rules}, at=OTHER_PUBLIC) as other,
        browser() as get,
    ):
        assert (await get.refused("http://a.com/"))[0] is ParkReason.ROBOTS
        assert other.asked == ["/robots.txt"]


async def test_robots_txt_can_be_ignored_on_ones_own_sites(browser, serve):
    async with (
        serve({"/robots.txt": answer(b"User-agent: *\nDisallow: /"), "/": answer()}) as site,
        browser(obey_robots=False) as get,
    ):
        await get("http://a.com/")
        assert site.asked == ["/"]


@pytest.mark.parametrize(
    "robots", [answer(b"", status=404), answer(b"", status=403), redirect("/robots.txt"), redirect("http://127.0.0.1/")]
)
async def test_a_robots_txt_that_does_not_exist_forbids_nothing(browser, serve, robots):
    async with serve({"/robots.txt": robots, "/": answer()}), browser() as get:
        await get("http://a.com/")


async def test_a_robots_txt_is_followed_through_redirects(browser, serve):
    elsewhere = {"/robots.txt": answer(b"User-agent: *\nDisallow: /private")}
    async with (
        serve({"/robots.txt": redirect("http://b.com/robots.txt", 301)}),
        serve(elsewhere, at=OTHER_PUBLIC),
        browser() as get,
    ):
        assert (await get.refused("http://a.com/private"))[0] is ParkReason.ROBOTS


@pytest.mark.parametrize("elsewhere", ["http://a.com:25/robots.txt", "http://me:secret@b.com/", "http://10.0.0.1/"])
async def test_a_robots_txt_leads_nowhere_that_a_page_may_not_lead(browser, serve, web, elsewhere):
    async with serve({"/robots.txt": redirect(elsewhere), "/": answer()}), browser() as get:
        await get("http://a.com/")
    assert web.dialled == [(PUBLIC, 80)] * 2


async def test_a_site_whose_robots_txt_fails_is_tried_again_later(browser, serve):
    async with (
        serve({"/robots.txt": answer(b"", status=503, Retry_After="300"), "/": answer()}) as site,
        browser() as get,
    ):
        with pytest.raises(Transient, match=r"robots\.txt cannot be read: a\.com: answered 503") as error:
            await get("http://a.com/")
        assert 299 < error.value.after_seconds <= 300
        with pytest.raises(Transient):
            await get("http://a.com/")
        assert site.asked == ["/robots.txt"]


async def test_a_huge_robots_txt_is_read_up_to_its_limit(browser, serve):
    rules = b"User-agent: *\nDisallow: /private\n" + b"#" * (3 << 20)
    async with serve({"/robots.txt": answer(rules), "/": answer()}), browser(max_bytes=1000) as get:
        await get("http://a.com/")
        assert (await get.refused("http://a.com/private"))[0] is ParkReason.ROBOTS


# Turns


async def test_a_host_whose_turn_is_too_far_away_holds_the_page_without_an_attempt(browser, serve):
    rules = answer(b"User-agent: *\nCrawl-delay: 20")
    async with serve({"/robots.txt": rules, "/1": answer(), "/2": answer()}) as site, browser() as get:
        await get("http://a.com/1")
        with pytest.raises(Held, match=r"a\.com: its next turn is \d+\.\d s away") as error:
            await get("http://a.com/2")
        assert 5 < error.value.after_seconds <= 20
        assert site.asked == ["/robots.txt", "/1"]


async def test_a_redirect_within_a_host_takes_no_second_turn_and_one_to_another_host_does(browser, serve):
    pages = {"/1": redirect("/2"), "/2": redirect("http://b.com/3"), "/4": redirect("http://b.com/3")}
    async with serve(pages), serve({"/3": answer(b"there")}, at=OTHER_PUBLIC), browser(delay_seconds=50) as get:
        assert (await get("http://a.com/1")).text == "there"
        with pytest.raises(Held, match=r"a\.com: its next turn"):
            await get("http://a.com/4")
        with pytest.raises(Held, match=r"b\.com: its next turn"):
            await get("http://b.com/3")


async def test_two_workers_with_the_same_run_dir_share_the_turns(browser, serve):
    async with serve({"/": answer()}), browser(delay_seconds=50) as one, browser(delay_seconds=50) as two:
        await one("http://a.com/")
        with pytest.raises(Held):
            await two("http://a.com/")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_site_that_asks_for_rest_is_left_alone_by_everyone(browser, serve, status):
    busy = answer(b"", status=status, Retry_After="120")
    async with serve({"/busy": busy, "/": answer()}) as site, browser() as one, browser() as two:
        with pytest.raises(Transient, match=f"answered {status}") as error:
            await one("http://a.com/busy")
        assert error.value.after_seconds == 120
        with pytest.raises(Held) as held:
            await two("http://a.com/")
        assert 100 < held.value.after_seconds <= 120
        assert site.count("/") == 0


async def test_a_table_of_turns_that_breaks_holds_the_page_and_names_the_setting(browser, serve, tmp_path):
    async with serve({"/": answer()}), browser() as get:
        with contextlib.closing(sqlite3.connect(tmp_path / "host_turns.sqlite")) as table:
            table.execute("DROP TABLE host_turns")
        with pytest.raises(Held, match="RUN_DIR"):
            await get("http://a.com/")


# What answers mean


@pytest.mark.parametrize(
    ("status", "reason"), [(404, ParkReason.PAGE_GONE), (403, ParkReason.PAGE_GONE), (204, ParkReason.PAGE_GONE)]
)
async def test_a_page_that_is_gone_is_gone(browser, serve, status, reason):
    async with serve({"/": answer(b"", status=status)}), browser() as get:
        assert await get.refused("http://a.com/") == (
            reason,
            f"a.com: answered {status}" + (", there is no page" if status == 204 else ""),
        )


@pytest.mark.parametrize("status", [500, 502, 504, 520, 408])
async def test_a_failing_site_is_tried_again(browser, serve, status):
    async with serve({"/": answer(b"x", status=status)}), browser() as get:
        with pytest.raises(Transient, match=f"a.com: answered {status}"):
            await get("http://a.com/")


@pytest.mark.parametrize(
    ("content_type", "body", "what"),
    [("application/pdf", b"%PDF-1.4", "a PDF"), ("text/html", b"%PDF-1.4" + b"x" * 5000, "a PDF"), ("image/png", b"\x89PNG\r\n\x1a\n", "an image (PNG)"),
     ("application/json", b"{}", "JSON"), (None, b"PK\x03\x04", "a ZIP archive or office document"), ("text/css", b"a{}", "text/css")],
)  # fmt: skip
async def test_what_is_no_page_is_refused_by_its_name(browser, serve, content_type, body, what):
    async with serve({"/": answer(body, content_type=content_type)}), browser() as get:
        assert await get.refused("http://a.com/") == (ParkReason.NOT_HTML, f"a.com: not a web page but {what}")


async def test_a_page_packed_in_a_way_not_asked_for_is_refused(browser, serve):
    async with serve({"/": answer(b"x" * 99, Content_Encoding="br")}), browser() as get:
        reason, message = await get.refused("http://a.com/")
        assert reason is ParkReason.NOT_HTML
        assert "(br)" in message
