"""Peers refused by the operator: their requests, their open streams and waits, and the log's lines."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from broker.line_limit import LINES_EVERY_MS
from mcp_facade.http.peer_gate import CHECK_EVERY_MS
from tests.facade.people import Era, InSession, Modern, crowd, posted
from tests.facade.test_command_line import failed
from tests.facade.test_starting import SlowLog
from tests.support.fake_clock import FakeClock
from tests.support.limits import HUNG_SECONDS
from tests.support.process import serving as process
from tests.support.raw import body_of, lines_of, raw
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

MALLORYS = "127.0.0.2"
REFUSAL = "Forbidden: the operator of this server refuses requests from this address."


@pytest.fixture
def denied(tmp_path: Path) -> Path:
    """The file, with no denied peer yet."""
    path = tmp_path / "denied.txt"
    path.write_text("# no one\n")
    return path


@asynccontextmanager
async def mallory_at(running: Running, era: Era) -> AsyncIterator[Modern | InSession]:
    """A client at `MALLORYS` address, with one kept-alive connection."""
    async with crowd(running) as there:
        yield await there.person(era, MALLORYS)


def replace(path: Path, content: str) -> None:
    """Put a new file in the place of the old one."""
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def remove(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def logged(log_text: io.StringIO, event: str) -> list[dict[str, object]]:
    """Return the lines of that event, without their times."""
    lines = map(json.loads, log_text.getvalue().splitlines())
    return [line for line in lines if line["event"] == event]


async def looked_at(clock: FakeClock, log_text: io.StringIO, event: str, times: int = 1) -> None:
    """Have the file checked until `event` is logged so often."""
    await clock.advance(CHECK_EVERY_MS)
    await eventually(lambda: len(logged(log_text, event)) == times)


def assert_refused(response: httpx.Response) -> None:
    """Check for a 403, with one line as a JSON-RPC error."""
    assert response.status_code == 403
    assert response.json() == {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": REFUSAL}}
    assert "\n" not in response.text


async def test_a_denied_peer_is_refused_whatever_it_asks(era: Era, denied: Path) -> None:
    """Any method at either path with any headers is refused; other peers and the operator's paths are served."""
    replace(denied, f"{MALLORYS}/32")
    async with serving(deny_peers=denied, allow_origins=("https://page.example",)) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        headers, body = posted(ann, "tools/list", {})
        origin = {"origin": "https://page.example"}
        transport = httpx.AsyncHTTPTransport(local_address=MALLORYS)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
            for method in ("POST", "GET", "DELETE", "PUT", "OPTIONS"):
                for url in (running.url, f"{running.url}/"):
                    assert_refused(await http.request(method, url, headers=headers, content=body))
            assert_refused(await http.post(running.url))
            assert_refused(await http.post(running.url, headers={"host": "evil.example"}))
            readable = await http.post(running.url, headers=headers | origin, content=body)
            assert_refused(readable)
            assert readable.headers["access-control-allow-origin"] == "https://page.example"
            preflight = {"access-control-request-method": "POST"} | origin
            assert_refused(await http.options(running.url, headers=preflight))
            for path in ("healthz", "readyz", "metrics"):
                assert (await http.get(running.url.replace("mcp", path))).status_code == 200
        await ann.call("get_status", handle=ann.handle)
        assert running.metric("chat_broker_denied_total") == 14


async def test_a_peer_that_is_denied_later_is_refused_on_its_own_connection(
    era: Era, denied: Path, log_text: io.StringIO
) -> None:
    """Its session, its handle and its open connection are no help; later it may be allowed again."""
    clock = FakeClock()
    async with serving(deny_peers=denied, clock=clock) as running, mallory_at(running, era) as mallory:
        await mallory.enter()
        replace(denied, f"# spam\n{MALLORYS}\n")
        await looked_at(clock, log_text, "deny_peers_read")
        connections = running.connections
        assert_refused(await mallory.exchange("tools/list", {}))
        assert_refused(await mallory.exchange("tools/call", {"name": "get_status", "arguments": {}}))
        assert running.connections == connections == 1
        replace(denied, "")
        await looked_at(clock, log_text, "deny_peers_read", 2)
        assert (await mallory.call("get_status", handle=mallory.handle))["status"] == "waiting"


async def test_what_a_denied_peer_has_open_is_cut(era: Era, denied: Path, log_text: io.StringIO) -> None:
    """Its stream and its wait end; those of others go on."""
    clock = FakeClock()
    async with (
        serving(deny_peers=denied, clock=clock) as running,
        mallory_at(running, era) as mallory,
        crowd(running) as there,
    ):
        ann = await there.person(era)
        await ann.enter("Ann")
        await mallory.enter("Mallory")
        await ann.hear()
        async with ann.stream() as anns, mallory.stream() as mallorys:
            assert streams_of(running) == 2
            waits = [
                person.calling("wait_for_events", handle=person.handle, cursor=person.cursor, wait_seconds=300)
                for person in (ann, mallory)
            ]
            await running.waits(ann.connection_id)
            await running.waits(mallory.connection_id)
            replace(denied, f"{MALLORYS}\n")
            await looked_at(clock, log_text, "deny_peers_read")
            assert logged(log_text, "deny_peers_read")[0]["closed"] == 2
            assert await mallorys.rest() == []
            with pytest.raises(httpx.TransportError):
                await waits[1]
            await running.waits(mallory.connection_id, 0)
            await running.waits(ann.connection_id)
            await eventually(lambda: streams_of(running) == 1)
            assert not anns.ended
            waits[0].cancel()


def streams_of(running: Running) -> float:
    """Return the number of open streams."""
    return sum(running.metric(f'chat_broker_streams{{kind="{kind}"}}') for kind in ("get", "listen"))


async def test_a_request_that_is_still_coming_is_cut(denied: Path, log_text: io.StringIO) -> None:
    """A newly denied peer gets no answer, not even to a request from before the broker was ready."""
    log, clock = SlowLog(), FakeClock()
    async with serving(deny_peers=denied, log=log, clock=clock, folded=False) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, local_addr=(MALLORYS, 0))
        writer.write(b"GET /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await eventually(lambda: len(running.app._waiting) == 1)
        replace(denied, f"{MALLORYS}\n")
        await looked_at(clock, log_text, "deny_peers_read")
        with contextlib.suppress(ConnectionResetError):  # a reset is also an end
            assert await reader.read() == b""
        writer.close()
        log.gate.set()


async def test_the_peer_is_the_one_that_a_trusted_proxy_names(era: Era, denied: Path, log_text: io.StringIO) -> None:
    """Among clients behind one proxy, only the denied one is refused, and only its stream is cut."""
    clock, bad, good = FakeClock(), "2001:db8:0:1::5", "192.0.2.2"
    settings = {"deny_peers": denied, "clock": clock, "trust_proxies": ("127.0.0.1",)}
    async with serving(**settings) as running, crowd(running) as there:
        ann, mallory = await there.person(era), await there.person(era)
        for person, address in ((ann, good), (mallory, bad)):
            person.http.headers["x-forwarded-for"] = f"203.0.113.9, {address}"
            await person.enter()
        async with ann.stream() as anns, mallory.stream() as mallorys:
            replace(denied, "2001:db8:0:1::/64\n203.0.113.9\n127.0.0.2\n")
            await looked_at(clock, log_text, "deny_peers_read")
            assert await mallorys.rest() == []
            assert not anns.ended
        assert_refused(await mallory.exchange("tools/list", {}))
        assert (await ann.exchange("tools/list", {})).status_code == 200
        mallory.http.headers["x-forwarded-for"] = f"{good}, 127.0.0.2"
        assert_refused(await mallory.exchange("tools/list", {}))


async def test_a_proxy_that_is_not_trusted_changes_nothing(era: Era, denied: Path) -> None:
    """No client can get itself off the list, or another one onto it."""
    replace(denied, f"{MALLORYS}\n192.0.2.1\n")
    async with serving(deny_peers=denied) as running, crowd(running) as there:
        ann = await there.person(era)
        lines = [("Host", "localhost"), ("X-Forwarded-For", "192.0.2.1"), *lines_of(ann)]
        assert (await raw(running.port, lines, body_of(ann))).status == 200
        transport = httpx.AsyncHTTPTransport(local_address=MALLORYS)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http:
            assert_refused(await http.post(running.url, headers={"x-forwarded-for": "127.0.0.1"}))


async def test_a_bad_file_keeps_the_list_and_is_logged_once(denied: Path, log_text: io.StringIO) -> None:
    """The line has a bad line's number, never its content; a missing file is logged once, too, until a good one."""
    clock = FakeClock()
    replace(denied, f"{MALLORYS}\n")
    transport = httpx.AsyncHTTPTransport(local_address=MALLORYS)
    async with (
        serving(deny_peers=denied, clock=clock) as running,
        httpx.AsyncClient(transport=transport, trust_env=False) as http,
    ):
        replace(denied, "\nsecret.example\n")
        await looked_at(clock, log_text, "deny_peers_kept")
        await clock.advance(5 * CHECK_EVERY_MS)
        assert_refused(await http.post(running.url))
        remove(denied)
        await looked_at(clock, log_text, "deny_peers_kept", 2)
        assert_refused(await http.post(running.url))
        replace(denied, "")
        await looked_at(clock, log_text, "deny_peers_read")
        assert (await http.post(running.url)).status_code == 400
    reasons = [line["reason"] for line in logged(log_text, "deny_peers_kept")]
    assert reasons == [
        "line 2 is not an address or a network, as in 192.0.2.7 or 2001:db8::/32",
        "the file can't be read: No such file or directory",
    ]
    assert "secret" not in log_text.getvalue()


async def test_refusals_are_a_line_a_minute_without_the_address(denied: Path, log_text: io.StringIO) -> None:
    """The next line has the number of the others."""
    clock = FakeClock()
    replace(denied, f"{MALLORYS}\n")
    transport = httpx.AsyncHTTPTransport(local_address=MALLORYS)
    async with (
        serving(deny_peers=denied, clock=clock) as running,
        httpx.AsyncClient(transport=transport, trust_env=False) as http,
    ):
        for _ in range(2):
            for _ in range(4):
                assert_refused(await http.post(running.url))
            await clock.advance(LINES_EVERY_MS)
        assert running.metric("chat_broker_denied_total") == 8
    assert [line.get("suppressed") for line in logged(log_text, "peer_denied")] == [None, 3]
    assert MALLORYS not in log_text.getvalue()


async def test_the_command_line_names_the_file(denied: Path) -> None:
    """A broker of its own reads the file at its start, and again after a change."""
    async with process("--deny-peers", str(denied)) as broker:
        transport = httpx.AsyncHTTPTransport(local_address=MALLORYS)
        async with httpx.AsyncClient(transport=transport, trust_env=False) as http, asyncio.timeout(HUNG_SECONDS):
            assert (await http.post(broker.url)).status_code == 400
            replace(denied, f"{MALLORYS}\n")
            response = await http.post(broker.url)
            while response.status_code == 400:
                await asyncio.sleep(0.05)  # another process's look at the file has no event to wait for
                response = await http.post(broker.url)
            assert_refused(response)


async def test_a_file_that_cannot_be_used_at_the_start_is_one_line(denied: Path) -> None:
    """The line names the setting, and the number of an invalid line."""
    replace(denied, "10.0.0.0/8\n10.0.0.1/8\n")
    assert await failed("serve", "--port", "0", CHAT_BROKER_DENY_PEERS=str(denied)) == (
        "chat-broker: --deny-peers (CHAT_BROKER_DENY_PEERS): "
        "line 2 is not an address or a network, as in 192.0.2.7 or 2001:db8::/32"
    )
    assert await failed("serve", "--port", "0", "--deny-peers", str(denied.parent / "missing")) == (
        "chat-broker: --deny-peers (CHAT_BROKER_DENY_PEERS): the file can't be read: No such file or directory"
    )
