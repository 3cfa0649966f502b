"""Addresses are compared in one form, and an invalid one is found."""

from __future__ import annotations

import pytest

from broker.addresses import host_of, parse_authority, parse_network, parse_origin, subscriber_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None),
        ("LOCALHOST.", "localhost", None),
        ("localhost:", "localhost", None),
        ("LocalHost.:8000", "localhost", 8000),
        ("127.0.0.1.", "127.0.0.1", None),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("chat.example.com:65535", "chat.example.com", 65_535),
        ("my_host-1", "my_host-1", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("[::1]", "[::1]", None),
        ("[0:0:0:0:0:0:0:1]:8000", "[::1]", 8000),
        ("[2001:DB8::00A]", "[2001:db8::a]", None),
        ("[fe80::1%eth0]:8000", "[fe80::1]", 8000),
        ("[fe80::1%25eth0]", "[fe80::1]", None),
    ],
)
def test_a_host_has_one_form(text: str, host: str, port: int | None) -> None:
    """In small letters, without a trailing dot or a zone, an IPv6 address in its shortest form."""
    assert parse_authority(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", ":80", "localhost:evil.com", "localhost:80:80", "localhost:80.evil.com"),
        *("localhost:65536", "localhost:-1", "localhost:+1", "localhost:123456", "localhost: 80", "localhost:٨٠"),
        *("a@localhost", "localhost@evil.com", "localhost/", "localhost?", "localhost#", "localhost\\", "a b", " a"),
        *("a..b", "localhost..", ".localhost", "a,b", "http://localhost", "bücher.example", "\u212aelvin", "a\x00"),
        *("::1", "[::1", "::1]", "[]", "[::1]x", "[[::1]]", "[127.0.0.1]", "[localhost]", "[::1%]", "[::1%eth0]"),
        *("[fe80::1%e/h]", "[1:2]", "*", "*.example.com", "a" * 400),
    ],
)
def test_what_is_no_host_is_found_out(text: str) -> None:
    """A foreign name that begins like ours is found, and so is any other invalid host."""
    assert parse_authority(text) is None


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost", ("http", "localhost", 80)),
        ("HTTPS://Page.Example.", ("https", "page.example", 443)),
        ("https://page.example:443", ("https", "page.example", 443)),
        ("http://[0::1]:5173", ("http", "[::1]", 5173)),
        ("vscode-webview://abc", ("vscode-webview", "abc", None)),
    ],
)
def test_an_origin_has_one_form(text: str, origin: tuple[str, str, int | None]) -> None:
    """A missing port of http or https is its default port."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "localhost", "//localhost", "http:localhost", "http:/localhost", "http://", "://localhost"),
        *("http://localhost:8000.evil.com", "http://localhost@evil.com", "http://a:b@localhost", "http://localhost/"),
        *("http://localhost?x", "http://localhost#x", "http://localhost http://evil.com", "http://http://localhost"),
        *("1http://localhost", "ht tp://localhost", "http://localhost:x", "http://*", "*"),
    ],
)
def test_what_is_no_origin_is_found_out(text: str) -> None:
    """An address with a path, a query or a user is none, and `null` is no page's."""
    assert parse_origin(text) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1", "127.0.0.1"), ("name", "name"), ("::1", "[::1]"), ("fe80::1%eth0", "[fe80::1%25eth0]")],
)
def test_an_address_is_written_into_a_url(address: str, host: str) -> None:
    """An IPv6 address stands in brackets there."""
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_a_network_is_an_address_or_a_range(text: str, network: str) -> None:
    """An IPv4 network written as IPv6 is the IPv4 network."""
    assert str(parse_network(text)) == network


@pytest.mark.parametrize("text", ["", "*", "localhost", "unix", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "fe80::1%eth0"])
def test_what_is_no_network_is_found_out(text: str) -> None:
    """Nor is a network's address with the bits of a host: it may mean either."""
    assert parse_network(text) is None


@pytest.mark.parametrize(
    ("peer", "subscriber"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_limits_count_subscribers(peer: str, subscriber: str) -> None:
    """A subscriber of IPv6 has a /64, one of IPv4 an address."""
    assert subscriber_of(peer) == subscriber
