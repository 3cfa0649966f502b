"""Lost connections and restarted brokers: nothing is lost, nothing comes twice, and the order stays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chat_client import (
    ConnectionLost,
    ConnectionRestored,
    HistoryMissed,
    MessageReceived,
    PartnerLeft,
    PartnerSilent,
    Stranger,
    StrangerFound,
    TimedOut,
    UnknownHandleError,
)
from chat_client.inbox import QUIET_SECONDS
from tests.chat_client.listener import Listener, listening
from tests.chat_client.pauses import Pauses
from tests.chat_client.relay import Relay, relaying
from tests.facade.people import Crowd, Modern, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.process import Process, free_port, killed, ready
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


class Scene:
    """Ann, a client behind a relay, and Bob, at the raw protocol; both are in one room."""

    def __init__(self, there: Crowd, bob: Modern, relay: Relay, chat: Stranger, ann: Listener, pauses: Pauses) -> None:
        self.there = there
        self.bob = bob
        self.relay = relay
        self.chat = chat
        self.ann = ann
        self.pauses = pauses

    def streams(self) -> float:
        """Return the number of the broker's open streams."""
        return self.there.running.metric('chat_broker_streams{kind="listen"}')


@asynccontextmanager
async def scene(there: Crowd, *, holds_streams: bool = False) -> AsyncIterator[Scene]:
    """Pair Ann and Bob."""
    bob, pauses = await there.modern(), Pauses()
    async with relaying(there.running.port) as relay:
        relay.holds_streams = holds_streams
        async with Stranger(relay.url, name="Ann", sleep=pauses) as chat, listening(chat) as ann:
            await bob.enter("Bob")
            await ann.hears(StrangerFound)
            yield Scene(there, bob, relay, chat, ann, pauses)


async def test_a_dropped_connection_is_mended_at_once(there: Crowd) -> None:
    """A connection that breaks off is replaced without a notice, and without a pause."""
    async with scene(there) as on:
        for number in range(5):
            on.relay.drop()
            await on.bob.say(str(number))
            await on.ann.hears(MessageReceived, number + 1)
        assert on.ann.texts() == ["0", "1", "2", "3", "4"]
        assert on.ann.kinds() == ["StrangerFound"] + ["MessageReceived"] * 5


async def test_an_outage_is_told_once_and_loses_nothing(there: Crowd) -> None:
    """Messages of the outage arrive after it, in both directions; pauses grow up to 15 seconds."""
    async with scene(there) as on:
        on.relay.cut()
        await on.ann.hears(ConnectionLost)
        said = asyncio.create_task(on.chat.say("still there?"))
        await on.bob.say("hello?")
        for pause_seconds in (1.0, 2.0, 4.0, 8.0, 15.0, 15.0):
            asked = len(on.pauses.asked)
            assert pause_seconds in on.pauses.asked
            on.pauses.end()
            await eventually(lambda asked=asked: len(on.pauses.asked) > asked + 1)
        on.relay.mend()
        on.pauses.end()
        await on.ann.hears(ConnectionRestored)
        await said
        assert texts(await on.bob.hear()) == ["still there?"]
        await on.ann.hears(MessageReceived)
        assert on.ann.texts() == ["hello?"]
        assert sum(isinstance(event, ConnectionLost) for event in on.ann.events) == 1


async def test_each_event_comes_once_whatever_breaks(there: Crowd) -> None:
    """Connections break off again and again, in the middle of calls, and both sides hear all, in order."""
    chance = random.Random(7)
    async with scene(there) as on:

        async def breaks() -> None:
            while True:
                for _ in range(chance.randrange(200)):
                    await asyncio.sleep(0)
                on.relay.drop()
                on.pauses.end()
                await asyncio.sleep(0)

        breaking = asyncio.create_task(breaks())
        heard: list[str] = []
        for number in range(40):
            await on.bob.say(str(number))
            await on.chat.say(str(number))
        while len(heard) < 40:
            heard += texts(await on.bob.hear())
        await on.ann.hears(MessageReceived, 40)
        breaking.cancel()
        assert heard == on.ann.texts() == [str(number) for number in range(40)]


async def test_without_streams_it_polls(there: Crowd) -> None:
    """Calls wait instead of streams behind a proxy that holds streams back, and the author sees no difference."""
    async with scene(there, holds_streams=True) as on:
        on.pauses.end()
        await on.bob.say("hello")
        await on.ann.hears(MessageReceived)
        await on.there.running.waits(await connection_of(on), 1)
        await on.bob.say("again")
        await on.ann.hears(MessageReceived, 2)
        assert on.ann.texts() == ["hello", "again"]
        assert QUIET_SECONDS not in on.pauses.asked


async def connection_of(on: Scene) -> str:
    """Return Ann's name in the log."""
    (room,) = on.there.running.broker.replica.state.rooms.by_id.values()
    return str(room.partner_of(on.bob.connection_id))


async def test_a_broker_without_room_for_streams_is_polled() -> None:
    """A refusal is no failure; the client asks for the stream again a minute later, when it may be taken."""
    async with serving(streams_max=1) as running, crowd(running) as there:
        cat = await there.modern()
        await cat.enter("Cat")
        async with cat.stream() as held:
            await cat.call("leave_queue", handle=cat.handle)
            async with scene(there) as on:
                await on.bob.say("polled")
                await on.ann.hears(MessageReceived)
                await eventually(lambda: 60.0 in on.pauses.asked)
                await held.close()
                await eventually(lambda: on.streams() == 0)
                on.pauses.end()
                await eventually(lambda: on.streams() == 1)
                await on.bob.say("pushed")
                await on.ann.hears(MessageReceived, 2)
                assert on.ann.texts() == ["polled", "pushed"]


async def test_a_silent_stranger_is_told_once() -> None:
    """The notice comes after a minute without a sign of life, and a second one only after a sign of life."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there, scene(there) as on:
        await eventually(lambda: on.streams() == 1)
        for reads in range(1, 4):
            await clock.advance(40_000)
            await eventually(lambda reads=reads: on.pauses.asked.count(QUIET_SECONDS) >= reads)
            on.pauses.end()
        silent = await on.ann.hears(PartnerSilent)
        assert silent.seconds in (80, 120)
        await on.bob.say("back")
        await on.ann.hears(MessageReceived)
        assert on.ann.kinds() == ["StrangerFound", "PartnerSilent", "MessageReceived"]


async def test_a_stranger_who_never_came() -> None:
    """The match is taken back, the place in the queue stays, and the next stranger is heard in the same loop."""
    clock = FakeClock()
    limits = {"confirm_grace_ms": 25_000, "requeue_on_missed_match": 1}
    async with serving(clock=clock, **limits) as running, crowd(running) as there, Stranger(running.url) as chat:
        cat, dan = await there.modern(), await there.modern()
        await cat.enter("Cat")
        async with listening(chat) as ann:
            await ann.hears(StrangerFound)
            await clock.advance(26_000)
            gone = await ann.hears(PartnerLeft)
            assert gone.requeued
            await dan.enter("Dan")
            assert (await ann.hears(StrangerFound, 2)).partner == "Dan"
            assert not ann.has_ended


async def test_a_client_cut_off_for_too_long_is_told() -> None:
    """The broker removes the client; after the outage the client says so, and the loop ends."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there, scene(there) as on:
        await eventually(lambda: on.streams() == 1)
        on.relay.cut()
        await on.ann.hears(ConnectionLost)
        await eventually(lambda: on.streams() == 0)
        async with on.bob.stream():
            await clock.advance(400_000)
        told = await on.bob.hear()
        assert told[-1]["params"]["reason"] in ("disconnected", "timeout")
        on.relay.mend()
        on.pauses.end()
        assert (await on.ann.hears(TimedOut)).reason == "you_timed_out"
        await eventually(lambda: on.ann.has_ended)
        assert on.ann.failure is None


async def test_what_the_log_no_longer_has_is_told() -> None:
    """The client tells a gap first, if the broker has forgotten events of an outage."""
    async with serving(log_commits_max=20, inbox_events_max=10) as running, crowd(running) as there, scene(there) as on:
        on.relay.cut()
        await on.ann.hears(ConnectionLost)
        for number in range(60):
            await on.bob.say(str(number))
        on.relay.mend()
        on.pauses.end()
        await on.ann.hears(HistoryMissed)
        await eventually(lambda: on.ann.texts()[-1:] == ["59"])
        kinds = on.ann.kinds()
        assert kinds[:3] == ["StrangerFound", "HistoryMissed", "MessageReceived"]
        assert kinds.count("HistoryMissed") == 1
        assert on.ann.texts() == [str(number) for number in range(60 - len(on.ann.texts()), 60)]


@pytest.mark.slow
async def test_a_conversation_outlasts_a_crash_of_a_broker_with_a_durable_log(tmp_path: Path) -> None:
    """After a crash and a restart the broker knows both; messages of the outage are sent then, once."""
    port, log = free_port(), f"sqlite:{tmp_path / 'chat.db'}"
    process = await ready(port, "--log", log)
    pauses = Pauses()
    one, other = (Stranger(f"127.0.0.1:{port}", name=name, sleep=pauses) for name in ("Ann", "Bob"))
    async with one, other, listening(one) as ann, listening(other) as bob:
        await ann.hears(StrangerFound)
        await bob.hears(StrangerFound)
        await one.say("before")
        await bob.hears(MessageReceived)
        await killed(process)
        await ann.hears(ConnectionLost)
        await bob.hears(ConnectionLost)
        saying = [asyncio.create_task(one.say(text)) for text in ("meanwhile", "and more")]
        process = await ready(port, "--log", log)
        pauses.end()
        await ann.hears(ConnectionRestored)
        await bob.hears(ConnectionRestored)
        pauses.end()
        await asyncio.gather(*saying)
        await other.say("after")
        await bob.hears(MessageReceived, 3)
        await ann.hears(MessageReceived)
        assert bob.texts() == ["before", "meanwhile", "and more"]
        assert ann.texts() == ["after"]
        await other.leave()
        await ann.hears(PartnerLeft)
    await killed(process)


@pytest.mark.slow
async def test_a_broker_with_a_log_in_memory_forgets() -> None:
    """After the broker's restart the events end with an error about it; `enter` begins anew."""
    port = free_port()
    process = await ready(port)
    pauses = Pauses()
    async with Stranger(f"localhost:{port}", sleep=pauses) as chat:
        async with listening(chat) as ann:
            assert ann.position == 1
            await killed(process)
            await ann.hears(ConnectionLost)
            process = await ready(port)
            pauses.end()
            await eventually(lambda: ann.has_ended)
            assert isinstance(ann.failure, UnknownHandleError)
            assert "restarted" in str(ann.failure)
        async with crowd(Process(process, port)) as people, listening(chat) as again:
            assert again.position == 1
            bob = await people.modern()
            await bob.enter("Bob")
            assert (await again.hears(StrangerFound)).partner == "Bob"
    await killed(process)
