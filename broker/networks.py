"""A set of networks, for look-ups of addresses."""

from __future__ import annotations

from collections.abc import Iterable

from broker.addresses import IPAddress, IPNetwork, parse_network


class NetworkSet:
    """A set of networks. A look-up takes one step for each prefix length, however many networks there are."""

    def __init__(self, networks: Iterable[IPNetwork] = ()) -> None:
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            host_bits = network.max_prefixlen - network.prefixlen
            prefixes = self._prefixes.setdefault((network.version, host_bits), set())
            prefixes.add(int(network.network_address) >> host_bits)

    @staticmethod
    def of(texts: Iterable[str]) -> NetworkSet:
        """Return the set of `texts`: addresses, or networks in CIDR form. Others are left out."""
        return NetworkSet(network for text in texts if (network := parse_network(text)) is not None)

    def __len__(self) -> int:
        return sum(map(len, self._prefixes.values()))

    def __contains__(self, address: IPAddress) -> bool:
        number, version = int(address), address.version
        return any(of == version and number >> bits in found for (of, bits), found in self._prefixes.items())
