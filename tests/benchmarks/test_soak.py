"""A soak of a few seconds: the generator, the bookkeeping and a real server process."""

from __future__ import annotations

import pytest

from benchmarks.soak.options import SoakOptions, parse
from benchmarks.soak.soak import Soak
from benchmarks.soak.summary import summary

pytestmark = pytest.mark.anyio

SHORT = SoakOptions(
    minutes=0.1, connections=40, seed=20_261_125, stream_grace_s=1.0, idle_grace_s=2.0, deletes=1.0, min_think_s=0.2
)


@pytest.mark.slow
@pytest.mark.parametrize("log", ["memory", "sqlite"])
async def test_a_short_soak_of_a_real_server_is_well(log: str) -> None:
    """Forty people with streams come, talk, drop out, come back and leave; nothing is lost or left over."""
    with Soak(SoakOptions(**{**vars(SHORT), "log": log})) as soak:
        verdict = await soak.execute()
    told = summary(verdict)
    assert verdict.problems == [], told
    for kind in ("messages", "rooms", "drops", "resumptions by LastClient-Event-ID", "gaps read by cursor", "waits"):
        assert verdict.run.counts[kind] > 0, kind
    assert verdict.run.ledger.unsettled == 0
    assert told.endswith("Nothing was lost, nothing doubled, nothing is left over.")


def test_the_command_line_says_how_long_and_how_many() -> None:
    """Minutes, connections, log and seed are parsed; impossible values are refused."""
    asked = parse(["--minutes", "2", "--connections", "100", "--log", "sqlite", "--seed", "7"])
    assert (asked.minutes, asked.connections, asked.log, asked.seed) == (2.0, 100, "sqlite", 7)
    for wrong in (["--minutes", "0"], ["--connections", "1"], ["--busy", "2"]):
        with pytest.raises(SystemExit):
            parse(wrong)
