"""The event loop of the asynchronous tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the command line uses."""
    return "asyncio", {"use_uvloop": True}
