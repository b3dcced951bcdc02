"""Trouble with a connection, named with its fix; against real sockets."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest

from scraper.llm_server import Away, ModelServer
from scraper.llm_transport import ModelServerTransport

PERHAPS = " (if it speaks https, the address must begin with https://)"
TLS = Path(__file__).parent / "pipeline" / "tls"


@pytest.fixture
def nobody():
    """A port where nobody listens, and nobody will while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def trouble(url):
    async with httpx.AsyncClient(transport=ModelServerTransport(https=url.startswith("https"))) as http:
        served = await ModelServer(http, url, secret="", model="m").served()
    return served.error if isinstance(served, Away) else f"{served.setting}: {served.advice}"


def answering(reply, *, tls=None):
    async def connected(reader, writer):
        await reader.read(100)
        writer.write(reply)
        writer.close()

    return asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)


async def test_a_refused_port_is_named_with_what_should_run_there(nobody):
    assert await trouble(f"http://127.0.0.1:{nobody}/v1") == (
        f"connection refused at 127.0.0.1:{nobody}: is vLLM running there?"
    )


async def test_a_host_that_there_is_not_is_named():
    assert (await trouble("http://nosuch.invalid:8000/v1")).startswith("no such host: nosuch.invalid ")


@pytest.mark.parametrize(
    ("scheme", "reply", "said"),
    [
        (
            "http",
            b"SSH-2.0 OpenSSH_9.2\r\n",
            f"what came from {{}} is no HTTP (Expected HTTP/, RTSP/ or ICE/): does vLLM listen there?{PERHAPS}",
        ),
        ("http", b"", f"the connection to {{}} was lost (closed){PERHAPS}"),
        (
            "https",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "VLLM_BASE_URL: {} does not speak https (TLS): is it an http:// address?",
        ),
    ],
)
async def test_what_is_no_server_of_this_kind_is_called_so(scheme, reply, said):
    async with await answering(reply) as server:
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await trouble(f"{scheme}://{where}/v1") == said.format(where)


async def test_a_refused_tls_greeting_is_no_reason_to_doubt_the_scheme():
    async with await answering(b"\x15\x03\x03\x00\x02\x02\x28") as server:  # an alert: handshake failure
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await trouble(f"https://{where}/v1")).startswith(f"no TLS connection to {where} can be made: ")


@pytest.mark.parametrize(
    ("authority", "problem"),
    [("", "unable to get local issuer certificate"), ("authority.pem", "IP address mismatch")],
)
async def test_a_certificate_is_checked_and_ones_own_authority_can_be_named(authority, problem, monkeypatch):
    if authority:
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "shop.pem")
    async with await answering(b"", tls=context) as server:
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert problem in await trouble(f"https://{where}/v1")
