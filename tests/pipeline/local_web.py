"""An internet of one's own: names, public addresses and hostile servers, all on the loopback of this process.

The fetcher under test resolves and dials as it always does; only the last step, connecting a socket to an address, is
led to a local server. `dialled` is therefore exactly what would have been dialled.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

PUBLIC = "93.184.216.34"
OTHER_PUBLIC = "151.101.1.69"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(body=b"<html><p>hello", *, status=200, content_type="text/html; charset=utf-8", length=None, **headers):
    """A whole HTTP answer. Header names are written with underscores."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location, status=302, **headers):
    return answer(b"", status=status, Location=location, **headers)


class Site:
    """A server whose every path answers with bytes, or talks by itself. `asked` is what was asked for, in order."""

    def __init__(self, pages: dict[str, bytes | Talk], *, tls: ssl.SSLContext | None = None) -> None:
        self.pages = {"/robots.txt": answer(b"", status=404), **pages}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._tls = tls
        self._talks: set[asyncio.Task] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    def count(self, path):
        return self.asked.count(path)

    async def _accept(self, reader, writer):
        self._talks.add(task := asyncio.current_task())
        task.add_done_callback(self._talks.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader, writer):
        if "" in self.pages:  # talks before it is asked
            await self.pages[""](reader, writer)
            return
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = first.split(" ")[1]
        self.asked.append(path)
        self.headers.append(
            {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        )
        page = self.pages.get(path, answer(b"gone", status=404))
        if callable(page):
            await page(reader, writer)
        else:
            writer.write(page)
            await writer.drain()


class LocalWeb:
    """Names → addresses (a list; or several, one per question) and addresses → sites."""

    def __init__(self) -> None:
        self.names: dict[str, list[str] | Callable[[], list[str]]] = {}
        self.sites: dict[str, Site] = {}
        self.dialled: list[tuple[str, int]] = []

    async def resolve(self, host):
        if host not in self.names:
            raise OSError(-2, "Name or service not known")
        addresses = self.names[host]
        return addresses() if callable(addresses) else addresses

    @contextlib.contextmanager
    def connected(self):
        """While this lasts, the running loop's connections end up at the local sites."""
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def sock_connect(sock, address):
            self.dialled.append(address[:2])
            site = self.sites.get(address[0])
            if site is None:
                raise ConnectionRefusedError(111, "Connection refused")
            await connect(sock, site.address)

        loop.sock_connect = sock_connect
        try:
            yield self
        finally:
            del loop.sock_connect
