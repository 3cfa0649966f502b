"""Pages in a browser: one behaviour for the preflight and for every request after it."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from mcp_facade.bootstrap import START_WAIT_MS
from tests.facade.people import Crowd, Era, InSession, Person, crowd
from tests.facade.test_starting import SlowLog
from tests.support.fake_clock import FakeClock
from tests.support.raw import HeaderLine, RawResponse, body_of, lines_of, raw
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

PAGE = "https://page.example"
LOOPBACK = ["http://localhost:5173", "http://127.0.0.1:6274", "http://[::1]:3000", "https://localhost"]
ASKED = "content-type,mcp-session-id,mcp-protocol-version,mcp-method,authorization"


async def sent(person: Person, method: str, origin: str, *lines: HeaderLine, path: str = "/mcp") -> RawResponse:
    """Return the answer to a request of that HTTP method from a page of `origin`."""
    given = [("Host", f"127.0.0.1:{person.running.port}"), ("Origin", origin), *lines, *lines_of(person)]
    body = body_of(person) if method == "POST" else b""
    return await raw(person.running.port, given, body, start=f"{method} {path} HTTP/1.1")


async def preflight(person: Person, method: str, origin: str, *lines: HeaderLine, path: str = "/mcp") -> RawResponse:
    """Return the answer to a browser's preflight."""
    asked = [("Access-Control-Request-Method", method), ("Access-Control-Request-Headers", ASKED)]
    given = [("Host", f"127.0.0.1:{person.running.port}"), ("Origin", origin), *asked, *lines]
    return await raw(person.running.port, given, start=f"OPTIONS {path} HTTP/1.1")


def is_readable(response: RawResponse, origin: str) -> bool:
    """Tell if a browser lets a page of `origin` read it; if not, no header may suggest it."""
    names = [name for name in response.headers if name.startswith("access-control")]
    if not names:
        return False
    assert response.headers["access-control-allow-origin"] == origin
    assert "origin" in response.headers["vary"].lower()
    exposed = response.headers["access-control-expose-headers"].lower().replace(" ", "").split(",")
    assert {"mcp-session-id", "retry-after"} <= set(exposed)
    return True


@pytest.mark.parametrize("origin", [*LOOPBACK, PAGE, "https://chat.example"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_a_page_that_is_allowed_may_call_and_read(era: Era, origin: str, path: str) -> None:
    """A page from this machine needs no setting; others need `--allow-origin` and `--allow-host`."""
    async with serving(allow_origins=(PAGE,), allow_hosts=("chat.example",)) as running, crowd(running) as there:
        ann = await there.person(era)
        for method in ("POST", "GET", "DELETE"):
            before = await preflight(ann, method, origin, path=path)
            assert before.status == 200
            assert is_readable(before, origin)
            assert method in before.headers["access-control-allow-methods"].split(", ")
            assert before.headers["access-control-allow-headers"] == ASKED
            assert "access-control-allow-private-network" not in before.headers
        methods = ("POST", "GET", "DELETE") if isinstance(ann, InSession) else ("POST",)
        for method in methods:
            response = await sent(ann, method, origin, path=path)
            assert response.status == 200, method
            assert is_readable(response, origin), method


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://10.0.0.1"])
async def test_a_page_that_is_not_allowed_is_refused_alike(
    there: Crowd, era: Era, origin: str, log_text: io.StringIO
) -> None:
    """The preflight and each request get 403 and the hint, the log has it too, and nothing can be read."""
    ann = await there.person(era)
    for method in ("POST", "GET", "DELETE"):
        for refused in (await preflight(ann, method, origin), await sent(ann, method, origin)):
            assert refused.status == 403
            assert "--allow-origin" in refused.text
            assert not is_readable(refused, origin)
    told = [line for line in map(json.loads, log_text.getvalue().splitlines()) if line["level"] == "warning"]
    assert [line["event"] for line in told] == ["origin_refused"]
    assert "--allow-origin" in told[0]["hint"]


async def test_a_refused_preflight_alone_is_logged(there: Crowd, log_text: io.StringIO) -> None:
    """A browser sends no more after it."""
    await preflight(await there.modern(), "POST", "https://evil.example")
    assert "origin_refused" in log_text.getvalue()


async def test_a_preflight_is_checked_for_its_host(there: Crowd) -> None:
    """A preflight is checked like every request."""
    lines = [("Host", "evil.example"), ("Origin", LOOPBACK[0]), ("Access-Control-Request-Method", "POST")]
    assert (await raw(there.running.port, lines, start="OPTIONS /mcp HTTP/1.1")).status == 421


@pytest.mark.parametrize(("asked", "answered"), [("true", "true"), ("false", None)])
async def test_a_public_page_that_is_allowed_may_call_a_private_address(asked: str, answered: str | None) -> None:
    """Chromium asks for that in the preflight (Private Network Access)."""
    async with serving(allow_origins=(PAGE,)) as running, crowd(running) as there:
        ann = await there.modern()
        line = ("Access-Control-Request-Private-Network", asked)
        assert (await preflight(ann, "POST", PAGE, line)).headers.get(
            "access-control-allow-private-network"
        ) == answered
        refused = await preflight(ann, "POST", "https://evil.example", line)
        assert "access-control-allow-private-network" not in refused.headers


async def test_a_page_can_read_errors(era: Era) -> None:
    """Each kind of refusal is readable, so that the page can tell its user."""
    origin = LOOPBACK[0]
    async with serving(body_bytes_max=10_000) as running, crowd(running) as there:
        ann, port = await there.person(era), running.port
        lines = [("Host", "localhost"), ("Origin", origin), *lines_of(ann)]
        errors = {
            413: await raw(port, lines, b" " * 10_001),
            405: await raw(port, lines, start="PUT /mcp HTTP/1.1"),
            421: await raw(port, [("Host", "evil.example"), *lines[1:]], body_of(ann)),
            400: await raw(port, [line for line in lines if line[0] != "content-type"], body_of(ann)),
        }
        if era == "2025":
            unknown = [line for line in lines if line[0] != "mcp-session-id"] + [("mcp-session-id", "unknown")]
            errors[404] = await raw(port, unknown, body_of(ann))
    for status, response in errors.items():
        assert response.status == status
        assert is_readable(response, origin), status


async def test_a_page_can_read_that_the_broker_is_starting() -> None:
    """The page can also read the delay before the next attempt."""
    log, clock = SlowLog(), FakeClock()
    async with serving(log=log, clock=clock, folded=False) as running:
        asking = asyncio.ensure_future(raw(running.port, [("Host", "localhost"), ("Origin", LOOPBACK[0])]))
        await eventually(lambda: len(running.app._waiting) == 1)
        await clock.advance(START_WAIT_MS)
        early = await asking
        assert (early.status, early.headers["retry-after"]) == (503, "1")
        assert is_readable(early, LOOPBACK[0])
        log.gate.set()


async def test_who_is_no_page_is_told_nothing_of_pages(there: Crowd, era: Era) -> None:
    """An answer to a request without an origin has no header for browsers, and such an `OPTIONS` is no preflight."""
    ann = await there.person(era)
    host = ("Host", "localhost")
    for lines in ([host, *lines_of(ann)], [host, ("Origin", ""), *lines_of(ann)]):
        response = await raw(there.running.port, lines, body_of(ann))
        assert response.status == 200
        assert not is_readable(response, "")
    asked = [host, ("Access-Control-Request-Method", "POST"), *lines_of(ann)]
    assert (await raw(there.running.port, asked, start="OPTIONS /mcp HTTP/1.1")).status == 405
