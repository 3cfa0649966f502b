"""CPU time of the brokers for one message, by store: of one broker against a log in memory, and of two against one."""

from collections.abc import Mapping
from typing import Final

from benchmarks.engines import STORES, Store, started
from benchmarks.stores.brokers import BrokerGroup
from benchmarks.stores.rows import Row, ratio_row

WANTED: Final[Mapping[Store, float]] = {"redis": 1.8, "postgresql": 2.2}
WANTED_OF_TWO: Final[Mapping[Store, float]] = {"redis": 0.75, "postgresql": 0.75}
RATE_PER_SECOND: Final = 1_000
PAIRS: Final = 50
US_PER_S: Final = 1_000_000


async def measure(rounds: int, seconds: float) -> list[Row]:
    """Measure all in alternation: each round has one measurement of each."""
    engines = {store: started(store) for store in STORES}
    groups = {"memory": BrokerGroup("memory:", 1, PAIRS)}
    for store, engine in engines.items():
        groups[store] = BrokerGroup(engine.url_of(f"{store}1"), 1, PAIRS)
        groups[f"{store}, two"] = BrokerGroup(engine.url_of(f"{store}2"), 2, PAIRS)
    try:
        cpu_s: dict[str, list[float]] = {name: [] for name in groups}
        for group in groups.values():
            await group.open()
        for _ in range(rounds):
            for name, group in groups.items():
                cpu_s[name].append((await group.talk(RATE_PER_SECOND, round(RATE_PER_SECOND * seconds)))[0])
    finally:
        for group in groups.values():
            group.close()
        for engine in engines.values():
            engine.remove()
    for name, values in cpu_s.items():
        print(f"{name}: {', '.join(f'{value * US_PER_S:.0f}' for value in values)} us of CPU a message", flush=True)
    return [row for store in STORES for row in _rows(store, cpu_s)]


def _rows(store: Store, cpu_s: dict[str, list[float]]) -> list[Row]:
    one, two = cpu_s[store], cpu_s[f"{store}, two"]
    alone, beside = WANTED.get(store), WANTED_OF_TWO.get(store)
    return [
        ratio_row(f"{store}: CPU a message, against the log in memory", one, cpu_s["memory"], alone),
        ratio_row(f"{store}: messages a CPU second of two brokers, against one", one, two, beside, at_least=True),
    ]
