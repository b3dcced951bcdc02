import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.errors import Permanent
from scraper.models import ParkReason
from scraper.pipeline.addresses import check_host, check_port, check_scheme, dialable, what_is_wrong_with

NOT_GLOBAL = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
]  # fmt: skip
GLOBAL = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.0", "192.0.1.1",
          "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]  # fmt: skip


@pytest.mark.parametrize("address", NOT_GLOBAL)
def test_what_does_not_end_in_the_public_internet_is_refused(address):
    assert what_is_wrong_with(address) is not None


@pytest.mark.parametrize("address", GLOBAL)
def test_public_addresses_may_be_dialled(address):
    assert what_is_wrong_with(address) is None


@pytest.mark.parametrize("address", ["", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "::g", "1.2.3.4 "])
def test_what_is_no_address_is_refused(address):
    assert what_is_wrong_with(address, allow_private=True) == "an unreadable"


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_in_ipv6_never_makes_it_acceptable(address):
    verdict = what_is_wrong_with(str(address))
    wrapped = [ipaddress.IPv6Address((0xFFFF << 32) | int(address)), ipaddress.IPv6Address(int(address))]
    wrapped += [ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)]
    wrapped += [ipaddress.IPv6Address((0x64FF9B << 96) | int(address))]
    assert verdict is None or all(what_is_wrong_with(str(outer)) for outer in wrapped)


@given(st.ip_addresses())
def test_nothing_is_acceptable_that_python_calls_private(address):
    if not address.is_global and getattr(address, "ipv4_mapped", None) is None:
        assert what_is_wrong_with(str(address)) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "fe80::1", "192.168.0.1", "100.64.0.1"])
def test_ones_own_network_may_be_dialled_where_the_owner_allows_it(address):
    assert what_is_wrong_with(address, allow_private=True) is None


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "168.63.129.16"),
        *("100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    ],
)
def test_the_credentials_of_a_cloud_are_refused_always(address):
    """Any site may redirect there, and there is no page of one's own network."""
    assert what_is_wrong_with(address, allow_private=True) == "a cloud's metadata"
    with pytest.raises(Permanent) as refused:
        dialable([address], host="x.example", allow_private=False)
    assert "ALLOW_PRIVATE_ADDRESSES" not in str(refused.value)  # it would not help


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"])
def test_addresses_of_nobody_or_everybody_are_refused_always(address):
    assert what_is_wrong_with(address, allow_private=True) is not None


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0x7f000001", "017700000001", "1.2.3", "0", "127.0.0.01", "8.8.8.8.8",
     "0x", "example.0x1", "example.123", "127.0.0.1", "[::1]", "::1", "::ffff:127.0.0.1", "fe80::1%25eth0"],
)  # fmt: skip
def test_addresses_that_are_private_or_spelled_to_hide_are_refused(host):
    with pytest.raises(Permanent) as refusal:
        check_host(host, allow_private=False)
    assert refusal.value.reason is ParkReason.REFUSED_ADDRESS


@pytest.mark.parametrize(
    "host",
    ["", ".", "..", "a..b", ".a", "-a.com", "a-.com", "exa%20mple", "%31%32%37.0.0.1", "a b", "a@b", "a\x00b", "ä.de", "a" * 64 + ".com",
     "a." * 130 + "com", "a/b", "a\\b", "example.com.."],
)  # fmt: skip
def test_what_is_no_host_name_is_refused(host):
    with pytest.raises(Permanent):
        check_host(host, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "printer.local",
        "metadata.google.internal",
        "nas.home.arpa",
    ],
)
def test_names_of_this_machine_and_its_network_are_refused_without_asking_anyone(host):
    with pytest.raises(Permanent, match="ALLOW_PRIVATE_ADDRESSES"):
        check_host(host, allow_private=False)


@pytest.mark.parametrize(
    ("host", "canonical"),
    [("Example.COM", "example.com"), ("example.com.", "example.com"), ("a_b.example.com", "a_b.example.com"),
     ("xn--bcher-kva.de", "xn--bcher-kva.de"), ("8.8.8.8", "8.8.8.8"), ("8.8.8.8.", "8.8.8.8"), ("2606:4700:4700:0:0:0:0:1111", "2606:4700:4700::1111"),
     ("1.example.com", "1.example.com"), ("localhost.example.com", "localhost.example.com")],
)  # fmt: skip
def test_a_host_has_one_spelling(host, canonical):
    assert check_host(host, allow_private=False) == canonical


def test_a_refusal_shows_the_host_as_it_was_written_and_nothing_that_moves_a_cursor():
    with pytest.raises(Permanent, match=r"«c\.example,foo» is no valid host name"):
        check_host("c.example,foo", allow_private=False)
    with pytest.raises(Permanent, match=r"«a\?b\?c» is no valid host name"):
        check_host("a\x1bb\u202ec", allow_private=False)


def test_localhost_is_a_host_like_others_where_private_addresses_are_allowed():
    assert check_host("localhost", allow_private=True) == "localhost"


def test_only_the_good_ones_of_mixed_addresses_are_dialled():
    assert dialable(["10.0.0.1", "8.8.8.8", "::1", "1.1.1.1"], host="a.com", allow_private=False) == [
        "8.8.8.8",
        "1.1.1.1",
    ]


def test_a_name_with_nothing_but_bad_addresses_is_refused_and_the_message_says_why():
    with pytest.raises(Permanent, match=r"a\.com is at 10\.0\.0\.1, a private or reserved address"):
        dialable(["10.0.0.1", "::1"], host="a.com", allow_private=False)


def test_a_name_without_addresses_is_refused():
    with pytest.raises(Permanent, match=r"a\.com has no address"):
        dialable([], host="a.com", allow_private=True)


@pytest.mark.parametrize("scheme", ["", "file", "ftp", "gopher", "data", "javascript", "ws", "unix", "http+unix"])
def test_only_http_and_https_are_fetched(scheme):
    with pytest.raises(Permanent, match="only http: and https:"):
        check_scheme(scheme)


@pytest.mark.parametrize("port", [0, 22, 25, 6379 - 379, 6667, 65536, -1])
def test_ports_of_other_services_are_refused(port):
    with pytest.raises(Permanent, match="port"):
        check_port(port, host="a.com")


@pytest.mark.parametrize("port", [None, 80, 443, 8080, 8000, 3000])
def test_ports_of_web_servers_are_fine(port):
    check_port(port, host="a.com")
    check_scheme("https")
