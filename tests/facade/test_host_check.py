"""Hosts and origins as clients, browsers and attackers send them, at a real server."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from broker.line_limit import LINES_EVERY_MS
from mcp_facade.http.connection import HEAD_BYTES_MAX
from tests.facade.people import Crowd, Era, Person, crowd
from tests.support.fake_clock import FakeClock
from tests.support.raw import RawResponse, body_of, lines_of, raw
from tests.support.server import serving

pytestmark = pytest.mark.anyio

BAD_BODIES = [
    *(b"", b'{"a":', b"\xff", b"7", b"[]", b"[" * 5_000, b'{"jsonrpc": "2.0", "method": "notifications/none"}'),
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}}',
    b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": 7}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "none"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 1}}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
]


async def listed(person: Person, *lines: tuple[str, str]) -> RawResponse:
    """Return the answer to a `tools/list` of `person` with `lines` as more headers; none has a `Host` of its own."""
    return await raw(person.running.port, [*lines, *lines_of(person)], body_of(person))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "LocalHost.", "localhost.:8000", "localhost:0", "LOCALHOST:65535"),
        *("127.0.0.1", "127.0.0.1.", "127.0.0.1:1", "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]:8000", "[0::0001]"),
    ],
)
async def test_this_machine_is_known_however_it_is_written(there: Crowd, era: Era, host: str) -> None:
    """In capitals, with a trailing dot, with any port, and as an IPv6 address in any form, it is this machine."""
    ann = await there.person(era)
    assert (await listed(ann, ("Host", host))).status == 200
    assert (await listed(ann, ("Host", host), ("Origin", f"http://{host}"))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.com", "localhost:evil.com", "localhost:80:80", "localhost:80.evil.com"),
        *("localhost:65536", "localhost:x", "localhost:+80", "localhost/", "localhost..", "a@localhost"),
        *("localhost@evil.com", "localhost, evil.com", "localhost evil.com"),
        *("http://localhost", "127.0.0.1.evil.com", "127.1", "[::1", "[::1].evil.com", "[::2]", "::1", "\xff", ""),
        "a" * 5_000,
    ],
)
async def test_another_host_is_refused_however_it_begins(there: Crowd, era: Era, host: str) -> None:
    """The status is 421, with the setting to allow it; the caller's words are not repeated."""
    ann = await there.person(era)
    refused = await listed(ann, ("Host", host))
    assert refused.status == 421
    assert "--allow-host" in refused.text
    assert "evil" not in refused.text


@pytest.mark.parametrize(
    "hosts", [(), ("localhost", "localhost"), ("localhost", "evil.com"), ("evil.com", "localhost"), ("localhost", "")]
)
async def test_a_request_has_one_host(there: Crowd, era: Era, hosts: tuple[str, ...]) -> None:
    """No host is refused, also after a right one, and so are several, since a proxy may have read another."""
    ann = await there.person(era)
    assert (await listed(ann, ("Host", "localhost"))).status == 200
    refused = await listed(ann, *(("Host", host) for host in hosts))
    assert refused.status == 400
    assert refused.text == "Invalid Host header: a request has exactly one"


@pytest.mark.parametrize("forwarded", ["X-Forwarded-Host", "Forwarded", "X-Host"])
async def test_a_host_is_not_forwarded(there: Crowd, era: Era, forwarded: str) -> None:
    """A proxy's or a client's header about another host changes nothing."""
    ann = await there.person(era)
    assert (await listed(ann, ("Host", "evil.com"), (forwarded, "localhost"))).status == 421
    assert (await listed(ann, ("Host", "localhost"), (forwarded, "evil.com"))).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "https://evil.com", "http://localhost:8000.evil.com", "http://localhost.evil.com", "localhost"),
        *("http://localhost@evil.com", "http://a@localhost", "http://localhost/", "http://localhost/app", "http://"),
        *("http://localhost?x", "http://localhost http://evil.com", "http://localhost:x", "ftp://localhost", "*"),
        *("http://localhost:80:80", "http://[::2]", "file://", "chrome-extension://localhost", "a" * 5_000),
    ],
)
async def test_another_origin_is_refused_however_it_begins(there: Crowd, era: Era, origin: str) -> None:
    """The status is 403, with the setting to allow it; the caller's words are not repeated."""
    ann = await there.person(era)
    refused = await listed(ann, ("Host", "localhost"), ("Origin", origin))
    assert refused.status == 403
    assert "--allow-origin" in refused.text
    assert "evil" not in refused.text


@pytest.mark.parametrize("second", ["http://localhost", "https://evil.com", ""])
async def test_a_request_has_one_origin(there: Crowd, era: Era, second: str) -> None:
    """Either of two might be the page's."""
    ann = await there.person(era)
    assert (await listed(ann, ("Host", "localhost"), ("Origin", "http://localhost"))).status == 200
    for origins in (("http://localhost", second), (second, "http://localhost")):
        refused = await listed(ann, ("Host", "localhost"), *(("Origin", origin) for origin in origins))
        assert refused.status == 403


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("chat.example", "CHAT.example.:8443", 200),
        ("Chat.Example", "chat.example", 200),
        ("chat.example:443", "chat.example", 200),
        ("chat.example:443", "chat.example:443", 200),
        ("chat.example:80", "chat.example", 200),
        ("chat.example:443", "chat.example:80", 421),
        ("chat.example:8443", "chat.example:8443", 200),
        ("chat.example:8443", "chat.example:08443", 200),
        ("chat.example:8443", "chat.example", 421),
        ("[2001:DB8:0::1]", "[2001:db8::1]:80", 200),
        ("10.0.0.7:80", "10.0.0.7", 200),
        ("10.0.0.7:80", "10.0.0.7:8000", 421),
    ],
)
async def test_an_allowed_host_has_any_port_or_its_own(era: Era, allowed: str, host: str, status: int) -> None:
    """A host without a port means that of http or of https."""
    async with serving(allow_hosts=(allowed,)) as running, crowd(running) as there:
        ann = await there.person(era)
        assert (await listed(ann, ("Host", host))).status == status


@pytest.mark.parametrize(
    ("hosts", "origins", "origin", "status"),
    [
        (("chat.example",), (), "https://Chat.Example", 200),
        (("chat.example",), (), "http://chat.example:8080", 200),
        (("chat.example",), (), "https://other.chat.example", 403),
        (("chat.example",), (), "app://chat.example", 403),
        (("chat.example:443",), (), "https://chat.example", 200),
        (("chat.example:443",), (), "http://chat.example", 403),
        (("chat.example:8443",), (), "https://chat.example:8443", 200),
        (("chat.example:8443",), (), "https://chat.example", 403),
        ((), ("https://page.example",), "https://page.example:443", 200),
        ((), ("https://page.example:443",), "HTTPS://PAGE.EXAMPLE", 200),
        ((), ("https://page.example",), "http://page.example", 403),
        ((), ("https://page.example",), "https://page.example:8443", 403),
        ((), ("http://page.example:80",), "http://page.example", 200),
        ((), ("vscode-webview://abc",), "vscode-webview://abc", 200),
        ((), ("vscode-webview://abc",), "vscode-webview://abcd", 403),
    ],
)
async def test_the_origin_of_an_allowed_host_is_allowed(
    era: Era, hosts: tuple[str, ...], origins: tuple[str, ...], origin: str, status: int
) -> None:
    """It is allowed by either scheme, with the ports of the host; an allowed origin is allowed with its own port."""
    async with serving(allow_hosts=hosts, allow_origins=origins) as running, crowd(running) as there:
        ann = await there.person(era)
        assert (await listed(ann, ("Host", "localhost"), ("Origin", origin))).status == status


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("text/plain", 400),
        ("", 400),
        ("text/plain; application/json", 400),
    ],
)
async def test_a_post_is_json(there: Crowd, era: Era, content_type: str, status: int) -> None:
    """A page can send anything else without a preflight."""
    ann = await there.person(era)
    lines = [line for line in lines_of(ann) if line[0] != "content-type"]
    given = [("Host", "localhost"), ("Content-Type", content_type), *lines]
    assert (await raw(there.running.port, given, body_of(ann))).status == status


async def test_refusals_cannot_flood_the_log(log_text: io.StringIO) -> None:
    """There is a line a minute of each kind, and the next one has the number of the others."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.modern()

        async def flood() -> None:
            for _ in range(5):
                await listed(ann, ("Host", "evil.com"))
                await listed(ann)
                await listed(ann, ("Host", "localhost"), ("Origin", "https://evil.com"))

        await flood()
        await clock.advance(LINES_EVERY_MS)
        await flood()
    told = [line for line in map(json.loads, log_text.getvalue().splitlines()) if line["level"] == "warning"]
    kinds = ["host_refused", "host_malformed", "origin_refused"]
    assert [(line["event"], line.get("suppressed")) for line in told] == [
        *((kind, None) for kind in kinds),
        *((kind, 4) for kind in kinds),
    ]
    assert "evil" not in str(told)


async def test_bad_requests_cannot_flood_the_log(log_text: io.StringIO) -> None:
    """Bad are bytes without HTTP, endless heads, and bodies that are too long, no JSON or no message."""
    async with serving(body_bytes_max=10_000) as running, crowd(running) as there:
        people = [await there.modern(), await there.session()]
        for _ in range(3):
            assert (await raw(running.port, [], start="nonsense")).status == 400
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(b"GET /" + b"x" * HEAD_BYTES_MAX)
            assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
            writer.close()
            for person in people:
                lines = [("Host", "localhost"), *lines_of(person)]
                assert (await raw(running.port, lines, b" " * 10_001)).status == 413
                for body in BAD_BODIES:
                    await raw(running.port, lines, body)
    warnings = [line for line in map(json.loads, log_text.getvalue().splitlines()) if line["level"] != "info"]
    assert [line["event"] for line in warnings] == ["Invalid HTTP request received."]
