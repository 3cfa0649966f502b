"""Fixtures of all tests of the facade."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from broker.logging import LIBRARY_LOGGERS, configure_logs
from tests.facade.people import Crowd, Era, crowd
from tests.support.server import serving


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop of the command line."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def log_text() -> Iterator[io.StringIO]:
    """The log as it is written; a fault in it fails the current test."""
    text = io.StringIO()
    configure_logs("json", "info", text)
    yield text
    structlog.reset_defaults()
    for name in LIBRARY_LOGGERS:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
        library.setLevel(logging.NOTSET)
    faults = [line for line in text.getvalue().splitlines() if '"level":"error"' in line or "Traceback" in line]
    assert faults == []


@pytest.fixture
async def there() -> AsyncIterator[Crowd]:
    """People at a server with the usual settings."""
    async with serving() as running, crowd(running) as people:
        yield people


@pytest.fixture(params=["2025", "2026"])
def era(request: pytest.FixtureRequest) -> Era:
    """Each era of the protocol in turn."""
    given: Era = request.param
    return given
