"""Before the application is imported: probes are answered, calls wait, and an end is an end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from events.log import UnusableLogError
from mcp_facade.bootstrap import BootstrapApp
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS
from tests.support.process import started

pytestmark = pytest.mark.anyio


class Small:
    """An application with 204 as its only answer."""

    failure = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def drain(self) -> None:
        """Do nothing: no request lasts."""


async def made(module: Any) -> Small:
    """Make the application from any module."""
    return Small()


async def asked(front: BootstrapApp, path: str) -> int:
    """Return the status of the answer to a request for `path`."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    await front({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return statuses[0]


async def body_of(front: BootstrapApp, path: str) -> Any:
    """Return the JSON of the answer to a request for `path`."""
    bodies: list[bytes] = []

    async def send(message: Any) -> None:
        bodies.append(message.get("body", b""))

    await front({"type": "http", "method": "GET", "path": path, "headers": []}, asyncio.Event().wait, send)
    return json.loads(b"".join(bodies))


async def lived(front: BootstrapApp, told: asyncio.Queue[dict[str, Any]], said: list[str]) -> None:
    """Run its lifespan, like a server."""

    async def send(message: Any) -> None:
        said.append(message["type"])

    await front({"type": "lifespan"}, told.get, send)


async def test_a_call_that_comes_too_early_waits_for_the_application() -> None:
    """Meanwhile probes learn that the process lives, and is not ready."""
    gate, told, said = threading.Event(), asyncio.Queue[dict[str, Any]](), list[str]()
    with patch("mcp_facade.bootstrap.import_module", lambda name: gate.wait(10)):
        front = BootstrapApp("of no matter", made, lambda: None)
        living = asyncio.create_task(lived(front, told, said))
        told.put_nowait({"type": "lifespan.startup"})
        await settle(1)
        assert await asked(front, "/healthz") == 200
        assert await asked(front, "/readyz") == 503
        assert said == ["lifespan.startup.complete"]
        call = asyncio.create_task(asked(front, "/mcp"))
        await asyncio.wait({call}, timeout=0)
        assert not call.done()
        gate.set()
        assert await call == 204
        told.put_nowait({"type": "lifespan.shutdown"})
        await living
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Making:
    """An application with a slow start, as during an outage of its log's store."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.fault: Exception | None = None
        self.tellings: list[Exception | None] = []
        self.told = asyncio.Queue[dict[str, Any]]()
        self.said: list[str] = []
        self.front = BootstrapApp("tests.support", self.make, lambda: self.tellings.append(self.front.failure))

    async def make(self, module: Any) -> Small:
        """Make it, once `may_end` is set."""
        await self.may_end.wait()
        if self.fault is not None:
            raise self.fault
        return Small()

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """Run its lifespan, which must end by itself."""
        living = asyncio.create_task(lived(self.front, self.told, self.said))
        self.told.put_nowait({"type": "lifespan.startup"})
        await settle()
        yield
        await asyncio.wait_for(living, HUNG_SECONDS)


async def test_an_end_does_not_wait_for_the_application_to_be_made() -> None:
    """Waiting calls are refused, and the server learns that the end is complete."""
    making = Making()
    async with making.living():
        call = asyncio.create_task(asked(making.front, "/mcp"))
        await settle()
        assert not call.done()
        making.front.drain()
        assert await call == 503
        assert (await body_of(making.front, "/readyz")) == {"ready": False, "reason": "ending"}
        making.told.put_nowait({"type": "lifespan.shutdown"})
    assert making.said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert making.tellings == []


async def test_a_log_that_can_not_be_used_is_a_failure() -> None:
    """The operator gets the reason, and calls are refused."""
    making = Making()
    making.fault = UnusableLogError("wrong password")
    async with making.living():
        assert (await body_of(making.front, "/readyz")) == {"ready": False, "reason": "starting"}
        call = asyncio.create_task(asked(making.front, "/mcp"))
        making.may_end.set()
        assert await call == 503
    assert [str(failure) for failure in making.tellings] == ["wrong password"]


@pytest.mark.parametrize("fault", [ValueError("a bug"), OSError("no room"), SyntaxError("a module")], ids=repr)
async def test_any_other_error_is_a_failure_too(fault: Exception) -> None:
    """Otherwise the process would stay, and would never be ready."""
    making = Making()
    making.fault = fault
    async with making.living():
        making.may_end.set()
        await settle()
        assert await asked(making.front, "/mcp") == 503
    assert making.tellings == [fault]
    assert making.said == ["lifespan.startup.complete"]


class Stillborn(Small):
    """An application with a failing lifespan."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Fail as Starlette does."""
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "Traceback ..."})
        raise RuntimeError("no room")


async def test_an_application_that_does_not_begin_to_live_is_a_failure() -> None:
    """The server gets no traceback; it is ended as after any other failure."""
    told, said, tellings = asyncio.Queue[dict[str, Any]](), list[str](), list[Exception | None]()

    async def make(module: Any) -> Small:
        return Stillborn()

    front = BootstrapApp("tests.support", make, lambda: tellings.append(front.failure))
    told.put_nowait({"type": "lifespan.startup"})
    await asyncio.wait_for(lived(front, told, said), HUNG_SECONDS)
    assert said == ["lifespan.startup.complete"]
    assert [str(failure) for failure in tellings] == ["no room"]
    assert await asked(front, "/mcp") == 503


async def test_a_call_does_not_wait_without_end_for_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store may be away for hours."""
    monkeypatch.setattr("mcp_facade.bootstrap.START_WAIT_MS", 10)
    making = Making()
    async with making.living():
        assert await asked(making.front, "/mcp") == 503
        making.told.put_nowait({"type": "lifespan.shutdown"})


async def test_an_application_that_is_made_during_the_end_is_drained() -> None:
    """It takes no calls, and ends in order."""
    making, drained = Making(), list[bool]()
    with patch.object(Small, "drain", lambda self: drained.append(True)):
        async with making.living():
            making.front.drain()
            making.may_end.set()
            await settle()
            making.told.put_nowait({"type": "lifespan.shutdown"})
    assert drained == [True]
    assert making.said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_application_that_is_not_there_is_a_failure() -> None:
    """The operator gets an error, and no call waits for ever."""
    told, tellings = asyncio.Queue[dict[str, Any]](), list[Exception | None]()
    front = BootstrapApp("a_module_that_nobody_has", made, lambda: tellings.append(front.failure))
    told.put_nowait({"type": "lifespan.startup"})
    await lived(front, told, [])
    assert [type(failure) for failure in tellings] == [ModuleNotFoundError]
    assert await asked(front, "/mcp") == 503


@pytest.mark.parametrize("log", ["memory:", "sqlite:{}/chat.db"], ids=["in memory", "in a file"])
async def test_a_package_that_is_missing_ends_the_process_with_one_line(tmp_path: Path, log: str) -> None:
    """The line names the missing package; there is no traceback, and nothing is left running."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("raise ImportError('the package is broken')")
    process = await started("serve", "--port", "0", "--log", log.format(tmp_path), PYTHONPATH=str(tmp_path))
    _, err = await asyncio.wait_for(process.communicate(), HUNG_SECONDS)
    assert process.returncode == 2, err.decode()
    said = err.decode()
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "chat-broker: can't start, since the installation is not whole: the package is broken"
    )


async def test_an_end_that_comes_before_the_application_is_an_end() -> None:
    """SIGTERM during the import of the SDK ends the process gracefully, as soon as it can."""
    process = await started("serve", "--port", "0", "--log-format", "json")
    assert process.stderr is not None
    while b'"serving"' not in (await process.stderr.readline()):
        assert process.returncode is None
    process.terminate()
    _, err = await asyncio.wait_for(process.communicate(), HUNG_SECONDS)
    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode()
