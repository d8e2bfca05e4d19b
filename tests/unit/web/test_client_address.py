"""Which address and scheme a request has behind proxies, by its header fields."""

from ipaddress import ip_network

import pytest

from order_service.web.client_address import Client, TrustedProxies

PROXIES = TrustedProxies(
    (ip_network("10.0.0.0/8"), ip_network("fd00::/8"), ip_network("192.0.2.1/32"))
)
PEER = Client("10.0.0.1", "http")


def client(*fields: tuple[str, str], peer: Client = PEER) -> Client:
    return PROXIES.client(peer, [(name.encode(), value.encode()) for name, value in fields])


@pytest.mark.parametrize(
    ("host", "is_proxy"),
    [
        ("10.255.0.9", True),
        ("::ffff:10.0.0.1", True),
        ("fd00::7", True),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", False),
        ("unix", False),
        (None, False),
    ],
)
def test_a_proxy_is_known_by_its_address(host: str | None, is_proxy: bool) -> None:
    assert PROXIES.include(host) == is_proxy


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.2.0.1", "203.0.113.7"),
        # What is to the left of the client is what the client wrote.
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.9.9.9, 203.0.113.7, 10.2.0.1, fd00::1", "203.0.113.7"),
        # All are proxies: the first of them is a client of the others.
        ("10.3.0.1, 10.2.0.1", "10.3.0.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        # Malformed: the last good one.
        ("", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("203.0.113.7, unknown, 10.2.0.1", "10.2.0.1"),
        ("203.0.113.7,, 10.2.0.1", "10.2.0.1"),
        ("203.0.113.7,", "10.0.0.1"),
        ("203.0.113", "10.0.0.1"),
        ("203.0.113.007", "10.0.0.1"),
        ("203.0.113.7.8", "10.0.0.1"),
        ("3405803783", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1"),
        ('"203.0.113.7"', "10.0.0.1"),
        ("203.0.113.7\u0663", "10.0.0.1"),
        ("x" * 16_000, "10.0.0.1"),
        ("," * 16_000, "10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_proxy_s(value: str, host: str) -> None:
    assert client(("x-forwarded-for", value)) == Client(host, "http")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.7", Client("203.0.113.7", "http")),
        ("for=203.0.113.7;proto=https;by=10.0.0.1", Client("203.0.113.7", "https")),
        ("For=203.0.113.7;Proto=HTTPS", Client("203.0.113.7", "https")),
        ('for="203.0.113.7:4711";host=shop.example', Client("203.0.113.7", "http")),
        ('proto=https;for="[2001:db8::7]:4711"', Client("2001:db8::7", "https")),
        ('for="[2001:db8::7]"', Client("2001:db8::7", "http")),
        (
            "for=198.51.100.1;proto=http, for=203.0.113.7;proto=https",
            Client("203.0.113.7", "https"),
        ),
        ("for=203.0.113.7;proto=https, for=10.2.0.1", Client("203.0.113.7", "https")),
        ('for=1.2.3.4;host="a,b", for=203.0.113.7', Client("203.0.113.7", "http")),
        ('for="203.0.113\\.7"', Client("203.0.113.7", "http")),
        # Malformed or hidden: the last good one.
        ("", PEER),
        ("for=unknown", PEER),
        ("for=_hidden", PEER),
        ("for=2001:db8::7", PEER),
        ("203.0.113.7", PEER),
        ("for=203.0.113.7;for=203.0.113.8", PEER),
        ("for=203.0.113.7 proto=https", PEER),
        ("proto=https", Client("10.0.0.1", "https")),
        ("for=203.0.113.7;proto=gopher", Client("203.0.113.7", "http")),
        ("for=203.0.113.7, nonsense, for=10.2.0.1", Client("10.2.0.1", "http")),
        # An open quote of the client must not hide what the proxy adds behind it.
        ('for="1.2.3.4, for="[2001:db8::7]:1";proto=https', PEER),
        ('for="1.2.3.4, for=203.0.113.7', PEER),
        ('"' * 16_000, PEER),
        ("for=10.2.0.1, " * 1_000 + "for=10.2.0.1", Client("10.2.0.1", "http")),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(value: str, expected: Client) -> None:
    assert client(("forwarded", value)) == expected


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        ("203.0.113.7", "https", "https"),
        ("203.0.113.7", "HTTPS", "https"),
        ("203.0.113.7, 10.2.0.1", "https", "https"),
        ("203.0.113.7, 10.2.0.1", "https, http", "https"),
        ("198.51.100.1, 203.0.113.7", "https, http", "http"),
        ("203.0.113.7", "wss", "http"),
        ("203.0.113.7", "", "http"),
    ],
)
def test_the_scheme_comes_along(addresses: str, schemes: str, scheme: str) -> None:
    found = client(("x-forwarded-for", addresses), ("x-forwarded-proto", schemes))

    assert found == Client("203.0.113.7", scheme)


def test_several_fields_of_one_name_are_one_list() -> None:
    fields = [("x-forwarded-for", value) for value in ("198.51.100.1", "203.0.113.7, 10.2.0.1")]

    assert client(*fields).host == "203.0.113.7"


@pytest.mark.parametrize(
    ("forwarded", "listed", "host"),
    [
        ("for=203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("for=198.51.100.1", "203.0.113.7", "10.0.0.1"),
        ("nonsense", "203.0.113.7", "10.0.0.1"),
    ],
)
def test_fields_that_disagree_count_for_nothing(forwarded: str, listed: str, host: str) -> None:
    """A proxy sets one of them; the other may be the client's own."""
    assert client(("forwarded", forwarded), ("x-forwarded-for", listed)).host == host


def test_at_most_32_hops_are_read() -> None:
    hops = ["203.0.113.7", *(f"10.0.1.{number}" for number in range(32))]

    assert client(("x-forwarded-for", ", ".join(hops))).host == "10.0.1.0"
    assert client(("x-forwarded-for", ", ".join(hops[:1] + hops[2:]))).host == "203.0.113.7"
