"""The simulated site: pages with a known truth, the same for ever, and every kind of trouble."""

import asyncio
import json
import zlib
from urllib.parse import urlsplit

import httpx
import pytest
from selectolax.lexbor import LexborHTMLParser

from scraper.testing.site import Answer, SimulatedSite
from scraper.testing.site_pages import KINDS, page
from scraper.testing.site_pages.languages import LANGUAGES
from scraper.testing.site_trouble import CHARSETS, REDIRECTS, TROUBLE

pytestmark = pytest.mark.virtual_time

BASE = "http://site.test"
ENDLESS = {"hang", "drip", "endless-header", "redirect-endless", "redirect-loop"}


@pytest.fixture
async def site():
    async with SimulatedSite() as site:
        yield site


@pytest.fixture
async def client(site):
    async with httpx.AsyncClient(base_url=site.url(), timeout=None, trust_env=False) as client:
        yield client


def text_of(one):
    """The page's text, decoded as its bytes and header say."""
    declared = one.content_type.partition("charset=")[2]
    if not declared:
        declared = (
            "utf-8-sig"
            if one.body.startswith(b"\xef\xbb\xbf")
            else one.body.partition(b"charset=")[2].split(b'"')[0].decode()
        )
    return LexborHTMLParser(one.body.decode(declared)).text(separator=" ")


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_the_same_for_ever_and_different_from_its_neighbours(kind):
    pages = [page(kind, number, base_url=BASE) for number in range(1, 40)]
    assert pages == [page(kind, number, base_url=BASE) for number in range(1, 40)]
    assert len({one.body for one in pages}) == len(pages)


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_as_long_as_real_ones(kind):
    sizes = [len(page(kind, number, base_url=BASE).body) for number in range(1, 100)]
    assert min(sizes) > 4_000
    assert 15_000 < sorted(sizes)[50] < 60_000
    assert max(sizes) < 80_000


@pytest.mark.parametrize("number", range(1, 61))
def test_the_truth_about_a_product_stands_in_its_page(number):
    one = page("product", number, base_url=BASE)
    text, language = text_of(one), LANGUAGES[number % len(LANGUAGES)]
    assert one.truth["name"] in text
    assert one.truth["sku"] in text
    assert one.truth["brand"] in text
    assert language.price(one.truth["price"]) in text
    stock = "in_stock" if one.truth["availability"] == "in stock" else "out_of_stock"
    assert language.labels[stock] in text
    assert one.truth["currency"] == language.currency


@pytest.mark.parametrize("kind", ["article", "recipe", "event", "job", "organisation", "listing"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 12])
def test_the_truth_about_other_pages_stands_in_them(kind, number):
    one = page(kind, number, base_url=BASE)
    text = text_of(one)
    for key, value in one.truth.items():
        if isinstance(value, str) and key not in {"url", "language", "currency", "date", "body"}:
            assert value in text, key
    for name in (item["name"] for item in one.truth.get("items", ())):
        assert name in text
    for paragraph in one.truth.get("body", "").splitlines():
        assert paragraph in text


def test_products_come_in_every_language_and_several_declarations_of_charset():
    pages = [page("product", number, base_url=BASE) for number in range(1, 200)]
    assert {one.truth["language"] for one in pages} == {language.code for language in LANGUAGES}
    declared = {(one.content_type, one.body.startswith(b"\xef\xbb\xbf"), b"<meta charset" in one.body) for one in pages}
    assert len(declared) >= 6


def test_some_products_carry_structured_data_and_some_of_it_is_broken():
    texts = [page("product", number, base_url=BASE).body for number in range(1, 81)]
    assert sum(b"application/ld+json" in text for text in texts) == 20
    assert sum(b"itemprop=" in text for text in texts) == 20
    assert sum(b"product:price:amount" in text for text in texts) == 20
    blocks = [text.partition(b'ld+json">')[2].partition(b"</script>")[0] for text in texts if b"ld+json" in text]
    broken = 0
    for block in blocks:
        try:
            json.loads(block.decode("utf-8", "replace"))
        except ValueError:
            broken += 1
    assert broken == 2


def test_some_products_mislead():
    bodies = {number: page("product", number, base_url=BASE).body for number in (7, 10, 11, 13)}
    assert b"display:none" in bodies[7]
    assert b"<s>" in bodies[10]
    assert b"font-size:0" in bodies[11]
    assert b"Ignore all previous instructions" in bodies[13]


async def test_a_page_is_served_as_it_was_made_and_counted(site, client):
    answer = await client.get("/product/22")
    made = page("product", 22, base_url=site.url().rstrip("/"))
    assert answer.content == made.body
    assert answer.headers["content-type"] == made.content_type
    assert site.truth("/product/22") == made.truth
    assert site.hits["/product/22"] == 1
    assert len(site.hit_times["/product/22"]) == 1


async def test_pages_are_compressed_for_clients_that_ask(client):
    plain = await client.get("/product/1", headers={"accept-encoding": "identity"})
    packed = await client.get("/product/1", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content


@pytest.mark.parametrize(
    "path",
    [
        "/product/0",
        "/product/10000001",
        "/product/x",
        "/product/",
        "/product/²",
        "/product/" + "9" * 5000,
        "/nothing",
        "/product/1/2",
        "/../product/1",
    ],
)
async def test_what_is_no_page_is_a_404_and_has_no_truth(site, client, path):
    assert (await client.get(path)).status_code == 404 or path.startswith("/..")
    with pytest.raises(KeyError):
        site.truth(path)


async def test_the_index_lists_every_kind_and_every_trouble(client):
    text = (await client.get("/")).text
    assert all(f"/{kind}/1" in text for kind in KINDS)
    assert all(entry.example.replace("&", "&amp;") in text for entry in TROUBLE.values())


@pytest.mark.parametrize("name", sorted(set(TROUBLE) - ENDLESS))
async def test_every_example_of_the_index_does_something_and_ends(site, client, name):
    try:
        await client.get("/" + TROUBLE[name].example, headers={"accept-encoding": "identity"})
    except (httpx.TransportError, httpx.DecodingError):
        assert name in {"reset", "cut", "not-http", "truncated-gzip", "not-gzip"}
    assert site.hits.total() == 1
    assert (await client.get("/product/1")).status_code == 200


@pytest.mark.parametrize("status", [404, 410, 500, 503])
async def test_a_status_is_what_was_asked_for(client, status):
    assert (await client.get(f"/status/{status}")).status_code == status


async def test_a_429_carries_its_retry_after(client):
    answer = await client.get("/status/429?after=30")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


async def test_a_flaky_page_comes_after_its_failures(client):
    assert [(await client.get("/flaky/2")).status_code for _ in range(4)] == [503, 503, 200, 200]


async def test_a_slow_page_takes_its_time(client):
    began = asyncio.get_running_loop().time()
    assert (await client.get("/slow?seconds=7")).status_code == 200
    assert asyncio.get_running_loop().time() - began == pytest.approx(7, abs=0.1)


async def test_a_drip_never_ends_and_never_stops(client):
    pieces = []

    async def read():
        async with client.stream("GET", "/drip?seconds=0.5") as answer:
            async for piece in answer.aiter_raw():
                pieces.append(piece)  # noqa: PERF401 - a comprehension would lose what came before the end

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 60)
    assert 100 < b"".join(pieces).count(b"<p>drip</p>") < 150


async def test_a_hang_ends_with_its_client(site, client):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await client.get("/hang")
    await asyncio.sleep(1)
    assert not site.http.tasks


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_small_on_the_wire_and_large_unpacked(client, encoding):
    async with client.stream("GET", f"/bomb/{encoding}?mb=20") as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == encoding
    assert len(raw) < 100_000
    assert len(zlib.decompress(raw, zlib.MAX_WBITS | 32)) > 20 * 1024 * 1024


async def test_a_huge_page_comes_in_full(client):
    assert len((await client.get("/huge?mb=3")).content) > 3 * 1024 * 1024


@pytest.mark.parametrize("query", ["mb=-5", "mb=x", "mb=", "mb=0"])
async def test_a_size_that_makes_no_sense_does_not_break_the_site(client, query):
    async with client.stream("GET", f"/huge?{query}") as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/reset", "/cut", "/not-http"])
async def test_a_broken_connection_is_seen_as_one(client, path):
    with pytest.raises(httpx.TransportError):
        await client.get(path)


@pytest.mark.parametrize("path", ["/not-gzip", "/truncated-gzip"])
async def test_bad_compression_is_not_a_whole_page(client, path):
    try:
        body = (await client.get(path)).content
    except httpx.DecodingError:
        return
    assert b"</html>" not in body


async def test_deep_pages_null_bytes_and_giant_attributes_are_what_they_say(client):
    assert (await client.get("/deep?tags=100000")).text.count("<div>") == 100_000
    assert b"\0" in (await client.get("/null-bytes")).content
    assert len((await client.get("/giant-attribute")).content) > 3_000_000
    assert "content-type" not in (await client.get("/no-content-type")).headers
    assert (await client.get("/empty")).content == b""


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("pdf", "application/pdf"),
        ("image", "image/png"),
        ("json", "application/json"),
        ("binary", "application/octet-stream"),
    ],
)
async def test_things_that_are_no_page_say_so(client, kind, content_type):
    assert (await client.get(f"/type/{kind}")).headers["content-type"] == content_type


@pytest.mark.parametrize("name", CHARSETS)
async def test_every_charset_page_holds_its_sentence_in_its_true_encoding(client, name):
    answer = await client.get(f"/charset/{name}")
    codec = "utf-8" if name == "mixed" else CHARSETS[name][0]
    assert "Größe, café" in answer.content.decode(codec, "replace")


async def test_a_chain_of_redirects_ends_at_a_product(site, client):
    answer = await client.get("/redirect/3", follow_redirects=True)
    assert len(answer.history) == 3
    assert answer.url.path == "/product/1"


@pytest.mark.parametrize("path", ["/redirect-loop", "/redirect-endless/1"])
async def test_a_loop_of_redirects_has_no_end(client, path):
    with pytest.raises(httpx.TooManyRedirects):
        await client.get(path, follow_redirects=True)


@pytest.mark.parametrize("name", REDIRECTS)
async def test_a_redirect_leads_where_its_name_says(site, name):
    async with httpx.AsyncHTTPTransport() as transport:  # a client would already stumble over some of them
        answer = await transport.handle_async_request(httpx.Request("GET", site.url(f"/redirect-to/{name}")))
        await answer.aread()
    port = str(urlsplit(site.url()).port)
    assert answer.status_code == 302
    assert answer.headers["location"] == REDIRECTS[name].replace("PORT", port)


async def test_robots_disallows_and_may_ask_for_patience():
    async with SimulatedSite(crawl_delay_seconds=2) as site, httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(site.url("/robots.txt"))).text
        assert (await client.get(site.url("/private/page"))).status_code == 200
    assert "Disallow: /private/" in text
    assert "Crawl-delay: 2" in text


async def test_a_test_can_say_what_a_path_answers():
    robots = Answer(status=500, body=b"down", content_type="text/plain", headers={"x-test": "1"}, delay_seconds=3)
    async with SimulatedSite(robots=robots) as site, httpx.AsyncClient(timeout=None, trust_env=False) as client:
        site.answers["/mine"] = Answer(body=b"<p>mine</p>")
        refused = await client.get(site.url("/robots.txt"))
        assert (await client.get(site.url("/mine"))).text == "<p>mine</p>"
    assert (refused.status_code, refused.text, refused.headers["x-test"]) == (500, "down", "1")


async def test_only_reading_is_allowed(client):
    assert (await client.post("/product/1")).status_code == 405
    assert (await client.head("/product/1")).content == b""
