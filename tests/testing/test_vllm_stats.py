"""The referee's arithmetic, and that it sees requests from their first byte to their end."""

import asyncio
import socket
import struct
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.testing.vllm import SimulatedVLLM
from scraper.testing.vllm_stats import Stats


def test_in_flight_rises_and_falls():
    stats = Stats()
    first, second = stats.arrived(1.0), stats.arrived(2.0)
    stats.ended(first, 3.0, status=200, outcome="answered")
    stats.ended(second, 4.0, status=503, outcome="answered")
    stats.arrived(5.0)
    assert (stats.in_flight, stats.max_in_flight, stats.requests) == (1, 2, 3)
    assert stats.by_status == {200: 1, 503: 1}


def test_a_request_that_ends_before_the_next_ones_first_byte_does_not_overlap_it():
    stats = Stats()
    for moment in range(5):
        stats.ended(stats.arrived(float(moment)), moment + 0.9, status=200, outcome="answered")
    assert stats.max_in_flight == 1


def test_a_slowly_sent_request_overlaps_what_ended_while_it_was_sent():
    stats = Stats()
    first = stats.arrived(0.0)
    stats.ended(first, 5.0, status=200, outcome="answered")
    stats.arrived(4.0)  # its headers were complete after 5.0, its first byte came at 4.0
    assert stats.max_in_flight == 2


def test_requests_one_after_the_other_inside_a_slow_one_are_two_at_most():
    stats = Stats()
    for moment in (1.0, 2.0, 3.0):
        stats.ended(stats.arrived(moment), moment + 0.5, status=200, outcome="answered")
    stats.arrived(0.5)
    assert stats.max_in_flight == 1  # none of them had begun at 0.5


def test_ending_twice_counts_once():
    stats = Stats()
    one = stats.arrived(0.0)
    stats.ended(one, 1.0, status=200, outcome="answered")
    stats.ended(one, 2.0, status=None, outcome="disconnected")
    assert stats.outcomes == {"answered": 1}


def test_a_reset_keeps_what_is_in_flight():
    stats = Stats()
    running = stats.arrived(0.0)
    stats.ended(stats.arrived(1.0), 2.0, status=200, outcome="answered")
    stats.reset()
    assert (stats.requests, stats.in_flight, stats.max_in_flight) == (1, 1, 1)
    stats.ended(running, 3.0, status=200, outcome="answered")
    assert stats.in_flight == 0


def test_without_two_starts_there_is_no_gap():
    stats = Stats()
    assert stats.smallest_gap is None
    stats.arrived(1.0)
    assert stats.smallest_gap is None


@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 200))
def test_starts_in_a_window_and_gaps_agree_with_counting_by_hand(moments, window):
    stats = Stats()
    for moment in moments:
        stats.arrived(float(moment))
    by_hand = max((sum(begin <= moment < begin + window for moment in moments) for begin in moments), default=0)
    assert stats.most_starts_in(float(window)) == by_hand
    ordered = sorted(moments)
    gaps = [b - a for a, b in pairwise(ordered)]
    assert stats.smallest_gap == (min(gaps) if gaps else None)


@pytest.mark.virtual_time
async def test_a_request_counts_from_its_first_byte_not_from_its_last():
    async with SimulatedVLLM(preset="instant") as server:
        began = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
        await asyncio.sleep(3)
        writer.write(b"Content-Length: 2\r\n\r\n")
        await asyncio.sleep(4)
        assert server.stats.in_flight == 1
        writer.write(b"{}")
        assert b"400 " in await reader.readline()
        (seen,) = server.stats.finished
        assert seen.started_at - began == pytest.approx(0, abs=0.1)
        assert seen.ended_at - seen.started_at == pytest.approx(7, abs=0.1)
        writer.close()


@pytest.mark.virtual_time
async def test_a_client_that_leaves_before_its_request_is_complete_is_seen_to_leave():
    async with SimulatedVLLM(preset="instant") as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(1)
        assert server.stats.in_flight == 1
        writer.close()
        await asyncio.sleep(1)
        assert server.stats.in_flight == 0
        assert server.stats.outcomes == {"disconnected": 1}


@pytest.mark.virtual_time
async def test_one_after_the_other_is_never_two_in_flight():
    async with (
        SimulatedVLLM(preset="instant") as server,
        httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client,
    ):
        turn = asyncio.Semaphore(1)

        async def ask():
            async with turn:
                await client.post("/chat/completions", json={"messages": [{"role": "user", "content": "Hello."}]})

        await asyncio.gather(*(ask() for _ in range(200)))
        assert server.stats.max_in_flight == 1
        assert server.stats.requests == 200


@pytest.mark.virtual_time
async def test_other_paths_are_not_the_referees_business():
    async with (
        SimulatedVLLM(preset="instant") as server,
        httpx.AsyncClient(base_url=server.root_url, trust_env=False) as client,
    ):
        for path in ("/health", "/metrics", "/v1/models", "/v1/chat/completions"):
            await client.get(path)
        await client.post("/tokenize", json={"prompt": "x"})
        assert server.stats.requests == 0


@pytest.mark.virtual_time
async def test_stats_over_http_say_what_python_sees():
    async with (
        SimulatedVLLM(preset="instant") as server,
        httpx.AsyncClient(base_url=server.root_url, trust_env=False) as client,
    ):
        for _ in range(3):
            await client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello."}]})
            await asyncio.sleep(2)
        seen = (await client.get("/_stats", params={"window": 3, "last": 2})).json()
        bad = await client.get("/_stats", params={"window": "wide"})
    assert (seen["requests"], seen["max_in_flight"], seen["by_status"]) == (3, 1, {"200": 3})
    assert seen["most_starts_in_window"] == 2
    assert seen["smallest_gap_seconds"] == pytest.approx(2, abs=0.1)
    assert len(seen["starts"]) == len(seen["intervals"]) == 2
    assert bad.status_code == 400


@pytest.mark.virtual_time
@pytest.mark.parametrize("linger", [None, struct.pack("ii", 1, 0)], ids=["closed", "reset"])
async def test_a_request_sent_right_after_another_client_left_is_not_two_in_flight(linger):
    body = b'{"messages": [{"role": "user", "content": "Hello."}]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with SimulatedVLLM(preset="instant", faults="hang=on") as server:
        clients = [socket.create_connection(("127.0.0.1", server.http.port)) for _ in range(20)]
        await asyncio.sleep(1)
        for client in clients:  # the next one writes before the server has seen this one leave
            client.sendall(request)
            await asyncio.sleep(0.1)
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
        await asyncio.sleep(1)
        assert server.stats.outcomes == {"disconnected": 20}
        assert server.stats.max_in_flight == 1
