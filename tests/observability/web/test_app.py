"""The pages over real sockets, with a source that a test fills."""

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from scraper.errors import Unavailable
from scraper.host import pid_namespace
from scraper.observability.web import serving as web_serving
from scraper.observability.web.app import StatusApp
from scraper.observability.web.serving import CannotListen, listen, serving, serving_if_possible
from scraper.throttle.shared_admission import SharedAdmission
from tests.observability.facts import STARTED, request, settled
from tests.observability.test_picture import Picture, tally

TOKEN = "correct horse – ✓"
HEADER = {"x-dashboard-token": "correct%20horse%20%E2%80%93%20%E2%9C%93"}


class Source:
    def __init__(self):
        self.now = Picture()
        self.orders = []
        self.fails = False

    async def picture(self):
        return self.now

    async def throttle(self):
        return None if self.fails else {"in_flight": 1}

    async def parked(self):
        return {"robots": 2}

    async def oldest_seconds(self):
        return None

    async def order(self, verb, arguments):
        if self.fails:
            raise Unavailable("nobody hosts it")
        self.orders.append((verb, arguments))
        return {"max_concurrent": 1, "requests_per_minute": 10}

    async def replay(self, reason):
        self.orders.append(("replay", reason))
        return 3


@pytest.fixture
def source():
    return Source()


@asynccontextmanager
async def served(source, *, token=TOKEN):
    app, listening = StatusApp(source, token=token), listen("127.0.0.1", 0)
    async with (
        serving(app, listening),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60) as client,
    ):
        yield client


@pytest.fixture
async def client(source):
    async with served(source) as client:
        yield client


async def test_it_lives_and_says_whether_it_is_ready(client, source):
    assert (await client.get("/live")).json() == {"live": True}
    absent = await client.get("/ready")
    assert (absent.status_code, absent.json()) == (503, {"ready": False, "missing": {"workers": "none is running"}})
    source.now.worker_says(0, tally(STARTED), at=0.0)
    assert (await client.get("/ready")).json() == {"ready": True, "missing": {}}


async def test_metrics_are_prometheus_text(client, source):
    source.now.worker_says(0, tally(STARTED, request()), at=0.0)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# HELP scraper_llm_attempts_total" in answer.text
    assert "scraper_llm_attempts_total 1.0" in answer.text


async def test_the_process_that_hosts_the_throttle_says_so_and_no_namesake_in_another_container(client, source):
    async def claims(pids):
        host = {"host_pid": os.getpid(), "host_pids": pids}
        source.now.throttle_says(SharedAdmission().status(0) | host, at=0.0)
        return "scraper_coordinator 1.0" in (await client.get("/metrics")).text

    assert await claims(pid_namespace())
    assert not await claims("pid:[4026531836] of another container")


async def test_the_throttle_is_shown_or_said_to_be_nowhere(client, source):
    assert (await client.get("/throttle")).json() == {"in_flight": 1}
    source.fails = True
    assert (await client.get("/throttle")).status_code == 503


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "",
        "[::1",
        "127.0.0.1.evil.example",
        "a b",
        "127.0.0.1:x",
    ],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/control"])
async def test_a_strangers_name_that_points_here_gets_nothing(client, host, path):
    answer = await client.request(
        "POST" if path == "/control" else "GET", path, headers={"host": host, **HEADER}, json={"do": "pause"}
    )
    assert answer.status_code in {400, 421}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]:80", "10.0.0.7:8080", "localhost", "LOCALHOST:1", "app.localhost"]
)
async def test_its_own_names_and_every_address_are_answered(client, host):
    assert (await client.get("/live", headers={"host": host})).status_code == 200


async def test_a_browser_may_do_nothing_with_an_answer_but_show_it(client):
    for path in ("/", "/metrics", "/live", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


async def test_the_page_asks_for_nothing_from_elsewhere(client):
    page = (await client.get("/")).text
    assert "{{" not in page
    assert {each for each in page.split('"') if each.startswith(("http:", "https:", "//"))} <= {
        "http://www.w3.org/2000/svg"
    }
    assert "innerHTML" not in page
    assert "style=" not in page


@pytest.mark.parametrize(
    ("body", "order"),
    [
        ({"do": "pause"}, ("pause", {})),
        ({"do": "pause", "seconds": 60}, ("pause", {"seconds": 60})),
        ({"do": "resume"}, ("resume", {})),
        (
            {"do": "set", "max_concurrent": 1, "requests_per_minute": 10.5},
            ("set", {"max_concurrent": 1, "requests_per_minute": 10.5}),
        ),
        ({"do": "reset"}, ("reset", {})),
    ],
)
async def test_with_the_token_orders_are_passed_on(client, source, body, order):
    answer = await client.post("/control", json=body, headers=HEADER)
    assert answer.json() == {"max_concurrent": 1, "requests_per_minute": 10}
    assert source.orders == [order]


async def test_replaying_says_how_many(client, source):
    assert (await client.post("/replay", json={"reason": "robots"}, headers=HEADER)).json() == {"replayed": 3}
    assert source.orders == [("replay", "robots")]


@pytest.mark.parametrize("path", ["/control", "/replay"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-dashboard-token": ""}, 401),
        ({"x-dashboard-token": "correct"}, 401),
        ({"x-dashboard-token": "%FF%FE"}, 401),
        ({"authorization": f"Bearer {HEADER['x-dashboard-token']}"}, 401),
        ({**HEADER, "origin": "http://evil.example"}, 403),
        ({**HEADER, "origin": "null"}, 403),
        ({**HEADER, "origin": "http://[evil"}, 403),
    ],
)
async def test_without_the_token_or_from_another_site_nothing_is_changed(client, source, path, headers, status):
    answer = await client.post(path, json={"do": "pause", "reason": "robots"}, headers=headers)
    assert answer.status_code == status
    assert TOKEN not in answer.text
    assert source.orders == []


async def test_a_link_or_form_cannot_change_anything(client, source):
    for path in ("/control", "/replay"):
        assert (await client.get(path, headers=HEADER)).status_code == 405
        assert (await client.post(path, data={"do": "pause", "x-dashboard-token": TOKEN})).status_code == 401
    assert source.orders == []


async def test_where_no_token_is_set_the_page_only_shows(source):
    async with served(source, token="") as client:
        for given in ({}, {"x-dashboard-token": ""}):
            assert (await client.post("/control", json={"do": "pause"}, headers=given)).status_code == 403
    assert source.orders == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"do": "explode"}',
        b'{"do": ["set"]}',
        b'{"do": "set"}',
        b'{"do": "set", "max_concurrent": 0}',
        b'{"do": "set", "max_concurrent": 1.5}',
        b'{"do": "set", "max_concurrent": true}',
        b'{"do": "set", "requests_per_minute": NaN}',
        b'{"do": "set", "requests_per_minute": "9"}',
        b'{"do": "pause", "seconds": 1e99}',
        b'{"do": "pause", "seconds": 1%s}' % (b"0" * 400),
        b'{"do": "resume", "endpoint": "http://x"}',
        b"[" * 4000,
        b" " * 10_000,
    ],
)
async def test_what_makes_no_sense_is_told_and_changes_nothing(client, source, body):
    answer = await client.post("/control", content=body, headers=HEADER)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert source.orders == []


async def test_an_order_that_cannot_be_given_says_why(client, source):
    source.fails = True
    answer = await client.post("/control", json={"do": "pause"}, headers=HEADER)
    assert (answer.status_code, answer.json()) == (503, {"error": "nobody hosts it"})


async def news(lines):
    async for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended")


async def test_news_come_as_they_happen_and_old_steps_only_once(client, source):
    for minute in range(10):
        source.now.worker_says(0, tally(STARTED, *[settled(fetch=1.0)] * minute), at=minute * 60.0)
    async with client.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        first = await news(lines)
        source.now.worker_says(0, tally(STARTED, *[settled(fetch=1.0)] * 12), at=545.0)
        second = await news(lines)
    assert len(first["rows"]) == 10
    assert [row[0] for row in second["rows"]] == [540]
    assert (first["view"]["outcomes"]["done"], second["view"]["outcomes"]["done"]) == (9, 12)
    assert first["parked"] == {"robots": 2}
    assert first["controls"] is True


async def test_so_many_pages_may_be_open_and_no_more(source, monkeypatch):
    monkeypatch.setattr("scraper.observability.web.app.MOST_WATCHERS", 3)
    async with served(source) as client:
        ask = client.build_request("GET", "/events")
        streams = await asyncio.gather(*(client.send(ask, stream=True) for _ in range(8)))
        assert sorted(each.status_code for each in streams) == [200] * 3 + [503] * 5
        for each in streams:
            await each.aclose()
        async with asyncio.timeout(300):
            while (again := await client.send(ask, stream=True)).status_code == 503:
                await again.aclose()
                await asyncio.sleep(0.02)
            assert await news(again.aiter_lines())
            await again.aclose()


async def test_open_streams_do_not_keep_it_from_stopping(source):
    async with asyncio.timeout(300):
        async with served(source) as client:
            stream = await client.send(client.build_request("GET", "/events"), stream=True)
            await news(stream.aiter_lines())
        await stream.aclose()


async def test_a_port_that_is_taken_is_a_warning_and_everything_goes_on(source):
    said, taken = [], listen("127.0.0.1", 0)
    with taken:
        async with serving_if_possible(
            StatusApp(source, token=""), host="127.0.0.1", port=taken.getsockname()[1], observe=said.append
        ):
            pass
    [event] = said
    assert event.setting == "HTTP_PORT"
    assert "in use" in event.message
    assert "set another HTTP_PORT" in event.message


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "x" * 64])
def test_an_address_that_is_not_this_hosts_is_named(host):
    with pytest.raises(CannotListen, match=host.replace(".", r"\.")):
        listen(host, 0)


def test_it_listens_on_this_machine_alone_unless_told_otherwise():
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert os.get_inheritable(listening.fileno()) is False


async def test_whoever_connects_and_asks_for_nothing_is_hung_up_on_and_whoever_asked_is_not(source, monkeypatch):
    monkeypatch.setattr(web_serving, "FIRST_REQUEST_SECONDS", 0.5)
    async with served(source) as client:
        assert (await client.get("/live")).status_code == 200
        for beginning in (b"", b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            writer.write(beginning)
            async with asyncio.timeout(300):
                assert await reader.read() == b""
            writer.close()
        assert (await client.get("/live")).status_code == 200


async def test_of_many_connections_only_so_many_are_kept_open(source, monkeypatch):
    monkeypatch.setattr(web_serving, "FIRST_REQUEST_SECONDS", 600)
    monkeypatch.setattr(web_serving, "MOST_CONNECTIONS", 5)
    async with served(source) as client:
        kept = [await asyncio.open_connection("127.0.0.1", client.base_url.port) for _ in range(5)]
        reader, one_too_many = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        async with asyncio.timeout(300):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            for reader, writer in kept:
                writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await reader.readline()).split()[1] == b"200"
        for writer in (one_too_many, *(writer for _, writer in kept)):
            writer.close()
