"""One connection to the model server or a site, on the service's own event loop and on asyncio's."""

import asyncio
import socket
import ssl
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from scraper import event_loop, llm_transport
from scraper.http_connection import (
    LONGEST_HEADER_BYTES,
    MOST_GATHERED_BYTES,
    MOST_HEADERS,
    MOST_UNREAD_BYTES,
    Connection,
    ConnectionLost,
    HeadTooLarge,
    NotHttp,
    NoTls,
    connected,
    request_head,
)
from scraper.llm_transport import ModelServerTransport

LOOPS = pytest.mark.parametrize("run", [asyncio.run, event_loop.run], ids=["asyncio", "uvloop"])
TLS = Path(__file__).parent / "pipeline" / "tls"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: not a header\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"


class Server:
    """Gives every request the same bytes; counts connections."""

    def __init__(self, reply, *, hangs_up=False, tls=None):
        self.reply = reply
        self.hangs_up = hangs_up
        self.tls = tls
        self.connections = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls)
        self.address = self.server.sockets[0].getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}/"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self.reply)
                if self.hangs_up:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


class Greeter(Server):
    """Speaks first, and no TLS."""

    async def serve(self, _, writer):
        writer.write(self.reply)
        await writer.drain()
        writer.close()


async def asked(server, times, *, read=True):
    """What `times` requests one after the other were answered with."""
    transport = ModelServerTransport(https=False)
    async with httpx.AsyncClient(transport=transport) as http:
        answers = []
        for _ in range(times):
            async with http.stream("GET", server.url) as response:
                answers.append((dict(response.headers), await response.aread()) if read else None)
            await asyncio.sleep(0)
        return answers


@LOOPS
@pytest.mark.parametrize("reply", [WHOLE, CHUNKED])
def test_a_connection_whose_response_was_read_to_its_end_is_used_again(run, reply):
    async def check():
        async with Server(reply) as server:
            assert [body for _, body in await asked(server, 3)] == [b"hello"] * 3
            assert server.connections == 1

    run(check())


@LOOPS
@pytest.mark.parametrize(
    ("reply", "hangs_up"),
    [
        (WHOLE.replace(b"200 OK", b"200 OK\r\nConnection: close"), False),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (TO_THE_END, True),
        (WHOLE, True),
    ],
)
def test_no_connection_is_used_again_that_has_ended_or_will(run, reply, hangs_up):
    async def check():
        async with Server(reply, hangs_up=hangs_up) as server:
            transport = ModelServerTransport(https=False)
            async with httpx.AsyncClient(transport=transport) as http:
                for number in (1, 2):
                    assert (await http.get(server.url)).content == b"hello"
                    await asyncio.sleep(0.05)  # until the end of the connection has arrived
                    assert server.connections == number

    run(check())


@LOOPS
def test_a_connection_is_closed_where_its_response_was_not_read(run):
    async def check():
        async with Server(WHOLE) as server:
            await asked(server, 2, read=False)
            assert server.connections == 2

    run(check())


@LOOPS
def test_what_comes_behind_a_chunked_body_is_no_header(run):
    async def check():
        async with Server(CHUNKED) as server:
            (headers, _), *_ = await asked(server, 1)
            assert "x-trailer" not in headers

    run(check())


def at(*addresses):
    """As `getaddrinfo` tells them."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", each) for each in addresses]


def own_authority(*, server):
    if not server:
        return ssl.create_default_context(cafile=TLS / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "shop.pem")
    return context


@LOOPS
def test_a_server_with_tls_must_show_that_it_is_who_was_meant(run):
    async def check():
        trusting = own_authority(server=False)
        async with Server(WHOLE, tls=own_authority(server=True)) as server:
            connection = await connected(at(server.address), tls=trusting, name="shop.example.com")
            connection.send(request_head("GET", b"/", []))
            assert await everything(connection) == b"hello"
            connection.close()
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                await connected(at(server.address), tls=trusting, name="other.example.com")
        async with Greeter(WHOLE) as server:
            with pytest.raises(NoTls):
                await connected(at(server.address), tls=trusting, name="shop.example.com")

    run(check())


@LOOPS
def test_an_address_that_refuses_is_left_for_the_next(run):
    async def check():
        async with Server(WHOLE) as server:
            with socket.socket() as taken:  # bound, and nobody listens
                taken.bind(("127.0.0.1", 0))
                nobody = taken.getsockname()
                connection = await connected(at(nobody, server.address), tls=None, name="")
                connection.send(request_head("GET", b"/", []))
                assert await everything(connection) == b"hello"
                connection.close()
                with pytest.raises(ConnectionRefusedError):
                    await connected(at(nobody), tls=None, name="")

    run(check())


class Wire(asyncio.Transport):
    """Writes down what a connection does with its transport."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.reading = True
        self.aborted = False
        self.unsent = 0

    def get_write_buffer_size(self):
        return self.unsent

    def writelines(self, pieces):
        self.written += b"".join(pieces)

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


def headed(*headers, body=b"hello"):
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def connection(wire):
    connection = Connection()
    connection.connection_made(wire)
    connection.send(request_head("GET", b"/", []))
    return connection


async def everything(connection):
    await connection.read_head()
    return b"".join([piece async for piece in connection.pieces()])


async def test_the_other_side_waits_while_nobody_reads(connection, wire):
    body = b"x" * (MOST_UNREAD_BYTES + 1)
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    connection.data_received(body[:-1])
    assert wire.reading
    connection.data_received(body[-1:])
    assert not wire.reading
    assert await everything(connection) == body
    assert wire.reading


@pytest.mark.virtual_time
async def test_a_reader_who_has_time_is_woken_for_the_first_piece_and_then_once_in_a_while(connection):
    async def chatter():
        connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            connection.data_received(b"2\r\nhi\r\n")
            await asyncio.sleep(0.01)
        connection.data_received(b"0\r\n\r\n")

    clock = asyncio.get_running_loop().time
    began, seen = clock(), []
    async with asyncio.TaskGroup() as group:
        group.create_task(chatter())
        await connection.read_head()
        seen += [(piece.count(b"hi"), clock() - began) async for piece in connection.pieces(gather_seconds=0.25)]
    assert seen[0] == (1, 0)
    assert sum(count for count, _ in seen) == 100
    assert 4 <= len(seen) <= 6
    assert seen[-1][1] == pytest.approx(1.0)  # at its end, and not when the time was over


@pytest.mark.virtual_time
async def test_a_reader_who_has_time_is_woken_for_much(connection):
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nx")
    arriving = connection.pieces(gather_seconds=60)
    assert await anext(arriving) == b"x"
    more = asyncio.create_task(anext(arriving))
    await asyncio.sleep(1)
    connection.data_received(b"x" * (MOST_GATHERED_BYTES - 1))
    await asyncio.sleep(1)
    assert not more.done()
    connection.data_received(b"x")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert more.result() == b"x" * MOST_GATHERED_BYTES


async def test_a_response_is_read_however_it_is_cut(connection):
    for at in range(len(CHUNKED)):
        connection.data_received(CHUNKED[at : at + 1])
    assert await everything(connection) == b"hello"
    assert connection.is_free


async def test_an_early_answer_is_not_the_answer(connection):
    connection.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE)
    await connection.read_head()
    assert (connection.status, connection.headers) == (200, [(b"Content-Length", b"5")])


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + WHOLE,
        b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n" + WHOLE,
        b"\r\n" + WHOLE,
        WHOLE.replace(b"\r\n", b"\n"),
        headed(b"Content-Length : 5"),
        headed(b"X-Folded: one", b" Content-Length: 2", b"Content-Length: 5"),
        headed(b"Transfer-Encoding: gzip, chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        headed(
            b"Transfer-Encoding: gzip", b"Transfer-Encoding: Chunked", body=b"05\r\nhello\r\n0;last\r\nX: y\r\n\r\n"
        ),
    ],
)
async def test_a_response_that_says_where_it_ends_leaves_its_connection_free(connection, reply):
    connection.data_received(reply)
    assert await everything(connection) == b"hello"
    assert connection.is_free


@pytest.mark.parametrize(
    "headers",
    [(), (b"Transfer-Encoding: identity",), (b"Transfer-Encoding: gzip",), (b"Transfer-Encoding: chunked, x",)],
)
async def test_a_response_that_does_not_ends_with_its_connection_and_not_with_its_break(wire, headers):
    for end, error in ((None, None), (ConnectionResetError(), ConnectionLost)):
        connection = Connection()
        connection.connection_made(wire)
        connection.send(request_head("GET", b"/", []))
        connection.data_received(headed(*headers))
        connection.connection_lost(end)
        with pytest.raises(error) if error else nullcontext():
            assert await everything(connection) == b"hello"
        assert not connection.is_free


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("header", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_a_response_without_a_body_is_over_with_its_headers(connection, status, header):
    connection.data_received(b"HTTP/1.1 " + status + b"\r\n" + header + b"\r\n")
    assert await everything(connection) == b""
    assert connection.is_free


@pytest.mark.parametrize("what", [b"H", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b"\0"])
async def test_a_server_that_speaks_unasked_is_asked_nothing_more(connection, wire, what):
    connection.data_received(WHOLE)
    await everything(connection)
    connection.data_received(what)
    assert wire.aborted
    written = wire.written
    with pytest.raises(NotHttp):
        connection.send(request_head("GET", b"/", []))
    assert wire.written == written


async def test_no_connection_is_free_whose_request_was_answered_before_it_had_left(connection, wire):
    wire.unsent = 1  # what a server takes the rest for is its own affair
    connection.data_received(WHOLE)
    await everything(connection)
    assert not connection.is_free


@pytest.mark.parametrize("when", ["closing", "closed", "reset"])
async def test_nothing_is_written_where_the_connection_ends(connection, wire, when):
    connection.data_received(WHOLE)
    await everything(connection)
    assert connection.is_free
    if when == "closing":  # its end has come, and the loop says so in its next turn
        wire.aborted = True
    else:
        connection.connection_lost(ConnectionResetError() if when == "reset" else None)
    assert not connection.is_free
    written = wire.written
    with pytest.raises(ConnectionLost):
        connection.send(request_head("GET", b"/", []))
    assert wire.written == written


async def test_a_new_connection_that_ended_before_it_was_used_is_lost_and_nobody_waits_for_it(wire):
    connection = Connection()
    connection.connection_made(wire)
    connection.connection_lost(None)
    with pytest.raises(ConnectionLost):
        connection.send(request_head("GET", b"/", []))


class Once(Server):
    """Answers the first request of a connection, and hangs up on the next when it has read it."""

    def __init__(self, reply):
        super().__init__(reply)
        self.requests = 0

    async def serve(self, reader, writer):
        self.connections += 1
        for answer in (self.reply, b""):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(answer)
        writer.close()


@LOOPS
def test_a_request_that_may_have_arrived_is_not_sent_again(run, monkeypatch):
    monkeypatch.setattr(llm_transport, "IDLE_SECONDS", 3600.0)  # however long this machine takes between the two

    async def check():
        async with Once(WHOLE) as server:
            async with httpx.AsyncClient(transport=ModelServerTransport(https=False)) as http:
                assert (await http.post(server.url)).content == b"hello"
                with pytest.raises(httpx.RemoteProtocolError, match="was lost"):
                    await http.post(server.url)
            assert (server.requests, server.connections) == (2, 1)

    run(check())


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionLost),
        (WHOLE[:-1], ConnectionLost),
        (CHUNKED[:-2], ConnectionLost),
        (WHOLE + b"and more", NotHttp),
        (WHOLE + WHOLE, NotHttp),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", NotHttp),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", NotHttp),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionLost),
        (headed(b"Content-Length : 50"), ConnectionLost),
        (headed(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"), ConnectionLost),
        # two lengths, or a length and chunks: one reader's end is another's beginning
        (headed(b"Content-Length: 5", b"Content-Length: 5"), NotHttp),
        (headed(b"Content-Length: 5", b"Content-Length: 6"), NotHttp),
        (headed(b"Content-Length: 5, 5"), NotHttp),
        (headed(b"Content-Length: -5"), NotHttp),
        (headed(b"Content-Length: 99999999999999999999"), NotHttp),
        (headed(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), NotHttp),
        (headed(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"5\r\nhello\r\n0\r\n\r\n"), NotHttp),
        (headed(b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\nhello"), NotHttp),
        (headed(b"X: a\rContent-Length: 2", b"Content-Length: 5"), NotHttp),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", NotHttp),
        (b"hello, older than any header", NotHttp),
    ],
)
async def test_half_a_response_and_more_than_one_are_errors(connection, reply, error):
    connection.data_received(reply)
    connection.connection_lost(None)
    with pytest.raises(error, match=r"[a-z]{3}"):  # in words
        await everything(connection)
    assert not connection.is_free


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"y" * LONGEST_HEADER_BYTES),
        (b"HTTP/1.1 200 ", b"z" * LONGEST_HEADER_BYTES),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ", b"t" * LONGEST_HEADER_BYTES),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"e" * LONGEST_HEADER_BYTES),
    ],
)
async def test_headers_without_end_are_not_read_anywhere_in_a_response(connection, wire, begin, more):
    connection.data_received(begin)
    fed = 0
    while not wire.aborted:
        connection.data_received(more)
        fed += len(more)
        assert fed <= (MOST_HEADERS + 1) * LONGEST_HEADER_BYTES
    with pytest.raises(HeadTooLarge, match="headers without end"):
        await everything(connection)


@pytest.mark.parametrize("header", [(b"a", b"1\r\nb: 2"), (b"a\nb", b"1"), (b"a", b"1\r")])
def test_no_header_can_smuggle_in_another(header):
    with pytest.raises(ValueError, match="line end"):
        request_head("GET", b"/", [header])


def test_a_request_goes_out_as_it_is():
    assert request_head("POST", b"/a%2Fb?c", [(b"Host", b"x"), (b"Content-Length", b"2")]) == (
        b"POST /a%2Fb?c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    )
