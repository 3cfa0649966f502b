"""One writer of a shared log, without HTTP: `python -m benchmarks.stores.writer URL`.

It pairs two connections of its own and prints a line. For each line of its input, `RATE SECONDS`, it sends so many
messages a second for so long, each when its time has come, and prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from typing import Final

import msgspec
import structlog
import uvloop

from broker.broker import Broker
from broker.clock import SystemClock
from broker.decision import Rejection
from broker.stores import open_log
from events.commands import EnterQueue, SendMessage
from events.ids import ConnectionId
from events.policy import Policy
from mcp_facade.sdk.workarounds import GC_THRESHOLDS
from projections.connections import Chatting

TEXT: Final = "Hello there, stranger. How are you doing over there today?"
PAIRS: Final = 10
POLICY: Final = Policy(messages_per_10s_max=1_000_000, queue_commands_per_10s_max=1_000_000)


class WriterFigures(msgspec.Struct):
    """Figures of one measurement."""

    seconds: list[float]
    """From submitting each command to its answer."""
    unserved: int
    """Commands that were answered `unavailable`, since their time was over."""
    conflicts: int
    took_s: float
    """Until the last answer."""
    cpu_s: float


class MeasuredWriter:
    """A broker on the log, with pairs that talk."""

    def __init__(self, broker: Broker, number: str) -> None:
        self._broker = broker
        self._people = [ConnectionId(f"c_{number}_{n}") for n in range(2 * PAIRS)]
        self._seconds: list[float] = []
        self._unserved = 0

    async def pair(self) -> None:
        """Pair the connections."""
        for who in self._people:
            assert not isinstance(await self._broker.writer.submit(EnterQueue(who, "Somebody", ())), Rejection)

    async def talk(self, rate: int, seconds: float) -> WriterFigures:
        """Send by the clock, whether or not the last message is answered; return figures."""
        self._seconds, self._unserved = [], 0
        conflicts, cpu_s = self._broker.metrics.conflicts.count, time.process_time()
        began, sending = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            sending.add(asyncio.create_task(self._say(number, time.perf_counter())))
        await asyncio.gather(*sending)
        took_s = time.perf_counter() - began
        conflicts = self._broker.metrics.conflicts.count - conflicts
        return WriterFigures(self._seconds, self._unserved, conflicts, took_s, time.process_time() - cpu_s)

    async def _say(self, number: int, started_s: float) -> None:
        who = self._people[number % len(self._people)]
        place = self._broker.state.connections.by_id[who].place
        assert isinstance(place, Chatting)
        answer = await self._broker.writer.submit(SendMessage(who, place.room_id, TEXT, None))
        self._unserved += isinstance(answer, Rejection)
        self._seconds.append(time.perf_counter() - started_s)


async def main(url: str, number: str) -> None:
    """The command line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    broker = Broker(await open_log(url), SystemClock())
    await broker.start(POLICY)
    writer = MeasuredWriter(broker, number)
    await writer.pair()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)  # as a served broker has it
    print("ready", flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        rate, seconds = line.split()
        print(msgspec.json.encode(await writer.talk(int(rate), float(seconds))).decode(), flush=True)
    await broker.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
