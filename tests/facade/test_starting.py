"""While a long log is being folded, the broker says so; a log that can't be folded ends it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import httpx
import pytest

from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.memory import MemoryLog
from mcp_facade.bootstrap import START_WAIT_MS
from tests.facade.people import crowd
from tests.support.fake_clock import FakeClock
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


class SlowLog(MemoryLog):
    """A log that takes its time to be read, or turns out to be another."""

    never_waits = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.is_broken = False

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """What is there, once the gate is open."""
        await self.gate.wait()
        if self.is_broken:
            raise BrokenChainError("the commit at position 3 was altered")
        return await super().read(after, limit)


async def test_calls_are_served_once_the_log_is_folded() -> None:
    """Until then `/healthz` answers, `/readyz` says no, and a call waits."""
    log = SlowLog()
    async with (
        serving(log=log, folded=False) as running,
        httpx.AsyncClient(trust_env=False) as client,
        crowd(running) as there,
    ):
        base = f"http://127.0.0.1:{running.port}"
        assert (await client.get(f"{base}/healthz")).status_code == 200
        assert (await client.get(f"{base}/readyz")).status_code == 503
        ann = await there.modern()
        entering = ann.calling("enter_queue", display_name="Ann")
        await eventually(lambda: len(running.app._waiting) == 1)
        log.gate.set()
        assert (await entering)["status"] == "waiting"
        assert (await client.get(f"{base}/readyz")).status_code == 200


async def test_a_call_does_not_wait_for_a_start_without_end() -> None:
    """After fifteen seconds it is told to come back."""
    clock = FakeClock()
    async with (
        serving(log=SlowLog(), folded=False, clock=clock) as running,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        call = asyncio.ensure_future(client.post(running.url, json={}))
        await eventually(lambda: len(running.app._waiting) == 1)
        await clock.advance(START_WAIT_MS - 1)
        assert not call.done()
        await clock.advance(1)
        early = await call
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")


async def test_a_call_does_not_wait_for_a_start_that_failed() -> None:
    """It is answered at once, whether it came before or after."""
    log = SlowLog()
    log.is_broken = True
    async with serving(log=log, folded=False) as running, httpx.AsyncClient(trust_env=False) as client:
        before = asyncio.ensure_future(client.post(running.url, json={}))
        await eventually(lambda: len(running.app._waiting) == 1)
        log.gate.set()
        assert (await before).status_code == 503
        assert (await client.post(running.url, json={})).status_code == 503


async def test_an_end_does_not_wait_for_the_start() -> None:
    """Whoever stops a broker that is still folding need not wait for it."""
    async with serving(log=SlowLog(), folded=False) as running:
        running.stop()
    assert not running.broker.ready


async def test_a_log_that_is_not_what_it_was_ends_the_broker() -> None:
    """Whoever runs it is told why, and no call is taken."""
    log, told = SlowLog(), asyncio.Event()
    log.is_broken = True
    async with serving(log=log, folded=False, on_started=told.set) as running:
        log.gate.set()
        await asyncio.wait_for(told.wait(), 10)
        assert str(running.app.failure) == "the commit at position 3 was altered"
        assert not running.broker.ready


async def test_a_server_imports_no_debugger() -> None:
    """Nor its terminal pages: they would cost a start a good part of a second."""
    names = ("textual", "log_debugger", "hypothesis", "mcp.server.fastmcp")
    code = f"import sys, mcp_facade.serve; print([name for name in {names} if name in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"


async def test_a_server_does_not_import_the_sdk_before_it_answers() -> None:
    """The SDK and its models take most of a second: whoever asks whether the process lives is answered before."""
    names = ("mcp", "mcp_types", "pydantic", "apsw", "mcp_facade.app")
    code = f"import sys, mcp_facade.serve; print([name for name in {names} if name in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"
