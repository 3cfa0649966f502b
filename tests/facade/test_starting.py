"""During the fold of a long log, the broker says so; a log with a fault ends it."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from broker.errors import LogGivenUpError
from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.log import LogRolledBackError
from events.memory import MemoryLog
from mcp_facade.bootstrap import START_WAIT_MS
from tests.facade.people import crowd
from tests.support.fake_clock import FakeClock
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import FaultyLog, unavailable
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio


class SlowLog(MemoryLog):
    """A log with a slow read, and perhaps a broken chain."""

    never_waits = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.is_broken = False

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Return the commits, once the gate is open."""
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
    """A call from before or after the failure is answered at once."""
    log = SlowLog()
    log.is_broken = True
    async with serving(log=log, folded=False) as running, httpx.AsyncClient(trust_env=False) as client:
        before = asyncio.ensure_future(client.post(running.url, json={}))
        await eventually(lambda: len(running.app._waiting) == 1)
        log.gate.set()
        assert (await before).status_code == 503
        assert (await client.post(running.url, json={})).status_code == 503


async def test_an_end_does_not_wait_for_the_start() -> None:
    """A broker can be stopped during the fold."""
    async with serving(log=SlowLog(), folded=False) as running:
        running.stop()
    assert not running.broker.ready


async def test_a_log_that_is_not_what_it_was_ends_the_broker() -> None:
    """The operator gets the reason, and no call is taken."""
    log, told = SlowLog(), asyncio.Event()
    log.is_broken = True
    async with serving(log=log, folded=False, on_started=told.set) as running:
        log.gate.set()
        await asyncio.wait_for(told.wait(), HUNG_SECONDS)
        assert str(running.app.failure) == "the commit at position 3 was altered"
        assert not running.broker.ready


async def test_a_start_that_fails_for_another_reason_ends_the_broker() -> None:
    """Any failure does: otherwise it would be starting for ever."""
    log, told = SlowLog(), asyncio.Event()

    async def fail(after: Position, limit: int) -> Sequence[Commit]:
        raise ValueError("a bug")

    log.read = fail
    async with serving(log=log, folded=False, on_started=told.set) as running:
        await asyncio.wait_for(told.wait(), HUNG_SECONDS)
        assert isinstance(running.app.failure, ValueError)
        assert not running.broker.ready


class LateLog(FaultyLog):
    """A shared log; its store is away at first."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.before_read = [unavailable] * 2


async def ready(running: Running, client: httpx.AsyncClient) -> Any:
    """Return the answer of `/readyz`."""
    return (await client.get(f"http://127.0.0.1:{running.port}/readyz")).json()


async def test_a_shared_log_that_falls_silent_during_the_start_is_waited_for() -> None:
    """The log was already open; the start is tried again, and readiness says no."""
    (log,), clock = LateLog.shared(1), FakeClock()
    async with (
        serving(log=log, clock=clock, folded=False) as running,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await eventually(lambda: log.reads == 1)
        assert await ready(running, client) == {"ready": False, "reason": "starting"}
        for reads in (2, 3):
            await clock.advance(1_000)
            await eventually(lambda reads=reads: log.reads >= reads)
        await eventually(lambda: running.broker.ready)
        assert await ready(running, client) == {"ready": True}


async def test_a_shared_log_that_was_rolled_back_ends_the_broker(log_text: io.StringIO) -> None:
    """Readiness fails from then on with the reason, commands are unavailable, and the operator is told."""
    (log,), told = FaultyLog.shared(1), list[None]()
    async with (
        serving(log=log, on_started=lambda: told.append(None)) as running,
        httpx.AsyncClient(trust_env=False) as client,
        crowd(running) as there,
    ):
        await eventually(lambda: len(told) == 1)
        assert running.app.failure is None
        ann = await there.modern()
        log.before_append = [rolled_back]
        assert (await ann.refused("enter_queue", display_name="Ann"))["code"] == "unavailable"
        await eventually(lambda: len(told) == 2)
        detail = "the log was rolled back or replaced: it ends at 1, and held 2"
        assert isinstance(running.app.failure, LogGivenUpError)
        assert str(running.app.failure) == detail
        assert await ready(running, client) == {"ready": False, "reason": "log_rolled_back", "detail": detail}
        assert log.coordination.epoch == f"{log.epoch}+"
    assert '"event":"log_rolled_back"' in log_text.getvalue()
    log_text.truncate(0)


async def rolled_back() -> None:
    """Raise the error about lost commits."""
    raise LogRolledBackError("it ends at 1, and held 2")


async def test_a_log_that_is_lost_during_the_start_is_not_waited_for(log_text: io.StringIO) -> None:
    """The start is over."""
    (log,), told = FaultyLog.shared(1), asyncio.Event()
    log.before_append = [rolled_back]
    async with serving(log=log, folded=False, on_started=told.set, messages_per_10s_max=7) as running:
        await asyncio.wait_for(told.wait(), HUNG_SECONDS)
        assert isinstance(running.app.failure, LogGivenUpError)
    log_text.truncate(0)


async def test_a_server_imports_no_debugger() -> None:
    """Its terminal pages are not imported, either: they would cost a start a good part of a second."""
    names = ("textual", "log_debugger", "hypothesis", "mcp.server.fastmcp")
    code = f"import sys, mcp_facade.serve; print([name for name in {names} if name in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"


async def test_a_server_does_not_import_the_sdk_before_it_answers() -> None:
    """The SDK and its models take most of a second; a probe of the process is answered before."""
    names = ("mcp", "mcp_types", "pydantic", "apsw", "mcp_facade.app")
    code = f"import sys, mcp_facade.serve; print([name for name in {names} if name in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said.decode().strip() == "[]"
