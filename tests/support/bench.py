"""A whole broker on a fake clock, and the output of its streams and waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from broker.batch import Accepted
from broker.broker import Broker
from broker.hub import Delivery
from broker.roster import JUDGE_LAG_MS, LEASE_MS
from broker.streams import Stream
from events.commands import Command
from events.events import Event
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting, Idle, Place, Waiting
from projections.invariants import check_state
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, run
from tests.support.people import enter

LENIENT = Policy(messages_per_10s_max=1_000, queue_commands_per_10s_max=1_000)


class Ear:
    """A subscriber for tests; it keeps its deliveries."""

    def __init__(self) -> None:
        self.heard: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        """Keep the delivery."""
        self.heard.append(delivery)

    @property
    def methods(self) -> list[tuple[ConnectionId, str]]:
        """Recipient and method of each delivery."""
        return [(delivery.connection_id, delivery.notification.method) for delivery in self.heard]


class FakeClient:
    """The client of a stream: an encoder that leaves deliveries as they are, and a transport."""

    def __init__(self, bench: BrokerBench) -> None:
        self.written: list[Delivery] = []
        self.pinged_ms: list[float] = []
        self.reads = True
        self.is_lost = False
        self._bench = bench

    def encode(self, delivery: Delivery) -> Delivery:
        """Return the delivery itself."""
        return delivery

    def is_writable(self) -> bool:
        """Return whether the client reads."""
        return self.reads

    def is_open(self) -> bool:
        """Return whether the connection is open."""
        return not self.is_lost

    def write_now(self, frames: Delivery) -> None:
        """Keep the frames."""
        self.written.append(frames)

    async def write(self, frames: Sequence[Delivery]) -> None:
        """Keep the frames."""
        self.written += frames

    async def ping(self) -> None:
        """Note the time."""
        self.pinged_ms.append(self._bench.clock.now_ms())

    def abort(self) -> None:
        """Count the abort."""
        self._bench.cuts += 1


class BrokerBench:
    """A started broker with its log, clock and clients."""

    def __init__(self, log: FaultyLog | None = None, clock: FakeClock | None = None) -> None:
        self.log = log if log is not None else FaultyLog()
        self.clock = clock if clock is not None else FakeClock()
        self.broker = Broker(self.log, self.clock)
        self.streams = self.broker.streams
        self.cuts = 0
        self._clients: dict[Stream[Delivery], FakeClient] = {}

    async def do(self, command: Command) -> Accepted:
        """Carry out `command`; it must succeed."""
        answer = await self.broker.writer.submit(command)
        assert isinstance(answer, Accepted), answer
        return answer

    async def pair(self, first: ConnectionId, second: ConnectionId) -> RoomId:
        """Let two connections meet, and return their room."""
        await self.do(enter(first))
        await self.do(enter(second))
        place = self.place_of(first)
        assert isinstance(place, Chatting)
        assert self.place_of(second) == place
        return place.room_id

    def place_of(self, who: ConnectionId) -> Place | None:
        """Return the place of `who`; `None` if it is unknown."""
        known = self.broker.state.connections.get(who)
        return known.place if known is not None else None

    def is_idle(self, who: ConnectionId) -> bool:
        """Return true if `who` is neither in the queue nor in a room."""
        return isinstance(self.place_of(who), Idle)

    def waits(self, who: ConnectionId) -> bool:
        """Return true if `who` is in the queue."""
        return isinstance(self.place_of(who), Waiting)

    def stream(self, *who: ConnectionId, pinged: bool = False) -> Stream[Delivery]:
        """Open a stream for the notifications of `who`; it writes only while it is run."""
        client = FakeClient(self)
        stream = self.streams.open("get", client, client, pinged=pinged)
        self._clients[stream] = client
        for one in who:
            stream.attach(one)
        return stream

    def client_of(self, stream: Stream[Delivery]) -> FakeClient:
        """Return the client of a stream."""
        return self._clients[stream]

    async def taken(self, stream: Stream[Delivery]) -> list[Delivery]:
        """Run a stream for a moment, and return the deliveries written by then."""
        running = asyncio.ensure_future(stream.run())
        await settle()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        client = self.client_of(stream)
        written, client.written = client.written, []
        return written

    async def events(self) -> list[Event]:
        """Return all events of the log."""
        return [event for commit in await self.log.inner.read(0, 100_000) for event in commit.events]


def with_broker(
    policy: Policy = LENIENT,
) -> Callable[[Callable[[BrokerBench], Coroutine[Any, Any, None]]], Callable[[], None]]:
    """Return a decorator for a test of a started broker; after the test, its state is sound and it closes."""

    def made(scenario: Callable[[BrokerBench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def wrapper() -> None:
            async def whole() -> None:
                bench = BrokerBench()
                await bench.broker.start(policy)
                await scenario(bench)
                assert check_state(bench.broker.state) == []
                await bench.broker.close()
                await settle()

            run(whole)

        wrapper.__doc__ = scenario.__doc__
        return wrapper

    return made


@asynccontextmanager
async def two_brokers(policy: Policy = LENIENT) -> AsyncIterator[tuple[FakeClock, BrokerBench, BrokerBench]]:
    """Yield two started brokers on one log and one clock, after enough time to judge absence for each other."""
    clock = FakeClock()
    here, there = (BrokerBench(log, clock) for log in FaultyLog.shared(2))
    for bench in (here, there):
        await bench.broker.start(policy)
    await clock.advance(LEASE_MS + JUDGE_LAG_MS)
    try:
        yield clock, here, there
    finally:
        for bench in (here, there):
            await bench.broker.close()
