"""Trusted proxies: the address of the client for which a request was forwarded.

`X-Forwarded-For` can be sent by any client, so it is believed only as far as trusted proxies have written it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from broker.addresses import IPAddress, parse_address, parse_network
from mcp_facade.http.direct_response import Header

FORWARDED_HEADER = b"x-forwarded-for"
FORWARDED_BYTES_MAX = 2_048
FORWARDED_ENTRIES_MAX = 32
"""Limits of the part of `X-Forwarded-For` that is read: its end, where the nearest proxies write."""

_ENTRY = re.compile(r'"?(?:\[([^\[\]]+)\](?::\d{1,5})?|([\d.]+):\d{1,5}|([^"\[\]]+))"?', re.ASCII)


class TrustedProxies:
    """The proxies that are believed, by their networks; none by default."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Take `networks`: addresses, or networks in CIDR form."""
        self._networks = [network for text in networks if (network := parse_network(text)) is not None]

    def client_of(self, peer: str, headers: Sequence[Header]) -> str:
        """Return the address of the client of a request that came from `peer` with `headers`.

        That is `peer`, unless it is a trusted proxy. Then it is the nearest address in `X-Forwarded-For` that is none,
        or the farthest if each is one. If an address on the way there can't be read, it is `peer`.
        """
        address = parse_address(peer) if self._networks else None
        if address is None or not self._trusts(address):
            return peer
        for count, entry in enumerate(_entries_from_the_end(headers)):
            found = _address_in(entry)
            if found is None or count >= FORWARDED_ENTRIES_MAX:
                return peer
            address = found
            if not self._trusts(address):
                break
        return str(address)

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._networks)


def _entries_from_the_end(headers: Sequence[Header]) -> Iterable[bytes]:
    """Return the entries of all `X-Forwarded-For` headers, the last first; empty ones are none (RFC 9110, 5.6.1)."""
    whole = b",".join(value for name, value in headers if name == FORWARDED_HEADER)
    end = whole[-FORWARDED_BYTES_MAX:]
    entries = [entry.strip(b" \t") for entry in reversed(end.split(b","))]
    if len(whole) > len(end):
        entries[-1] = b"cut"  # no address
    return filter(None, entries)


def _address_in(entry: bytes) -> IPAddress | None:
    """Return the address in an entry, which may be quoted, and have a port."""
    found = _ENTRY.fullmatch(entry.decode("latin-1"))
    return parse_address(found[1] or found[2] or found[3]) if found is not None else None
