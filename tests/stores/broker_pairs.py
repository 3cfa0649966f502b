"""Two brokers on one log in an engine, for tests: their clients meet, talk, and outlive the engine's restarts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from structlog.testing import capture_logs

from broker.broker import Broker
from broker.clock import SystemClock
from broker.outage_lines import REASONS_MAX
from events.commands import EnterQueue, SendMessage
from events.commit import Commit
from events.events import MessageSent
from events.ids import ConnectionId, RoomId
from events.log import EventLog
from events.policy import Policy
from projections.connections import Chatting
from projections.state import digest, fold
from tests.support.fake_clock import settle
from tests.support.writer_bench import accepted

PATIENT = Policy(messages_per_10s_max=10_000, queue_commands_per_10s_max=10_000, command_timeout_ms=8_000)
ANN, BOB = ConnectionId(f"c_{'a' * 32}"), ConnectionId(f"c_{'b' * 32}")


class Engine(Protocol):
    """A server for tests to kill and start again."""

    def kill(self) -> None:
        """End it without warning."""

    def start(self) -> None:
        """Start it; return once it answers."""


@asynccontextmanager
async def brokers_on(open_log: Callable[[], Awaitable[EventLog]]) -> AsyncIterator[tuple[Broker, Broker]]:
    """Start two brokers on one new log."""
    brokers = list[Broker]()
    try:
        for _ in range(2):
            brokers.append(Broker(await open_log(), SystemClock()))
            await brokers[-1].start(PATIENT)
        yield brokers[0], brokers[1]
    finally:
        for broker in brokers:
            await broker.close()


async def until(holds: Callable[[], bool]) -> None:
    """Return once `holds`; the test's time is limited."""
    while not holds():
        await settle(1)


async def met(here: Broker, there: Broker) -> RoomId:
    """Let Ann enter at `here` and Bob at `there`; return their room."""
    accepted(await here.writer.submit(EnterQueue(ANN, "Ann", ())))
    state = accepted(await there.writer.submit(EnterQueue(BOB, "Bob", ()))).state
    place = state.connections.by_id[ANN].place
    assert isinstance(place, Chatting)
    return place.room_id


async def talk(here: Broker, there: Broker) -> None:
    """Let both send many messages at once; each is stored once, in its sender's order, and the brokers agree."""
    room = await met(here, there)
    texts = [f"text {number}" for number in range(60)]
    await asyncio.gather(
        *(
            broker.writer.submit(SendMessage(who, room, text, None))
            for text in texts
            for who, broker in ((ANN, here), (BOB, there))
        )
    )
    tip = await here.log.tip()
    await until(lambda: here.state.tip == there.state.tip == tip)
    commits = await here.log.read(0, 1_000)
    assert digest(fold(commits)) == digest(here.state) == digest(there.state)
    for who in (ANN, BOB):
        sent = [
            event.text
            for commit in commits
            for event in commit.events
            if isinstance(event, MessageSent) and event.sender == who
        ]
        assert sent == texts


async def talk_while_down(here: Broker, there: Broker, engine: Engine) -> None:
    """Let both send a message while the engine is down; both are answered when it is back, each stored once."""
    room = await met(here, there)
    with capture_logs() as logged:
        commits = await _answered_when_back(here, there, engine, room, lambda: _count(logged, "following_put_off") >= 2)
        while _count(logged, "following_resumed") < 2:  # each hears that it follows again from the next commit
            accepted(await here.writer.submit(SendMessage(ANN, room, "still there?", None)))
            await settle(10)
    assert sum(isinstance(commit.command, SendMessage) for commit in commits) == 2
    assert 2 <= _count(logged, "following_put_off") <= 2 * REASONS_MAX
    reasons = Counter(line["reason"] for line in logged if line["event"] == "following_put_off")
    assert max(reasons.values()) <= 2, "each broker logs a reason once"


def _count(logged: Sequence[Mapping[str, Any]], event: str) -> int:
    return sum(line["event"] == event for line in logged)


async def _answered_when_back(
    here: Broker, there: Broker, engine: Engine, room: RoomId, is_noticed: Callable[[], bool]
) -> Sequence[Commit]:
    """Let both send, and start the engine once it `is_noticed`; return the log's commits once both have them."""
    engine.kill()
    sending = [
        broker.writer.submit(SendMessage(who, room, f"hello from {who}", None))
        for who, broker in ((ANN, here), (BOB, there))
    ]
    await until(lambda: all(broker.writer._flushing is not None for broker in (here, there)))
    await until(is_noticed)
    await asyncio.to_thread(engine.start)
    for answer in sending:
        accepted(await answer)
    commits = await here.log.read(0, 100)
    await until(lambda: here.state.tip == there.state.tip == commits[-1].tip)
    return commits
