"""From sending a message at one broker to its delivery by another, against a bare append to the same engine."""

import asyncio
import time
from itertools import islice
from typing import Final

from benchmarks.engines import started
from benchmarks.histories import ChatHistory
from benchmarks.stores.brokers import BrokerGroup
from benchmarks.stores.rows import Row, ratio_row
from broker.stores import open_log
from events.commit import EMPTY_TIP, Commit
from events.log import EventLog

RATE_PER_SECOND: Final = 300
WANTED: Final = 10.0
PAIRS: Final = 25
MS_PER_S: Final = 1_000


async def measure(rounds: int, seconds: float) -> list[Row]:
    """Measure both in alternation, at the same rate, with `appendfsync always`."""
    engine = started("redis")
    group = BrokerGroup(engine.url_of("two"), 2, PAIRS)
    log = await open_log(engine.url_of("bare"))
    try:
        await group.open()
        count = round(RATE_PER_SECOND * seconds)
        commits = list(islice(ChatHistory().commits(), count * (rounds + 1)))
        await _append_paced(log, commits[:count])  # a warm-up
        bare_s, delivered_s = [], []
        for number in range(rounds):
            delivered_s.append(_p99((await group.talk(RATE_PER_SECOND, count))[1]))
            bare_s.append(_p99(await _append_paced(log, commits[(number + 1) * count : (number + 2) * count])))
    finally:
        await log.close()
        group.close()
        engine.remove()
    print(f"p99, ms: delivered {_in_ms(delivered_s)}; a bare append {_in_ms(bare_s)}", flush=True)
    what = f"redis: p99 from send to delivery between two brokers at {RATE_PER_SECOND}/s, against a bare append"
    return [ratio_row(what, delivered_s, bare_s, WANTED)]


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


def _p99(ordered: list[float]) -> float:
    return ordered[len(ordered) * 99 // 100]


def _in_ms(seconds: list[float]) -> str:
    return ", ".join(f"{each * MS_PER_S:.2f}" for each in seconds)
