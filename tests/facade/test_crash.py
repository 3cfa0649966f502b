"""A broker that is killed in the middle of everything: nothing that was answered is lost, and everyone goes on.

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
"""What it looks like to a client when the broker dies, whatever it was doing."""

T = TypeVar("T")


class Broker:
    """A broker that is started again and again on the same file."""

    def __init__(self, path: Path) -> None:
        self.port = free_port()
        self.arguments = ("--log", f"sqlite:{path}", "--log-level", "warning", "--messages-per-10s-max", "1000000")
        self.up = asyncio.Event()
        self.life = 0

    async def start(self) -> None:
        """Let it run."""
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
        """As people know it."""
        return cast("Running", Process(self.process, self.port))


class Talker:
    """Someone who says numbered things, and keeps what they hear, come what may."""

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
        """`act`, again and again until the broker lives to answer it."""
        while True:
            await self.broker.up.wait()
            try:
                return await act()
            except RefusedError:
                raise
            except GONE:
                await self.come_back()

    async def come_back(self) -> None:
        """Be able to call again. A session is dead with its broker: one opens another, and shows the handle."""
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
        """Say that many things, each until it is answered; a `message_id` makes sure that it is said once.

        Nothing is said before the partner listens: a stream has what happens from its beginning on.
        """
        await partner.listens.wait()
        for number in range(count):
            said = await self.steadily(lambda n=number: self.person.say(f"{self.name} {n}", message_id=str(n)))
            assert said["success"] is True
            self.answered += 1

    def keep(self, event: dict[str, Any]) -> None:
        """Note what was said; a position heard twice on one stream is a double."""
        if event["method"] == "message.received":
            position = event["params"]["cursor"]
            if position in self.heard:
                self.doubled.append(position)
            self.heard[position] = event["params"]["message"]

    async def listen(self, until: Callable[[], bool]) -> None:
        """Hear, in this person's way, until there is no more to hear."""
        raise NotImplementedError


class ByCalls(Talker):
    """Only calls tools."""

    async def listen(self, until: Callable[[], bool]) -> None:
        """`wait_for_events`, each time with the cursor of the last."""
        self.listens.set()
        while not until():
            for event in await self.steadily(lambda: self.person.hear(wait_seconds=1)):
                self.keep(event)


class ByStream(Talker):
    """Holds a stream open, and opens it again when it breaks."""

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """The stream."""
        raise NotImplementedError

    async def caught_up(self, frames: Frames) -> None:
        """Whatever it takes to have what the stream missed, and will miss."""

    def take(self, event: Event) -> None:
        """A frame has arrived."""
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
    """A session's GET stream, which replays what it missed."""

    last_id: str | None = None

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """From the last id on."""
        assert isinstance(self.person, InSession)
        return self.person.stream(self.last_id)

    async def caught_up(self, frames: Frames) -> None:
        """It begins with the id of where it does: should it break before anything is heard, that is where to go on."""
        if frames.ids_alone:
            self.last_id = frames.ids_alone[-1]

    def take(self, event: Event) -> None:
        """Its id is where to go on."""
        self.last_id = event.id
        super().take(event)


class ByListen(ByStream):
    """`subscriptions/listen`, which replays nothing: the cursor does."""

    def open(self) -> AbstractAsyncContextManager[Frames]:
        """Acknowledged before anything is asked for."""
        assert isinstance(self.person, Modern)
        return self.person.stream()

    async def caught_up(self, frames: Frames) -> None:
        """Ask for everything after the newest cursor; what the stream has brought already is not kept twice."""
        while events := await self.person.hear(wait_seconds=0):
            for event in events:
                if event["params"]["cursor"] not in self.heard:
                    self.keep(event)

    def take(self, event: Event) -> None:
        """What stands at or below the cursor was given by a call."""
        if event.params["cursor"] > self.person.cursor:
            self.person.cursor = event.params["cursor"]
            super().take(event)


async def pair(broker: Broker, first: type[Talker], second: type[Talker], names: str) -> list[Talker]:
    """Two strangers who have met; each knows the room and has a cursor from before anything was said."""
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
    """Kill the broker at random moments, each after some more has been said."""
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
    """Every message is heard once and in order, in the same room, by whatever way; who waits still waits."""
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
