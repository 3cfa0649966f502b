"""Before the application is imported: whoever watches is answered, whoever calls waits, and an end is an end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mcp_facade.bootstrap import BootstrapApp
from tests.support.fake_clock import settle
from tests.support.process import STARTED_WITHIN_SECONDS, started

pytestmark = pytest.mark.anyio


class Small:
    """An application that answers 204 to everything."""

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
        """Nothing lasts."""


async def made(module: Any) -> Small:
    """Make it, whatever was imported."""
    return Small()


async def asked(front: BootstrapApp, path: str) -> int:
    """The status that a request for `path` is answered with."""
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    await front({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
    return statuses[0]


async def lived(front: BootstrapApp, told: asyncio.Queue[dict[str, Any]], said: list[str]) -> None:
    """Its lifespan, as a server has it live."""

    async def send(message: Any) -> None:
        said.append(message["type"])

    await front({"type": "lifespan"}, told.get, send)


async def test_a_call_that_comes_too_early_waits_for_the_application() -> None:
    """Meanwhile whoever asks is told that the process lives, and is not ready."""
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


async def test_an_application_that_is_not_there_is_a_failure() -> None:
    """Whoever runs it is told, and nobody waits for ever."""
    told, tellings = asyncio.Queue[dict[str, Any]](), list[Exception | None]()
    front = BootstrapApp("a_module_that_nobody_has", made, lambda: tellings.append(front.failure))
    told.put_nowait({"type": "lifespan.startup"})
    await lived(front, told, [])
    assert [type(failure) for failure in tellings] == [ModuleNotFoundError]
    assert await asked(front, "/mcp") == 503


@pytest.mark.parametrize("log", ["memory:", "sqlite:{}/chat.db"], ids=["in memory", "in a file"])
async def test_a_package_that_is_missing_ends_the_process_with_one_line(tmp_path: Path, log: str) -> None:
    """It says what is missing; there is no traceback, and nothing is left running."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text("raise ImportError('the package is broken')")
    process = await started("serve", "--port", "0", "--log", log.format(tmp_path), PYTHONPATH=str(tmp_path))
    _, err = await asyncio.wait_for(process.communicate(), STARTED_WITHIN_SECONDS)
    assert process.returncode == 2, err.decode()
    said = err.decode()
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "chat-broker: can't start, since the installation is not whole: the package is broken"
    )


async def test_an_end_that_comes_before_the_application_is_an_end() -> None:
    """SIGTERM while the SDK is being imported: the process ends gracefully as soon as it can."""
    process = await started("serve", "--port", "0", "--log-format", "json")
    assert process.stderr is not None
    while b'"serving"' not in (await process.stderr.readline()):
        assert process.returncode is None
    process.terminate()
    _, err = await asyncio.wait_for(process.communicate(), STARTED_WITHIN_SECONDS)
    assert process.returncode == 0, err.decode()
    assert "Traceback" not in err.decode()
