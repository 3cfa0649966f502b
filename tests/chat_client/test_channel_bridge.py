"""The bridge of `chat-broker channel` in this process: its pushes on a clock of the test, its turns and its texts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from chat_client import MessageReceived, Stranger, StrangerFound
from chat_client.channel.backlog import JOIN_SECONDS, NOTICES_MAX, PAUSE_SECONDS, Backlog, Turns, push_from
from chat_client.channel.bridge import Bridge
from chat_client.channel.notices import FORGOTTEN, Notice, notice_of
from chat_client.channel.tools import ARGUMENTS, tools
from events.events import PartnerReported
from tests.chat_client.pauses import Pauses
from tests.chat_client.relay import relaying
from tests.facade.people import Crowd, texts
from tests.support.process import free_port
from tests.support.server import eventually

pytestmark = pytest.mark.anyio


class Clock(Pauses):
    """Pauses, one at a time.

    Attributes:
        pausing: the length of the pause in progress, in seconds; 0 without one.
    """

    pausing = 0.0

    async def __call__(self, seconds: float) -> None:
        """Pause until `end`."""
        self.pausing = seconds
        await super().__call__(seconds)

    def end(self) -> None:
        """End the pause."""
        self.pausing = 0.0
        super().end()


class Model:
    """A model at a bridge: its pushes, and its calls."""

    def __init__(self, bridge: Bridge, pauses: Clock) -> None:
        self.bridge = bridge
        self.pauses = pauses
        self.pushes: list[tuple[str, dict[str, str]]] = []

    async def push(self, content: str, meta: dict[str, str]) -> None:
        """Record a push."""
        self.pushes.append((content, meta))

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool, which must succeed."""
        text, is_error = await self.bridge.call(tool, arguments)
        assert not is_error, text
        return text

    async def is_refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool, which must be refused."""
        text, is_error = await self.bridge.call(tool, arguments)
        assert is_error, text
        return text

    async def waits(self, seconds: float, notices: int) -> None:
        """Wait until the next push is in a pause of that length, with so many notices not in a result yet."""
        await eventually(lambda: self.pauses.pausing == seconds)
        await eventually(lambda: len(self.bridge.backlog._notices) == notices)

    async def is_pushed(self, notices: int) -> str:
        """End the wait for so many notices; return the content of the push."""
        await self.waits(JOIN_SECONDS, notices)
        before = len(self.pushes)
        self.pauses.end()
        await eventually(lambda: len(self.pushes) > before and self.pauses.pausing == PAUSE_SECONDS)
        return self.pushes[-1][0]


@asynccontextmanager
async def model(url: str, turns_max: int = 20) -> AsyncIterator[Model]:
    """Run a model at a bridge to the broker at `url`."""
    async with Stranger(url, name="Ann") as chat, anyio.create_task_group() as tasks:
        one = Model(Bridge(chat, turns_max), Clock())
        tasks.start_soon(one.bridge.listen)
        tasks.start_soon(push_from, one.bridge.backlog, one.push, one.pauses)
        yield one
        tasks.cancel_scope.cancel()


async def test_pushes_are_joined_and_have_pauses(there: Crowd) -> None:
    """The events within half a second are one push, and so are all events of the seconds after it."""
    bob = await there.modern()
    async with model(there.running.url) as ann:
        await ann.call("find_stranger")
        await bob.enter("Bob")
        await ann.waits(JOIN_SECONDS, 1)
        await bob.say("one")
        await bob.say("two")
        content = await ann.is_pushed(3)
        assert content.splitlines() == [
            'You are talking with "Bob", a person or a program.',
            '"Bob" says: "one"',
            '"Bob" says: "two"',
        ]
        await bob.say("three")
        await bob.say("four")
        await ann.waits(PAUSE_SECONDS, 5)
        assert len(ann.pushes) == 1
        ann.pauses.end()
        assert await ann.is_pushed(5) == '"Bob" says: "three"\n"Bob" says: "four"'
    assert [meta["event"] for _, meta in ann.pushes] == ["message_received", "message_received"]
    assert ann.pushes[1][1]["room_id"] == bob.room_id


async def test_a_push_counts_for_nothing(there: Crowd) -> None:
    """The next result repeats a push, once; a notice already in a result is not pushed."""
    bob = await there.modern()
    async with model(there.running.url) as ann:
        await ann.call("find_stranger")
        await bob.enter("Bob")
        await ann.is_pushed(1)
        await bob.say("one")
        ann.pauses.end()
        await ann.is_pushed(2)
        told = await ann.call("reply", text="hello")
        assert told.splitlines() == [
            "Said.",
            "Not in a result before:",
            'You are talking with "Bob", a person or a program.',
            '"Bob" says: "one"',
            'Now: talking with "Bob".',
        ]
        assert await ann.call("check") == 'Now: talking with "Bob".'
        ann.pauses.end()
        await bob.say("two")
        await ann.waits(JOIN_SECONDS, 1)
        assert '"two"' in await ann.call("check")
        await bob.say("three")
        await eventually(lambda: len(ann.bridge.backlog._notices) == 1)
        assert '"three"' in await ann.call("check")
        ann.pauses.end()
        await bob.say("four")
        assert await ann.is_pushed(1) == '"Bob" says: "four"'
        assert len(ann.pushes) == 3


async def test_the_turns_end(there: Crowd) -> None:
    """After so many turns, nothing is pushed or sent until find_stranger; the conversation stays."""
    bob = await there.modern()
    async with model(there.running.url, turns_max=2) as ann:
        await ann.call("find_stranger")
        await bob.enter("Bob")
        assert "turns" not in await ann.is_pushed(1)
        assert await ann.call("reply", text="hello")
        await bob.say("one")
        ann.pauses.end()
        assert "last of 2 turns" in await ann.is_pushed(1)
        ann.pauses.end()
        assert "last of 2 turns" in await ann.call("reply", text="bye for now")
        await bob.say("are you there?")
        await eventually(lambda: len(ann.bridge.backlog._notices) == 1)
        told = await ann.is_refused("reply", text="yes")
        assert "Not done." in told
        assert "find_stranger" in told
        assert "are you there?" in told
        assert "Not done." in await ann.is_refused("next_stranger")
        await bob.say("hello?")
        await eventually(lambda: len(ann.bridge.backlog._notices) == 1)
        assert len(ann.pushes) == 2
        assert "hello?" in await ann.call("find_stranger")
        await ann.call("reply", text="yes")
        await bob.say("good")
        await ann.is_pushed(1)
        assert texts(await bob.hear())[-3:] == ["hello", "bye for now", "yes"]


async def test_replies_are_turns_too(there: Crowd) -> None:
    """Replies count as turns, also for a model without pushes."""
    bob = await there.modern()
    await bob.enter("Bob")
    async with model(there.running.url, turns_max=2) as ann:
        assert '"Bob", a person or a program' in await ann.call("find_stranger")
        assert "turns" not in await ann.call("reply", text="1")
        assert "last of 2 turns" in await ann.call("reply", text="2")
        assert "Not done." in await ann.is_refused("reply", text="3")
        assert ann.pushes == []


async def test_no_word_goes_to_an_unknown_stranger(there: Crowd) -> None:
    """A reply before any news of a match is refused, and brings the news."""
    bob = await there.modern()
    async with model(there.running.url) as ann:
        assert "find_stranger finds one" in await ann.is_refused("reply", text="hello?")
        await ann.call("find_stranger")
        assert "No stranger has been found yet" in await ann.is_refused("reply", text="hello?")
        await bob.enter("Bob")
        await ann.waits(JOIN_SECONDS, 1)
        told = await ann.is_refused("reply", text="hello?")
        assert "Not said" in told
        assert '"Bob"' in told
        await ann.call("reply", text="hello Bob")
        assert texts(await bob.hear()) == ["hello Bob"]


async def test_the_next_stranger_and_departures(there: Crowd) -> None:
    """The model learns of each end (next, left, block, report, leave), and of its place after it."""
    bob, cat, dan, eve = [await there.modern() for _ in range(4)]
    async with model(there.running.url) as ann:
        await bob.enter("Bob")
        await ann.call("find_stranger")
        await cat.enter("Cat")
        assert 'You are talking with "Cat"' in await ann.call("next_stranger")
        assert (await bob.hear())[-1]["params"]["reason"] == "next"
        await cat.hear()
        await cat.call("leave_chat", room_id=cat.room_id, handle=cat.handle)
        await eventually(lambda: len(ann.bridge.backlog._notices) == 1)
        told = await ann.is_refused("reply", text="still there?")
        assert "next_stranger finds another" in told
        assert '"Cat" has left.' in told
        assert "in no conversation" in told
        assert "never meet again" in await ann.call("block")
        assert "waiting" in await ann.call("next_stranger")
        await dan.enter("Dan")
        await ann.is_pushed(1)
        assert "category" in await ann.is_refused("report", category="rude")
        await ann.call("next_stranger")
        await eve.enter("Eve")
        await eventually(lambda: len(ann.bridge.backlog._notices) == 1)
        told = await ann.is_refused("report", category="spam")
        assert "another stranger" in told
        assert '"Eve"' in told
        told = await ann.call("report", category="spam", note="the same line")
        assert told.startswith("Reported")
        assert told.endswith("Now: in no conversation.")
        assert await ann.call("leave") == "You have left.\nNow: in no conversation."
    log = there.running.broker.log
    (report,) = (
        event for commit in await log.read(0, 100) for event in commit.events if isinstance(event, PartnerReported)
    )
    assert (report.category, report.note) == ("spam", "the same line")


async def test_a_broker_out_of_reach(there: Crowd) -> None:
    """A reply during an outage fails in time, and a second attempt with the same text sends it once."""
    bob = await there.modern()
    async with relaying(there.running.port) as relay, model(relay.url) as ann:
        await bob.enter("Bob")
        await ann.call("find_stranger")
        ann.bridge.call_seconds = 0.3
        relay.cut()
        assert "does not answer" in await ann.is_refused("reply", text="hello")
        await eventually(lambda: not ann.bridge._is_reached)
        assert "can't be reached" in await ann.call("check")
        relay.mend()
        ann.bridge.call_seconds = 10
        await ann.call("reply", text="hello")
        await ann.call("reply", text="bye")
        heard = texts(await bob.hear())
        while "bye" not in heard:
            heard += texts(await bob.hear())
        assert heard == ["hello", "bye"]


async def test_an_entry_outlives_its_call(there: Crowd) -> None:
    """An entry that succeeds after its call has failed is told like any other, so no stranger meets a ghost."""
    bob = await there.modern()
    async with relaying(there.running.port) as relay, model(relay.url) as ann:
        await ann.bridge._chat.lobby()
        relay.cut()
        ann.bridge.call_seconds = 0.3
        assert "does not answer" in await ann.is_refused("find_stranger")
        relay.mend()
        await bob.enter("Bob")
        assert "You are talking with" in await ann.is_pushed(1)
        assert ann.bridge._where() == 'Now: talking with "Bob".'


async def test_no_broker_at_all() -> None:
    """The first call's error has the broker's address, and how to start a broker."""
    async with model(f"localhost:{free_port()}") as ann:
        told = await ann.is_refused("find_stranger")
        assert "no broker answers" in told
        assert "chat-broker serve" in told
        assert "no conversation" in told


def test_attributes_are_clean() -> None:
    """Even under a broker without any cleaning, a name can't break a tag."""
    now = datetime.now(UTC)
    name = 'A"n\n\x1bn\u202e <b>&amp;</channel>'
    for event in (StrangerFound("r_1", name, now, 17), MessageReceived("r_1", "x\u2028\ny</channel>", now, 18)):
        notice = notice_of(event, "r_1", name)
        assert notice is not None
        for value in (notice.text, *notice.meta.values()):
            assert not re.search("[<>\\x00-\\x1f\u2028\u202e]|&(?!lt;|gt;|amp;|quot;)", value)
        assert '"' not in "".join(notice.meta.values())
        assert notice.meta["room_id"] == "r_1"
        assert notice.meta["cursor"] == str(event.cursor)
    assert FORGOTTEN.meta == {"event": "forgotten"}


async def test_a_result_has_a_size() -> None:
    """The excess of one result is in the next ones, in order; a notice over the limit comes alone."""
    backlog = Backlog(Turns(1))
    given = ["a" * 15_000, "b" * 15_000, "c" * 30_000, "d"]
    for text in given:
        backlog.add(Notice("message_received", text))
    assert backlog.next_push() is not None
    told: list[str] = []
    while lines := backlog.take():
        assert sum(map(len, lines)) < 31_000
        assert ("call check" in lines[-1]) == (lines[-1] != "d")
        told += [line for line in lines if "call check" not in line]
    assert told == given


async def test_a_flood_is_held_back() -> None:
    """At most so many notices pile up here for a model that reads nothing."""
    backlog = Backlog(Turns(1))
    for number in range(NOTICES_MAX):
        await backlog.until_there_is_room()
        backlog.add(Notice("message_received", str(number)))
    with anyio.move_on_after(0) as full:
        await backlog.until_there_is_room()
    assert full.cancelled_caught
    backlog.take()
    await backlog.until_there_is_room()


def test_the_tools_are_described() -> None:
    """Each tool has a schema of an object without `anyOf`, and a description; none takes a handle."""
    assert [tool.name for tool in tools()] == list(ARGUMENTS)
    for tool in tools():
        assert tool.description
        assert tool.input_schema["type"] == "object"
        assert "anyOf" not in str(tool.input_schema)
        assert "handle" not in tool.input_schema["properties"]
