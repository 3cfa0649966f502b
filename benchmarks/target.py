"""A server under measurement: its process, its clients, and the measurements so far."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.clients import BenchmarkClients
from benchmarks.idle import IdleStreams
from benchmarks.kinds import ServerKind
from benchmarks.load import closed_loop, fixed_rate
from benchmarks.options import BenchmarkOptions
from benchmarks.server import Server

MEMORY_SETTLES_S: Final = 1.0
US_PER_S: Final = 1_000_000
MS_PER_S: Final = 1_000


@dataclass
class RateSamples:
    """Measurements at some rate, one value a round."""

    busy: list[float] = field(default_factory=list)
    """The server's share of one core."""
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


@dataclass
class Samples:
    """Measurements, one value a round."""

    cpu_us: list[float] = field(default_factory=list)
    """Server CPU for one delivered message."""
    generator_us: list[float] = field(default_factory=list)
    """CPU of the load generator for one delivered message."""
    messages_per_s: list[float] = field(default_factory=list)
    at_rate: RateSamples = field(default_factory=RateSamples)
    """At the fixed rate, the same for every server."""
    at_half: RateSamples = field(default_factory=RateSamples)
    """At half of the server's own rate with all clients talking."""
    stream_kb: dict[int, float] = field(default_factory=dict)
    """By number of idle streams: resident KiB of each stream opened since the step before."""
    idle: dict[int, float] = field(default_factory=dict)
    """By number of idle streams: their share of one core while all clients are silent."""
    beside_us: dict[int, list[float]] = field(default_factory=dict)
    """By number of idle streams: server CPU for one delivered message."""


class Target:
    """One process of a kind, with its crowd."""

    def __init__(self, kind: ServerKind, options: BenchmarkOptions) -> None:
        self.kind = kind
        self.samples = Samples()
        self._options = options
        self._server = Server(*kind.command)
        self._crowd = BenchmarkClients(self._server.port, protocol_version=kind.protocol_version, reads=kind.reads)
        self._idle = IdleStreams(self._crowd)
        self._idle_streams = 0

    async def open(self) -> None:
        """Wait for the server, open the pairs and the few idle streams, and warm up."""
        await self._server.ready()
        await self._crowd.watch(self._crowd.gather_pairs(self._options.pairs))
        await self._gather(self._options.idle_streams_few)
        await self._crowd.redial()
        await closed_loop(self._crowd, self._options.warmup_messages * self.kind.times)
        await asyncio.sleep(MEMORY_SETTLES_S)

    async def open_idle(self, streams: int) -> None:
        """Open idle streams up to a number, and measure the memory of each new one.

        The log grows while clients talk; that is not counted.
        """
        before_kb, more = self._server.resident_kb(), streams - self._idle_streams
        await self._gather(streams)
        await asyncio.sleep(MEMORY_SETTLES_S)
        self.samples.stream_kb[streams] = (self._server.resident_kb() - before_kb) / more

    async def _gather(self, streams: int) -> None:
        await self._idle.gather(streams)
        self._idle_streams = streams

    async def rest(self, streams: int) -> None:
        """Stay silent until every stream has been sent its ping, and measure the server's CPU."""
        cpu, began = self._server.cpu_seconds(), time.monotonic()
        await asyncio.sleep(self._options.rest_seconds)
        self.samples.idle[streams] = (self._server.cpu_seconds() - cpu) / (time.monotonic() - began)

    async def talk(self, *, beside: int | None = None) -> None:
        """Take one closed-loop measurement, `beside` a number of idle streams if not the few."""
        await self._crowd.redial()
        cpu, own = self._server.cpu_seconds(), time.process_time()
        messages = self._options.messages * self.kind.times
        seconds = await closed_loop(self._crowd, messages)
        generator_us = (time.process_time() - own) / messages * US_PER_S
        await self._crowd.settle()  # and whatever the server puts off is on its bill
        cpu_us = (self._server.cpu_seconds() - cpu) / messages * US_PER_S
        if beside is not None:
            self.samples.beside_us.setdefault(beside, []).append(cpu_us)
            return
        self.samples.cpu_us.append(cpu_us)
        self.samples.generator_us.append(generator_us)
        self.samples.messages_per_s.append(messages / seconds)

    async def pace(self) -> None:
        """Take one measurement at the fixed rate, and one at half load."""
        await self._at(self._options.rate_per_second, self.samples.at_rate)
        await self._at(round(statistics.median(self.samples.messages_per_s) / 2), self.samples.at_half)

    async def _at(self, rate_per_second: int, samples: RateSamples) -> None:
        await self._crowd.redial()
        cpu, began = self._server.cpu_seconds(), time.monotonic()
        messages = max(1, round(rate_per_second * self._options.paced_seconds))
        seconds = await fixed_rate(self._crowd, rate_per_second, messages)
        samples.busy.append((self._server.cpu_seconds() - cpu) / (time.monotonic() - began))
        await self._crowd.settle()
        samples.p50_ms.append(statistics.median(seconds) * MS_PER_S)
        samples.p99_ms.append(seconds[len(seconds) * 99 // 100] * MS_PER_S)

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._server.pid

    def log_tail(self) -> str:
        """The end of the server's log."""
        return self._server.log_tail()

    def close(self) -> None:
        """Close all clients, then stop the server."""
        self._idle.close()
        self._crowd.close()
        self._server.stop()
