"""A server under measurement: its process, those who use it, and what was measured so far."""

import asyncio
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.crowd import Crowd
from benchmarks.load import closed_loop, fixed_rate
from benchmarks.options import Options
from benchmarks.server import Server

MEMORY_SETTLES_S: Final = 1.0
US_PER_S: Final = 1_000_000
MS_PER_S: Final = 1_000


@dataclass(frozen=True)
class Kind:
    """What is measured: a program, and the protocol version that it is spoken to in."""

    name: str
    protocol_version: str
    command: tuple[str, ...]
    crowded: bool = True
    """Whether it is also measured beside many streams; for a reference, few are enough."""
    times: int = 1
    """How many times the usual messages a measurement takes: a fast server needs more to be measured as well."""


@dataclass
class Samples:
    """What the rounds gave, one value a round."""

    cpu_us: list[float] = field(default_factory=list)
    """Server CPU for one delivered message."""
    generator_us: list[float] = field(default_factory=list)
    """CPU of the load generator for one delivered message."""
    messages_per_s: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """The share of one core that the server takes at the fixed rate."""
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    stream_kb: float = math.nan
    """Resident KiB that one more connection with an open stream takes."""


class Target:
    """One process of a kind, with its crowd."""

    def __init__(self, kind: Kind, options: Options) -> None:
        self.kind = kind
        self.samples = Samples()
        self._options = options
        self._server = Server(*kind.command)
        self._crowd = Crowd(self._server.port, kind.protocol_version)

    async def open(self) -> None:
        """Wait for the server, open the pairs and the few idle streams, and warm up."""
        await self._server.ready()
        await self._crowd.watch(self._crowd.gather_pairs(self._options.pairs))
        await self._crowd.gather_idle(self._options.idle_streams_few)
        await self._crowd.redial()
        await closed_loop(self._crowd, self._options.warmup_messages * self.kind.times)

    async def open_many(self) -> None:
        """Open the many idle streams and take the memory that each needs."""
        await asyncio.sleep(MEMORY_SETTLES_S)
        before = self._server.resident_kb()
        await self._crowd.gather_idle(self._options.streams)
        await asyncio.sleep(MEMORY_SETTLES_S)
        more = self._options.streams - self._options.idle_streams_few
        self.samples.stream_kb = (self._server.resident_kb() - before) / more

    async def talk(self) -> None:
        """One closed-loop measurement."""
        await self._crowd.redial()
        cpu, own = self._server.cpu_seconds(), time.process_time()
        messages = self._options.messages * self.kind.times
        seconds = await closed_loop(self._crowd, messages)
        self.samples.generator_us.append((time.process_time() - own) / messages * US_PER_S)
        await self._crowd.settle()  # and whatever the server puts off is on its bill
        self.samples.cpu_us.append((self._server.cpu_seconds() - cpu) / messages * US_PER_S)
        self.samples.messages_per_s.append(messages / seconds)

    async def pace(self) -> None:
        """One measurement at the fixed rate."""
        await self._crowd.redial()
        options = self._options
        cpu, began = self._server.cpu_seconds(), time.monotonic()
        seconds = await fixed_rate(self._crowd, options.rate_per_second, options.paced_messages)
        self.samples.busy.append((self._server.cpu_seconds() - cpu) / (time.monotonic() - began))
        await self._crowd.settle()
        self.samples.p50_ms.append(statistics.median(seconds) * MS_PER_S)
        self.samples.p99_ms.append(seconds[len(seconds) * 99 // 100] * MS_PER_S)

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self._server.log_tail()

    def close(self) -> None:
        """Everyone leaves, then the server stops."""
        self._crowd.close()
        self._server.stop()
