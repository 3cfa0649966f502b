"""Addresses of HTTP and IP: their parsing, and their canonical forms.

A comparison of two addresses is one of their canonical forms, never of their texts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple

TEXT_CHARACTERS_MAX = 320
"""Limit of an address; a DNS name has at most 253."""

PUBLISHED_CHARACTERS_MAX = 500
"""Limit of the address of a page, or of a mailbox, that is told to clients."""

PORT_MAX = 65_535
IPV6_PREFIX_BITS = 64
"""The part of an IPv6 address that names a subscriber; the rest is the subscriber's to choose."""

DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_ZONE = "%"

_AUTHORITY = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-f:.]+(?:%(?:25)?[a-z0-9._~-]+)?)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?)"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_WEB_ADDRESS = re.compile(r"https?://([^/?#]+)([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)", re.ASCII | re.IGNORECASE)
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9.-]+)")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Authority(NamedTuple):
    """A host and a port, as a `Host` header gives them (RFC 9110, 7.2)."""

    host: str
    """In lower case, without a trailing dot; an IPv6 address in brackets, in its shortest form."""

    port: int | None


class Origin(NamedTuple):
    """An origin of web pages (RFC 6454). For http and https, a left-out port is the scheme's own."""

    scheme: str
    host: str
    port: int | None


def parse_authority(text: str) -> Authority | None:
    """Parse `NAME`, `IPv4` or `[IPv6]`, each with an optional `:PORT`, which may be empty.

    Return `None` for anything else.
    """
    if not text.isascii() or len(text) > TEXT_CHARACTERS_MAX:
        return None
    found = _AUTHORITY.fullmatch(text.lower())
    if found is None:
        return None
    host = found["name"] if found["ipv6"] is None else _bracketed(found["ipv6"])
    port = int(found["port"]) if found["port"] else None  # RFC 3986, 3.2.3: it may be empty
    return Authority(host, port) if host is not None and (port is None or port <= PORT_MAX) else None


def parse_origin(text: str) -> Origin | None:
    """Parse `SCHEME://HOST` with an optional `:PORT`; return `None` for anything else, such as `null` or a path."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    authority = parse_authority(rest)
    if not separator or authority is None or not _SCHEME.fullmatch(scheme):
        return None
    port = authority.port if authority.port is not None else DEFAULT_PORTS.get(scheme)
    return Origin(scheme, authority.host, port)


def is_web_address(text: str) -> bool:
    """Return whether `text` is an http or https URL of at most `PUBLISHED_CHARACTERS_MAX` characters (RFC 3986).

    One with a user or a password is none: it is published.
    """
    found = _WEB_ADDRESS.fullmatch(text) if len(text) <= PUBLISHED_CHARACTERS_MAX else None
    return found is not None and parse_authority(found[1]) is not None


def is_mail_address(text: str) -> bool:
    """Return whether `text` is a mailbox of at most `PUBLISHED_CHARACTERS_MAX` characters, as browsers accept it."""
    found = _MAIL_ADDRESS.fullmatch(text) if len(text) <= PUBLISHED_CHARACTERS_MAX else None
    return found is not None and parse_authority(found[1]) is not None


def host_of(address: str) -> str:
    """Return an address or a name to listen on as it is written in a URL and in a `Host` header."""
    return f"[{address.replace(_ZONE, '%25')}]" if ":" in address else address


def parse_address(text: str) -> IPAddress | None:
    """Parse an IP address; an IPv4-mapped IPv6 address is the IPv4 address, and a zone is left out."""
    try:
        address = ipaddress.ip_address(text.partition(_ZONE)[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def parse_network(text: str) -> IPNetwork | None:
    """Parse an address or a network in CIDR form; return `None` for anything else, such as one with host bits."""
    if _ZONE in text:
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED.prefixlen}")
    return network


def subscriber_of(peer: str) -> str:
    """Return the part of a peer's address that limits count: an IPv4 address, or the /64 of an IPv6 address."""
    address = parse_address(peer)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_PREFIX_BITS), strict=False))
    return str(address) if address is not None else peer


def _bracketed(text: str) -> str | None:
    address, zone, _ = text.partition(_ZONE)
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return None
    return None if zone and not parsed.is_link_local else f"[{parsed.compressed}]"
