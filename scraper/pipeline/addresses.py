"""Which addresses a page may be fetched from. Pure: names and numbers in, a verdict out.

Whoever may submit a task may name any address, and so may any site that redirects. Without this policy the worker would
fetch the router's settings, a cloud's credentials or the model server itself on their behalf. So a page is fetched
only from where the public internet ends up:

- the URL is http or https, without credentials, on a port that speaks HTTP;
- the host is a plain name or an address in its one usual spelling: `2130706433`, `0177.0.0.1`, `0x7f.1` and `127.1`
  are all read as 127.0.0.1 by some resolver, and written that way by nobody who means well;
- the address dialled is globally routable, looked at through the forms in which IPv6 carries an IPv4 address.

A name with both kinds of addresses is fetched from the good ones only. That is as safe as refusing it, because what is
dialled is the address that was checked, and a stray private record must not cost a page that every browser shows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

from scraper.errors import Permanent
from scraper.models import ParkReason

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_scheme(scheme: str) -> None:
    """Refuse everything but http and https."""
    if scheme not in {"http", "https"}:
        named = f"{scheme[:20]}:" if re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) else "no scheme"
        raise _refused(f"only http: and https: addresses are fetched, this one has {named}")


def check_port(port: int | None, *, host: str) -> None:
    """Refuse ports of other services, which a request could be made to talk to."""
    if port is not None and (port in _BAD_PORTS or not 0 < port < 65536):
        raise _refused(f"{host}: port {port} is not one for web pages")


def check_host(host: str, *, allow_private: bool) -> str:
    """`host` in its one spelling: lower case, IDNA already applied, no trailing dot, IPv6 without brackets.

    Names are judged again by the addresses they resolve to; this only spares the question where the answer is known.
    """
    host = host.lower().removesuffix(".")
    if ":" in host:
        return _check_literal(host, allow_private=allow_private)
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise _refused("the address names no valid host" if not host else f"«{_printable(host)}» is no valid host name")
    last = host.rpartition(".")[2]
    if last.isdigit() or _HEX.fullmatch(last):
        return _check_literal(host, allow_private=allow_private)
    if not allow_private and (host in _PRIVATE_NAMES or host.endswith(_PRIVATE_SUFFIXES)):
        raise _refused(f"{host} is a name of this machine or its own network{_HINT}")
    return host


def dialable(addresses: Iterable[str], *, host: str, allow_private: bool) -> list[str]:
    """Those of the addresses `host` resolved to that may be dialled, in their order; Permanent if there is none."""
    good, refused = [], ""
    for text in addresses:
        kind = what_is_wrong_with(text, allow_private=allow_private)
        if kind is None:
            good.append(text)
        else:
            refused = refused or f"{host} is at {_printable(text)}, {kind} address{_hint(text)}"
    if not good:
        raise _refused(refused or f"{host} has no address")
    return good


def refuse_dialling(address: str, *, allow_private: bool) -> None:
    """The same verdict on one address that is about to be dialled; Permanent if it may not be."""
    dialable([address], host=address, allow_private=allow_private)


def what_is_wrong_with(text: str, *, allow_private: bool = False) -> str | None:
    """Why this address is not dialled, as words that fit before «address»; None if it may be."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return "an unreadable"
    address = _inner(address)
    if address.is_multicast or address.is_unspecified or address == _BROADCAST:
        return "a multicast, broadcast or unspecified"
    if any(address in network for network in _METADATA if network.version == address.version):
        return "a cloud's metadata"
    if allow_private:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return _wrong_v6(address)
    return _wrong_v4(address)


def _wrong_v4(address: ipaddress.IPv4Address) -> str | None:
    if address.is_loopback:
        return "a loopback"
    if any(address in network for network in _BAD_V4) or not address.is_global:
        return "a private or reserved"
    return None


def _wrong_v6(address: ipaddress.IPv6Address) -> str | None:
    if address.is_loopback:
        return "a loopback"
    if address.scope_id is not None or address.is_link_local or address.is_site_local:
        return "a link-local"
    if any(address in network for network in _TUNNELS):
        return "a tunnel"
    if address not in _GLOBAL_V6 or any(address in network for network in _BAD_V6) or not address.is_global:
        return "a private or reserved"
    return None


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only wraps: mapped, or behind a NAT64 gateway (RFC 6052).

    6to4, Teredo and IPv4-compatible addresses wrap one too, but have been dead for years: they are refused whole.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _check_literal(host: str, *, allow_private: bool) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise _refused(f"«{_printable(host)}» is an address in an unusual spelling; write it as a.b.c.d") from None
    kind = what_is_wrong_with(host, allow_private=allow_private)
    if kind is not None:
        raise _refused(f"{address} is {kind} address{_hint(host)}")
    return str(address)


def _hint(address: str) -> str:
    """Where it would be fetched from if its owner allowed that."""
    return _HINT if what_is_wrong_with(address, allow_private=True) is None else ""


def _refused(why: str) -> Permanent:
    return Permanent(ParkReason.REFUSED_ADDRESS, why)


def _printable(text: str) -> str:
    return re.sub(r"[^!-~\w]", "?", text)[:80]


_HINT = " (ALLOW_PRIVATE_ADDRESSES=on fetches from one's own network)"
# Underscores are no host names by the book, and in daily use all the same.
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_HEX = re.compile(r"0x[0-9a-f]*")
_PRIVATE_NAMES = frozenset({"localhost", "local", "internal", "broadcasthost", "ip6-localhost", "ip6-loopback"})
# RFC 6761, 6762, 8375, 9476 and ICANN's `.internal`
_PRIVATE_SUFFIXES = (".localhost", ".localdomain", ".local", ".internal", ".home.arpa", ".alt")

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out as global unicast
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TUNNELS = (
    ipaddress.IPv6Network("2002::/16"),  # 6to4, RFC 7526: deprecated
    ipaddress.IPv6Network("2001::/32"),  # Teredo
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible, RFC 4291: deprecated
)
# Where machines of a cloud find their credentials. No page of one's own network is there, whatever the owner allows.
_METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local as well
        "168.63.129.16/32",  # a public number that means the host
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
    )
)
# IANA's special-purpose registries, where `is_global` of some Python versions is younger or older than they are.
_BAD_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation, RFC 9637
        "2620:4f:8000::/48",  # AS112
    )
)
_BAD_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; also where one cloud keeps its metadata
        "192.0.0.0/24",
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",
        "240.0.0.0/4",
    )
)
# The «bad ports» of the Fetch standard (fetch.spec.whatwg.org/#port-blocking).
_BAD_PORTS = frozenset(
    {0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109}
    | {110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530}
    | {531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045}
    | {4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)
