"""Memory of a broker's open stream, in bytes allocated by its interpreter: the same on every machine."""

from __future__ import annotations

import pytest

from benchmarks.memory import KINDS, trace
from benchmarks.options import BenchmarkOptions

pytestmark = pytest.mark.anyio

STREAMS = 100
SMALL = BenchmarkOptions(pairs=1, warmup_messages=2, idle_streams_few=10)
OURS = ("mcp_facade", "broker", "projections", "events")
BARE_TIMES_MAX = 1.2


@pytest.mark.slow
async def test_an_open_stream_takes_hardly_more_than_that_of_a_bare_server() -> None:
    """A stream takes at most 1.2 times the memory of a bare one; in a session of 2025, without the SDK's share."""
    bare, modern, session = [await trace(kind, SMALL, STREAMS) for kind in KINDS]
    most = BARE_TIMES_MAX * sum(bare.values())
    assert sum(modern.values()) < most, modern
    assert sum(session.get(package, 0) for package in OURS) < most, session
