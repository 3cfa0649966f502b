"""The client's address: a proxy's word is taken, and a client's is not."""

from __future__ import annotations

import json

import pytest

from mcp_facade.http.proxies import FORWARDED_BYTES_MAX, FORWARDED_ENTRIES_MAX, TrustedProxies
from tests.facade.people import Era, Person, crowd
from tests.support.process import started
from tests.support.raw import HeaderLine, lines_of, raw
from tests.support.server import serving

PROXY = "10.0.0.1"
TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48")


def client_of(*forwarded: str, peer: str = PROXY, trusted: tuple[str, ...] = TRUSTED) -> str:
    """Return the client's address for a request from `peer` with these `X-Forwarded-For` headers, among others."""
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in forwarded), (b"x", b"y")]
    return TrustedProxies(trusted).client_of(peer, headers)


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ((), PROXY),
        (("192.0.2.1",), "192.0.2.1"),
        (("6.6.6.6, 192.0.2.1",), "192.0.2.1"),
        (("6.6.6.6", "192.0.2.1"), "192.0.2.1"),
        (("192.0.2.1, 10.1.2.3, 10.3.2.1",), "192.0.2.1"),
        (("192.0.2.1, 10.1.2.3", "10.3.2.1"), "192.0.2.1"),
        (("10.9.9.9, 10.1.2.3",), "10.9.9.9"),
        (("192.0.2.1:567",), "192.0.2.1"),
        (("2001:DB8:0:1::1",), "2001:db8:0:1::1"),
        (("[2001:db8:0:1::1]",), "2001:db8:0:1::1"),
        (('"[2001:db8:0:1::1]:5"',), "2001:db8:0:1::1"),
        (("fe80::1%eth0",), "fe80::1"),
        (("::ffff:192.0.2.1",), "192.0.2.1"),
        (("192.0.2.1, ::ffff:10.2.3.4",), "192.0.2.1"),
        (("192.0.2.1, 2001:db8:ffff::7",), "192.0.2.1"),
        ((" ,192.0.2.1 ,\t,",), "192.0.2.1"),
        (("unknown, 192.0.2.1",), "192.0.2.1"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_proxys(forwarded: tuple[str, ...], client: str) -> None:
    """The header is read from the right, since a client can write anything at the left."""
    assert client_of(*forwarded) == client
    assert client_of(*forwarded, peer=f"::ffff:{PROXY}") == client


@pytest.mark.parametrize(
    "forwarded",
    [
        *("unknown", "", ",", "192.0.2.1, unknown", "192.0.2.1, _hidden, 10.1.2.3", "192.0.2.256", "192.0.2.1:x"),
        *("192.0.2.1:567890", "[::1", "[::1]x", "for=192.0.2.1", "192.0.2.01", "\xff", "1", "[]", '"', "::1:2:3::4"),
        "192.0.2.1, " + ", ".join([PROXY] * (FORWARDED_ENTRIES_MAX + 1)),
        "192.0.2.1," + " " * FORWARDED_BYTES_MAX + PROXY,
        "192.0.2.1" * FORWARDED_BYTES_MAX,
    ],
)
def test_what_cannot_be_read_is_not_believed(forwarded: str) -> None:
    """An unreadable header makes the proxy count: nonsense gives no client an address of its own."""
    assert client_of(forwarded) == PROXY


def test_a_long_header_is_read_from_its_end() -> None:
    """Any amount of text at the left costs nothing."""
    assert client_of("6.6.6.6, " * 10_000 + "192.0.2.1") == "192.0.2.1"


@pytest.mark.parametrize("peer", ["192.0.2.9", "2001:db8::1", "127.0.0.1", "unknown"])
def test_who_is_no_trusted_proxy_speaks_for_itself(peer: str) -> None:
    """Its claims change nothing, and no address is trusted by default, not even this machine."""
    assert client_of("6.6.6.6", peer=peer) == peer
    assert client_of("6.6.6.6", peer=peer, trusted=()) == peer


async def minted(person: Person, *lines: HeaderLine) -> bool:
    """Enter the queue without a handle as a new client; return true if that is within the limit."""
    name = "enter_queue"
    params = person.params({"name": name, "arguments": {}})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = [("Host", "localhost"), *lines, *lines_of(person, "tools/call"), ("Mcp-Name", name)]
    response = await raw(person.running.port, headers, body)
    assert response.status == 200
    assert "rate_limited" in response.text or "cb_" in response.text
    return "rate_limited" not in response.text


@pytest.mark.anyio
async def test_clients_behind_a_trusted_proxy_are_counted_apart(era: Era) -> None:
    """The proxy's addresses count, an IPv6 subscriber as one; a repeated header is read to its end."""
    limits = {"handles_minted_per_10s_max": 1, "exempt_peers": ()}
    async with serving(trust_proxies=("127.0.0.1",), **limits) as running, crowd(running) as there:

        async def allowed(*addresses: str) -> bool:
            person = await there.person(era)
            return await minted(person, *(("X-Forwarded-For", address) for address in addresses))

        assert await allowed("192.0.2.1")
        assert not await allowed("6.6.6.6, 192.0.2.1:99")
        assert not await allowed("6.6.6.6", "192.0.2.1")
        assert await allowed("192.0.2.2")
        assert await allowed("2001:db8::1")
        assert not await allowed("2001:db8::2")
        assert await allowed("nonsense")
        assert not await allowed()


@pytest.mark.anyio
async def test_nobody_is_believed_unless_named(era: Era, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy on this machine is not trusted, either, even if the variable of the HTTP server says so."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with serving(handles_minted_per_10s_max=1, exempt_peers=()) as running, crowd(running) as there:
        assert await minted(await there.person(era), ("X-Forwarded-For", "192.0.2.1"))
        assert not await minted(await there.person(era), ("X-Forwarded-For", "192.0.2.2"))


@pytest.mark.anyio
async def test_the_variable_that_was_used_before_is_warned_of() -> None:
    """One line names the setting in its place."""
    process = await started("serve", "--port", "0", "--log-format", "json", FORWARDED_ALLOW_IPS="10.0.0.1")
    assert process.stderr is not None
    line = json.loads(await process.stderr.readline())
    process.kill()
    await process.communicate()
    assert (line["event"], line["level"], line["variable"]) == ("ignored_setting", "warning", "FORWARDED_ALLOW_IPS")
    assert "--trust-proxy" in line["hint"]
