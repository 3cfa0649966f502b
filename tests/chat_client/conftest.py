"""Fixtures of the client's tests: a broker of this process, and people at it without the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.facade.people import Crowd, crowd
from tests.support.server import serving


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of a client's author."""
    return "asyncio"


@pytest.fixture
async def there() -> AsyncIterator[Crowd]:
    """Return people at a broker with the usual settings."""
    async with serving() as running, crowd(running) as people:
        yield people
