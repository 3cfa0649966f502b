"""From the start of a broker's process to its readiness, on a long log whose snapshot is at its end."""

import asyncio
import time
from itertools import islice
from typing import Final

from benchmarks.engines import STORES, Store, started
from benchmarks.histories import ChatHistory
from benchmarks.stores.brokers import broker
from benchmarks.stores.rows import Row, limit_row
from broker.stores import store_module
from events.codec import encode_commit
from events.commit import EMPTY_TIP
from events.log import Snapshot
from events.store_loader import StoreLoader
from projections.snapshots import STATE_CODEC

READY_S: Final = 5.0
READY_WITHIN_S: Final = 120.0
PAGE: Final = 5_000


async def measure(rounds: int, commits: int) -> list[Row]:
    """Fill a log of each store, and start a broker on it, several times."""
    rows = []
    for store in STORES:
        engine = started(store)
        try:
            url = engine.url_of("long")
            await fill(url, commits)
            times = [await _time_to_ready(url) for _ in range(rounds)]
        finally:
            engine.remove()
        rows.append(limit_row(_what(store, commits), times, READY_S, "s"))
    return rows


def _what(store: Store, commits: int) -> str:
    return f"{store}: start with {commits:,} commits and a snapshot, until it is ready"


async def fill(url: str, commits: int) -> None:
    """Load a history of so many commits, and a snapshot of its end."""
    loader: StoreLoader = await store_module(url).open_loading(url, STATE_CODEC)
    history, tip = ChatHistory(), EMPTY_TIP
    told = history.commits()
    while tip.position < commits:
        page = list(islice(told, min(PAGE, commits - tip.position)))
        tip = await loader.append_lines([encode_commit(commit) for commit in page], expected=tip)
        history.state()  # it folds what it has kept until now
    await loader.save(Snapshot(tip, history.state()))
    await loader.finish()


async def _time_to_ready(url: str) -> float:
    began = time.monotonic()
    server = broker(url)
    try:
        await server.ready(READY_WITHIN_S)
        return time.monotonic() - began
    finally:
        await asyncio.to_thread(server.stop)
