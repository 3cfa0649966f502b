"""The printed address of a broker is served, and its paths lead nowhere else."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.facade.people import ACCEPT, CLIENT_INFO, Crowd, Era, crowd
from tests.support.limits import HUNG_SECONDS
from tests.support.process import killed, started
from tests.support.raw import raw
from tests.support.server import serving

pytestmark = pytest.mark.anyio

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT_INFO},
}

LOG_LINE = dict[str, Any]


def has_ipv6() -> bool:
    """Tell if this machine can listen on its own IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def printed(*arguments: str) -> AsyncIterator[LOG_LINE]:
    """Return the line a broker prints when it serves."""
    process = await started("serve", "--port", "0", "--log-format", "json", *arguments)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(HUNG_SECONDS):
            line: LOG_LINE = json.loads(await process.stderr.readline())
            assert line["event"] == "serving"
            while json.loads(await process.stderr.readline())["event"] != "ready":
                pass
        yield line
    finally:
        await killed(process)


async def initialized(url: str, **headers: str) -> httpx.Response:
    """Return the answer to an `initialize` at `url`, from a client or a page of that address."""
    async with httpx.AsyncClient(trust_env=False, timeout=HUNG_SECONDS) as client:
        return await client.post(url, json=INITIALIZE, headers={"accept": ACCEPT} | headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.2", "::1", "localhost"])  # noqa: S104 - tests reach it alone
async def test_the_address_that_is_printed_is_served(host: str) -> None:
    """A page of it is served, too, also if the broker listens on every address of the machine."""
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 here")
    async with printed("--host", host) as line:
        url = httpx.URL(line["url"])
        assert url.host not in ("0.0.0.0", "::")  # noqa: S104 - compared with
        assert (await initialized(line["url"])).status_code == 200
        origin = line["url"].removesuffix("/mcp")
        response = await initialized(line["url"], origin=origin)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, origin)
        assert (await initialized(line["url"], host=host if ":" not in host else f"[{host}]")).status_code == 200
        assert (await initialized(line["url"], host="other.example")).status_code == 421
        if host == "::":  # every address, those of IPv4 too
            assert (await initialized(f"http://127.0.0.1:{url.port}/mcp")).status_code == 200


async def test_who_listens_on_every_address_is_told_what_to_allow() -> None:
    """Other machines know this one by a name the broker can't know."""
    async with printed("--host", "0.0.0.0") as line:  # noqa: S104 - the test reaches it alone
        assert "--allow-host" in line["hint"]
    async with printed() as line:
        assert "hint" not in line


async def test_the_address_of_a_name_is_served() -> None:
    """A listening name is allowed, and so is its address."""
    async with printed("--host", "LOCALHOST") as line:
        for host in ("localhost", httpx.URL(line["url"]).host):
            assert (await initialized(line["url"], host=host)).status_code == 200


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/?x=1"])
async def test_a_slash_at_the_end_changes_nothing(era: Era, path: str) -> None:
    """A whole conversation works, by every method, without a redirect."""
    async with serving() as running:
        running.url = f"http://127.0.0.1:{running.port}{path}"
        async with crowd(running) as there:
            ann, bob = await there.pair(era, era)
            async with bob.stream() as frames:
                await ann.say("hello")
                assert (await frames.next()).params["message"] == "hello"


async def test_a_call_before_the_application_is_loaded_may_have_a_slash_at_its_end() -> None:
    """It waits for the start, like one without a slash."""
    process = await started("serve", "--port", "0", "--log-format", "json")
    assert process.stderr is not None
    try:
        url = json.loads(await process.stderr.readline())["url"]
        assert (await initialized(f"{url}/")).status_code in (200, 503)
    finally:
        await killed(process)


@pytest.mark.parametrize("path", ["/metrics/", "/healthz/", "/readyz/", "/mcp//", "/mcp/x/", "//mcp", "/x", "/x/"])
async def test_no_path_leads_to_the_host_that_the_caller_named(there: Crowd, path: str) -> None:
    """A redirect would: it contains the caller's own header."""
    for method in ("GET", "POST", "HEAD"):
        response = await raw(there.running.port, [("Host", "evil.example")], start=f"{method} {path} HTTP/1.1")
        assert response.status in (404, 405)
        assert "location" not in response.headers
        assert "evil" not in response.text
