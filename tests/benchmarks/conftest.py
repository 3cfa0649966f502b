"""Fixtures for the tests of the benchmarks."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the generator uses."""
    return "asyncio", {"use_uvloop": True}
