"""A broker killed in the middle of everything: no answered command is lost, and all clients go on.

`CRASHES=100 pytest tests/facade/test_crash.py` kills it more often than a usual run does.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import pytest

from tests.facade.people import Event, Frames, InSession, Modern, Person, RefusedError
from tests.support.fake_clock import settle
from tests.support.process import Process, free_port, killed, ready
from tests.support.server import Running

pytestmark = pytest.mark.anyio

CRASHES = int(os.environ.get("CRASHES", "6"))
MESSAGES_BETWEEN_CRASHES = 30
GONE = (httpx.TransportError, httpx.HTTPStatusError, AssertionError, KeyError, ValueError)
"""Any error a client sees when the broker dies."""

T = TypeVar("T")


class Broker:
    """A broker with many starts on the same file."""

    def __init__(self, path: Path) -> None:
        self.port = free_port()
        self.arguments = ("--log", f"sqlite:{path}", "--log-level", "warning", "--messages-per-10s-max", "1000000")
        self.up = asyncio.Event()
        self.life = 0

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.process = await ready(self.port, *self.arguments, "--queue-commands-per-10s-max", "1000000")
        self.life += 1
        self.up.set()

    async def crash(self) -> None:
        """Kill it and start it again."""
        self.up.clear()
        await killed(self.process)
        await self.start()

    @property
    def running(self) -> Running:
        """The broker in the form people use."""
        return cast("Running", Process(self.process, self.port))


class Talker:
    """A person who sends numbered messages, and keeps all received ones, across crashes."""

    def __init__(self, broker: Broker, person: Person, name: str) -> None:
        self.broker = broker
        self.person = person
        self.name = name
        self.answered = 0
        self.life = broker.life
        self.coming_back = asyncio.Lock()
        self.listens = asyncio.Event()
        self.heard: dict[int, str] = {}  # by position
        self.doubled: list[int] = []

    async def steadily(self, act: Callable[[], Awaitable[T]]) -> T:
        """Repeat `act` until a living broker answers it."""
        while True:
            await self.broker.up.wait()
            try:
                return await act()
            except RefusedError:
                raise
            except GONE:
                await self.come_back()

    async def come_back(self) -> None:
        """Restore the ability to call. A session dies with its broker: open another, and show the handle."""
        async with self.coming_back:
            await self.broker.up.wait()
            while isinstance(self.person, InSession) and self.life != self.broker.life:
                life, self.person.session_id = self.broker.life, ""
                try:
                    await self.person.start()
                    await self.person.call("get_status", handle=self.person.handle)
                    self.life = life
                except GONE:  # it died again
                    await self.broker.up.wait()

    async def talk(self, count: int, partner: Talker) -> None:
        """Send that many messages, each until it is answered; a `message_id` makes a repeat safe.

        The first is sent after the partner listens: a stream has only events from its beginning on.
        """
        await partner.listens.wait()
        for number in range(count):
            said = await self.steadily(lambda n=number: self.person.say(f"{self.name} {n}", message_id=str(n)))
            assert said["success"] is True
            self.answered += 1

    def keep(self, event: dict[str, Any]) -> None:
        """Note a message; a position heard twice on one stream is a double."""
        if event["method"] == "message.received":
            position = event["params"]["cursor"]
            if position in self.heard:
                self.doubled.append(position)
            self.heard[position] = event["params"]["message"]

    async def listen(self, until: Callable[[], bool]) -> None:
        """Hear, in this person's way, until `until` holds."""
        raise NotImplementedError


class ByCalls(Talker):
    """A talker by tool calls alone."""

    async def listen(self, until: Callable[[], bool]) -> None:
        """Call `wait_for_events`, each time with the cursor of the last."""
        self.listens.set()
        while not until():
            for event in await self.steadily(lambda: self.person.hear(wait_seconds=1)):
                self.keep(event)


class ByStream(Talker):
    """A talker with a stream; it is reopened when it breaks."""

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """Open the stream."""
        raise NotImplementedError

    async def caught_up(self, frames: Frames) -> None:
        """Close the gap between the last stream and this one."""

    def take(self, event: Event) -> None:
        """Take a frame."""
        self.keep(event.data)

    async def listen(self, until: Callable[[], bool]) -> None:
        """Read frames until the stream breaks; come back, which presents the handle; go on."""
        while not until():
            await self.come_back()
            try:
                async with self.open() as frames:
                    await self.caught_up(frames)
                    self.listens.set()
                    while not until():
                        self.take(await frames.next())
            except (*GONE, TimeoutError):
                continue


class ByGet(ByStream):
    """A talker with a session's GET stream, which replays missed events."""

    last_id: str | None = None

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """Open it from the last id on."""
        assert isinstance(self.person, InSession)
        return self.person.stream(self.last_id)

    async def caught_up(self, frames: Frames) -> None:
        """Keep the id at its beginning: if the stream breaks before an event, the next one continues from there."""
        if frames.ids_alone:
            self.last_id = frames.ids_alone[-1]

    def take(self, event: Event) -> None:
        """Keep its id: the next stream continues from there."""
        self.last_id = event.id
        super().take(event)


class ByListen(ByStream):
    """A talker with `subscriptions/listen`, which replays nothing: the cursor does."""

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """Open it; it is acknowledged before any question."""
        assert isinstance(self.person, Modern)
        return self.person.stream()

    async def caught_up(self, frames: Frames) -> None:
        """Ask for everything after the newest cursor; events of the stream are not kept twice."""
        while events := await self.person.hear(wait_seconds=0):
            for event in events:
                if event["params"]["cursor"] not in self.heard:
                    self.keep(event)

    def take(self, event: Event) -> None:
        """Keep it, unless it is at or below the cursor: then a call had it."""
        if event.params["cursor"] > self.person.cursor:
            self.person.cursor = event.params["cursor"]
            super().take(event)


async def pair(broker: Broker, first: type[Talker], second: type[Talker], names: str) -> list[Talker]:
    """Pair two strangers; each knows the room and has a cursor from before any message."""
    talkers: list[Talker] = []
    for kind, name in zip((first, second), names, strict=True):
        person = InSession(broker.running) if kind is ByGet else Modern(broker.running)
        await person.start()
        await person.enter(name)
        talkers.append(kind(broker, person, name))
    talkers[0].person.room_id = talkers[1].person.room_id
    talkers[0].person.cursor = talkers[1].person.cursor
    return talkers


async def crashing(broker: Broker, talkers: list[Talker], seed: int) -> None:
    """Kill the broker at random moments, each after some more messages."""
    chance = random.Random(seed)
    for crash in range(1, CRASHES + 1):
        target = crash * MESSAGES_BETWEEN_CRASHES - chance.randrange(MESSAGES_BETWEEN_CRASHES // 2)
        while sum(talker.answered for talker in talkers) < target:
            await settle(1)
        await settle(chance.randrange(200))
        await broker.crash()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**32)], ids=["seed"])
async def test_a_killed_broker_loses_nothing_that_it_had_answered(tmp_path: Path, seed: int) -> None:
    """Every message is heard once and in order, in the same room, in each way; a waiting person still waits."""
    print(f"seed {seed}")
    broker = Broker(tmp_path / "chat.db")
    await broker.start()
    talkers = [
        *await pair(broker, ByGet, ByListen, "AB"),
        *await pair(broker, ByCalls, ByGet, "CD"),
        *await pair(broker, ByListen, ByCalls, "EF"),
    ]
    waiting = Talker(broker, Modern(broker.running), "W")
    await waiting.person.enter("W")
    count = (CRASHES + 1) * MESSAGES_BETWEEN_CRASHES // len(talkers) + 1
    try:
        async with asyncio.timeout(30 + 8 * CRASHES), asyncio.TaskGroup() as group:
            group.create_task(crashing(broker, talkers, seed))
            for number, talker in enumerate(talkers):
                group.create_task(talker.talk(count, talkers[number ^ 1]))
                group.create_task(talker.listen(lambda one=talker: len(one.heard) == count))
        for talker, partner in zip(talkers, [talkers[n ^ 1] for n in range(len(talkers))], strict=True):
            said = [text for _, text in sorted(talker.heard.items())]
            assert said == [f"{partner.name} {number}" for number in range(count)]
            assert list(talker.heard) == sorted(talker.heard)
            assert talker.doubled == []
            status = await talker.steadily(lambda one=talker: one.person.call("get_status", handle=one.person.handle))
            assert (status["status"], status["room_id"]) == ("chatting", talker.person.room_id)
        status = await waiting.person.call("get_status", handle=waiting.person.handle)
        assert (status["status"], status["position"]) == ("waiting", 1)
        newcomer = Modern(broker.running)
        assert (await newcomer.enter("N"))["partner"] == "W"
        await newcomer.close()
    finally:
        print([(one.name, one.answered, len(one.heard)) for one in talkers], "of", count)
        await killed(broker.process)
        for talker in (*talkers, waiting):
            await talker.person.close()
