"""From sending a message at one broker to its delivery by another, against a bare append to the same engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import median
from typing import Final, NamedTuple

from benchmarks.engines import STORES, Store, started
from benchmarks.histories import ChatHistory
from benchmarks.stores.brokers import BrokerGroup
from benchmarks.stores.rows import Row, ratio_row
from broker.stores import open_log
from events.commit import EMPTY_TIP, Commit
from events.log import EventLog

RATE_PER_SECOND: Final = 300
WANTED: Final[Mapping[Store, float]] = {"redis": 10.0}
PAIRS: Final = 25
MS_PER_S: Final = 1_000


class Quantiles(NamedTuple):
    """Two times of a round."""

    p50_s: float
    p99_s: float

    @classmethod
    def of(cls, ordered: list[float]) -> Quantiles:
        """Return those of sorted times."""
        return cls(ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


async def measure(rounds: int, seconds: float, stores: Sequence[Store] = STORES) -> list[Row]:
    """Measure all in alternation, at the same rate: each round has both of each store."""
    engines = {store: started(store) for store in stores}
    groups = {store: BrokerGroup(engine.url_of("two"), 2, PAIRS) for store, engine in engines.items()}
    logs: dict[Store, EventLog] = {}
    delivered: dict[Store, list[Quantiles]] = {store: [] for store in stores}
    bare: dict[Store, list[Quantiles]] = {store: [] for store in stores}
    count = round(RATE_PER_SECOND * seconds)
    commits = list(islice(ChatHistory().commits(), count * (rounds + 1)))
    try:
        for store, engine in engines.items():
            logs[store] = await open_log(engine.url_of("bare"))
            await groups[store].open()
            await _append_paced(logs[store], commits[:count])  # a warm-up
        for number in range(1, rounds + 1):
            for store in stores:
                delivered[store].append(Quantiles.of((await groups[store].talk(RATE_PER_SECOND, count))[1]))
                own = commits[number * count : (number + 1) * count]
                bare[store].append(Quantiles.of(await _append_paced(logs[store], own)))
    finally:
        for log in logs.values():
            await log.close()
        for group in groups.values():
            group.close()
        for engine in engines.values():
            engine.remove()
    for store in stores:
        print(f"{store}, ms: delivered {_in_ms(delivered[store])}; a bare append {_in_ms(bare[store])}", flush=True)
    return [_row(store, delivered[store], bare[store]) for store in stores]


def _row(store: Store, delivered: list[Quantiles], bare: list[Quantiles]) -> Row:
    what = f"{store}: p99 from send to delivery between two brokers at {RATE_PER_SECOND}/s, against a bare append"
    return ratio_row(what, [each.p99_s for each in delivered], [each.p99_s for each in bare], WANTED.get(store))


async def _append_paced(log: EventLog, commits: list[Commit]) -> list[float]:
    """Append one commit after the other by the clock; return the seconds of each, sorted."""
    began, seconds = time.perf_counter(), []
    first = commits[0].position - 1
    tip = (await log.tip()) if first else EMPTY_TIP
    for number, commit in enumerate(commits):
        await asyncio.sleep(max(0.0, began + number / RATE_PER_SECOND - time.perf_counter()))
        started_s = time.perf_counter()
        tip = await log.append([commit], expected=tip)
        seconds.append(time.perf_counter() - started_s)
    return sorted(seconds)


def _in_ms(rounds: list[Quantiles]) -> str:
    medians, highest = ([each[index] * MS_PER_S for each in rounds] for index in range(2))
    return f"p50 {_shown(medians)}, p99 {_shown(highest)}"


def _shown(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
