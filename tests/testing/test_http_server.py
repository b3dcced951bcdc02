"""The shell of the simulated servers: HTTP as it should be, and the port that can refuse."""

import asyncio
import contextlib
import logging
import socket

import httpx
import pytest

from scraper.testing.http_server import HttpServer

pytestmark = pytest.mark.virtual_time


async def echo(exchange):
    await exchange.respond(200, exchange.body or exchange.path.encode(), content_type="text/plain")


async def speak(server, data, *, until_closed=True):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    answer = await (reader.read() if until_closed else reader.readuntil(b"\r\n\r\n"))
    writer.close()
    return answer


async def test_one_connection_serves_many_requests():
    async with HttpServer(echo) as server, httpx.AsyncClient(trust_env=False) as client:
        for number in range(5):
            answer = await client.post(f"http://127.0.0.1:{server.port}/", content=f"{number}")
            assert answer.text == str(number)
        assert len(server.connections) == 1


async def test_requests_sent_together_are_answered_one_after_the_other():
    one = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    async with HttpServer(echo, keep_alive_seconds=1) as server:
        answer = await speak(server, one % 1 + one % 2 + one % 3)
    assert [answer.index(b"\r\n\r\n/%d" % n) for n in (1, 2, 3)] == sorted(
        answer.index(b"\r\n\r\n/%d" % n) for n in (1, 2, 3)
    )


async def test_an_idle_connection_is_closed_after_its_time():
    async with HttpServer(echo, keep_alive_seconds=5) as server:
        began = asyncio.get_running_loop().time()
        answer = await speak(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.1)


async def test_head_gets_the_length_and_no_body():
    async with HttpServer(echo) as server, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.head(f"http://127.0.0.1:{server.port}/four")
    assert (answer.headers["content-length"], answer.content) == ("5", b"")


async def test_a_client_that_asks_first_is_told_to_continue():
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with HttpServer(echo) as server:
        assert (await speak(server, request, until_closed=False)).startswith(b"HTTP/1.1 100")


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"\x16\x03\x01" * 20 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_http_get_a_400_and_harm_nobody(garbage):
    async with HttpServer(echo) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await speak(server, garbage)).startswith(b"HTTP/1.1 400")
        assert (await client.get(f"http://127.0.0.1:{server.port}/ok")).text == "/ok"


async def test_a_head_without_end_is_refused_and_harms_nobody():
    async with HttpServer(echo) as server, httpx.AsyncClient(trust_env=False) as client:
        with contextlib.suppress(ConnectionResetError):  # what is left of it is not read
            answer = await speak(server, b"GET / HTTP/1.1\r\nX-Filler: " + b"x" * 200_000)
            assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")) or not answer
        assert (await client.get(f"http://127.0.0.1:{server.port}/ok")).text == "/ok"
        await asyncio.sleep(10)
        assert not server.connections


async def test_a_handler_that_fails_is_logged_and_the_server_goes_on(caplog):
    async def fail(exchange):
        if exchange.path == "/fail":
            raise RuntimeError("on purpose")
        await echo(exchange)

    async with HttpServer(fail) as server, httpx.AsyncClient(trust_env=False) as client:
        with caplog.at_level(logging.ERROR), pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{server.port}/fail")
        assert (await client.get(f"http://127.0.0.1:{server.port}/fine")).text == "/fine"
    assert "on purpose" in caplog.text


async def test_a_handler_is_cancelled_when_its_client_leaves():
    gone = asyncio.Event()

    async def wait(exchange):
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    async with HttpServer(wait) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        writer.close()
        async with asyncio.timeout(60):
            await gone.wait()


# after two, asyncio itself lets go of the connection: its server is closed before its transport is made
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5])
async def test_a_crash_spares_no_connection_that_is_just_accepted(steps):
    async with HttpServer(echo) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            for _ in range(steps):
                await asyncio.sleep(0)
            server.refuse()
            server.reset_all()
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert await asyncio.to_thread(client.recv, 100) == b""
        assert not server.connections


async def test_a_port_that_refuses_stays_ours_and_listens_again():
    async with HttpServer(echo) as server, httpx.AsyncClient(trust_env=False) as client:
        port = server.port
        server.refuse()
        server.close_idle()
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(OSError, match="in use"):
            await HttpServer(echo, port=port).listen()
        await server.listen()
        assert (await client.get(f"http://127.0.0.1:{port}/back")).text == "/back"


async def test_a_taken_port_is_an_error():
    async with HttpServer(echo) as server:
        with pytest.raises(OSError, match="in use"):
            await HttpServer(echo, port=server.port).listen()


async def test_closing_ends_every_connection_and_handler():
    async def wait(exchange):
        await asyncio.Event().wait()

    async with HttpServer(wait) as server:
        clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        for _, writer in clients:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        assert len(server.tasks) == 5
    assert not server.tasks
    assert not server.connections
    for _, writer in clients:
        writer.close()


async def test_a_reader_that_is_slow_holds_the_writer_back():
    written = 0

    async def pour(exchange):
        nonlocal written
        await exchange.start(200)
        while True:
            await exchange.write(b"x" * 65536)
            written += 65536

    async with HttpServer(pour) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(10)
        assert written < 64 * 1024 * 1024
        writer.close()
