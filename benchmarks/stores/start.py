"""From the start of a broker's process to its readiness, on a long log whose snapshot is at its end."""

import asyncio
import time
from collections.abc import Sequence
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
from projections.snapshots import STATE_CODEC

READY_S: Final = 5.0
READY_WITHIN_S: Final = 120.0
PAGE: Final = 5_000


async def measure(rounds: int, commits: int) -> list[Row]:
    """Fill a log of each store, and start a broker on it, several times."""
    engines = {store: started(store) for store in STORES}
    try:
        urls = {store: engine.url_of("long") for store, engine in engines.items()}
        began = time.monotonic()
        await fill(tuple(urls.values()), commits)
        print(f"start: loaded {commits:,} commits into each store in {time.monotonic() - began:.0f} s", flush=True)
        times: dict[Store, list[float]] = {store: [] for store in STORES}
        for _ in range(rounds):
            for store, url in urls.items():
                times[store].append(await _time_to_ready(url))
    finally:
        for engine in engines.values():
            engine.remove()
    return [
        limit_row(f"{store}: start with {commits:,} commits and a snapshot, until it is ready", took, READY_S, "s")
        for store, took in times.items()
    ]


async def fill(urls: Sequence[str], commits: int) -> None:
    """Load a history of so many commits into each empty log, and a snapshot of its end."""
    loaders = [await store_module(url).open_loading(url, STATE_CODEC) for url in urls]
    history, tip = ChatHistory(), EMPTY_TIP
    told = history.commits()
    while tip.position < commits:
        page = list(islice(told, min(PAGE, commits - tip.position)))
        lines = [encode_commit(commit) for commit in page]
        await asyncio.gather(*(loader.append_lines(lines, expected=tip) for loader in loaders))
        tip = page[-1].tip
        history.state()  # it folds everything kept until now
    for loader in loaders:
        await loader.save(Snapshot(tip, history.state()))
        await loader.finish()


async def _time_to_ready(url: str) -> float:
    began = time.monotonic()
    server = broker(url)
    try:
        await server.ready(READY_WITHIN_S)
        took_s = time.monotonic() - began
        print(f"start: ready in {took_s:.1f} s, with {server.cpu_seconds():.1f} s of CPU", flush=True)
        return took_s
    finally:
        await asyncio.to_thread(server.stop)
