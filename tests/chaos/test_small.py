"""One short round of the chaos run for each store: real workers, proxy, engine and official clients."""

import shutil

import pytest

from benchmarks.chaos.options import ChaosOptions
from benchmarks.chaos.round import Round
from benchmarks.engines import STORES, Store
from tests.support.engines import nats
from tests.support.engines.postgresql import VERSIONS, binaries
from tests.support.engines.redis import binary_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    """The only event loop of the broker."""
    return "asyncio"


@pytest.mark.parametrize("store", STORES)
async def test_workers_and_their_store_are_killed_while_people_talk(store: Store) -> None:
    """No acknowledged message is lost, doubled or reordered, no present person removed, no vanished one matched."""
    if shutil.which("haproxy", path="/usr/bin:/usr/sbin:/usr/local/bin") is None:
        pytest.skip("HAProxy is not installed (Debian: apt-get install haproxy)")
    if store == "redis":
        binary_of("valkey")
    elif store == "nats":
        nats.binary()
    elif not any(binaries(version) for version in VERSIONS):
        pytest.skip("PostgreSQL is not installed")
    options = ChaosOptions(store, faults_s=20.0, listeners=8, tool_people=4, vanishing=4, seed=7)
    verdict = await Round(options, 0).execute()
    assert (verdict.lost, verdict.taken_out, verdict.matched, verdict.other) == ([], [], [], [])
    assert verdict.counts["acknowledged messages"] > 50
    assert verdict.counts["workers killed"] >= 1
    assert verdict.counts["engine killed"] == 1
    assert verdict.counts["streams held against the log"] > 0
