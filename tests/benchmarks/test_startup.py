"""Time of a broker's start up to its first answer."""

from __future__ import annotations

import pytest

from benchmarks.startup import start

pytestmark = pytest.mark.anyio

STARTS = 5
WITHIN_CPU_S = 1.0


async def test_a_broker_says_that_it_lives_before_a_second_of_cpu_is_spent() -> None:
    """One quick start in five is enough; CPU time counts, since the clock says nothing on a busy machine."""
    for _ in range(STARTS):
        healthz, _ = await start()
        if healthz.cpu_s < WITHIN_CPU_S:
            return
    pytest.fail(f"/healthz took {healthz.cpu_s:.2f} s of CPU")
