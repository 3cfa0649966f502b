"""Conversations of the client with people at the raw protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from chat_client import (
    ChatEndedError,
    FullError,
    Lobby,
    MessageReceived,
    MessageRefusedError,
    NotChattingError,
    PartnerLeft,
    RateLimitedError,
    Stranger,
    StrangerFound,
    UnreachableError,
)
from events.events import PartnerReported
from tests.chat_client.listener import listening
from tests.chat_client.pauses import Pauses
from tests.facade.people import Crowd, crowd, texts
from tests.support.process import free_port
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


async def test_a_whole_conversation(there: Crowd) -> None:
    """Found, heard, answered, left: each event comes once, with its fields."""
    bob = await there.modern()
    async with Stranger(there.running.url, name="Ann") as chat, listening(chat) as ann:
        await bob.enter("Bob")
        found = await ann.hears(StrangerFound)
        await bob.say("hello")
        heard = await ann.hears(MessageReceived)
        await chat.say("hi")
        assert texts(await bob.hear()) == ["hi"]
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        gone = await ann.hears(PartnerLeft)
        await eventually(lambda: ann.has_ended)
    assert (found.partner, found.room_id) == ("Bob", bob.room_id)
    assert (heard.text, heard.room_id) == ("hello", bob.room_id)
    assert (gone.reason, gone.requeued, gone.room_id) == ("left", False, bob.room_id)
    assert found.cursor < heard.cursor < gone.cursor
    assert ann.kinds() == ["StrangerFound", "MessageReceived", "PartnerLeft"]
    assert ann.failure is None


async def test_a_match_at_entry_is_told_once(there: Crowd) -> None:
    """A match in the answer to the entry is an event like any other."""
    bob = await there.modern()
    await bob.enter("Bob")
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        assert ann.position is None
        await ann.hears(StrangerFound)
        await bob.hear()
        await bob.say("hello")
        await ann.hears(MessageReceived)
        assert ann.kinds() == ["StrangerFound", "MessageReceived"]


async def test_leaving_the_context_leaves_the_conversation(there: Crowd) -> None:
    """The stranger hears `left` at once, even after an exception of the author's code, which comes through."""
    bob = await there.modern()
    await bob.enter("Bob")

    async def agent() -> None:
        async with Stranger(there.running.url) as chat:
            await chat.enter()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await agent()
    told = await bob.hear()
    assert [event["params"].get("reason") for event in told if "reason" in event["params"]] == ["left"]


async def test_leaving_the_context_leaves_the_queue(there: Crowd) -> None:
    """A cancelled agent does not wait on as a ghost."""

    async def agent() -> None:
        async with Stranger(there.running.url) as chat:
            await chat.enter()
            async for _ in chat.events():
                pass

    task = asyncio.create_task(agent())
    queue = lambda: there.running.broker.replica.state.queue  # noqa: E731 - it is another one each time
    await eventually(lambda: len(queue()) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert len(queue()) == 0


async def test_a_time_limit_around_a_client(there: Crowd) -> None:
    """A time limit ends the client like any other end of its block, and the client leaves."""
    bob = await there.modern()
    await bob.enter("Bob")
    with anyio.move_on_after(1) as limit:
        async with Stranger(there.running.url) as chat:
            await chat.enter()
            async for event in chat.events():
                if isinstance(event, StrangerFound):
                    limit.cancel()
    assert limit.cancelled_caught
    assert (await bob.hear())[-1]["params"]["reason"] == "left"


@pytest.mark.parametrize("by_itself", [True, False])
async def test_leaving_is_refused_nothing(there: Crowd, *, by_itself: bool) -> None:
    """No refusal is noted that would look like a fault to the operator, at the end of the block or before it."""
    bob = await there.modern()
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        if by_itself:
            await chat.leave()
    assert (await bob.hear())[-1]["params"]["reason"] == "left"
    metrics = await bob.http.get(there.running.url.replace("/mcp", "/metrics"))
    assert "chat_broker_rejections_total{" not in metrics.text


async def test_outside_of_its_block_a_client_is_of_no_use(there: Crowd) -> None:
    """A call before or after the block is an error of the program's, and no endless wait."""
    chat = Stranger(there.running.url)
    with pytest.raises(RuntimeError, match="async with"):
        await chat.lobby()
    with pytest.raises(RuntimeError, match="async with"):
        await chat.enter()
    async with chat:
        await chat.enter()
    with pytest.raises(RuntimeError, match="async with"):
        await chat.lobby()


async def test_the_next_stranger(there: Crowd) -> None:
    """The first stranger hears `next`; the events of both come in one loop, and words go to the known one."""
    bob, cat = await there.modern(), await there.modern()
    async with Stranger(there.running.url, name="Ann") as chat, listening(chat) as ann:
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        assert await chat.next() == 1
        told = await bob.hear()
        assert told[-1]["params"]["reason"] == "next"
        with pytest.raises(ChatEndedError, match=r"next\(\)"):
            await chat.say("to nobody")
        await cat.enter("Cat")
        assert (await ann.hears(StrangerFound, 2)).partner == "Cat"
        await chat.say("hi")
        assert texts(await cat.hear()) == ["hi"]
        await cat.call("leave_chat", room_id=cat.room_id, handle=cat.handle)
        await ann.hears(PartnerLeft)
        assert await chat.next() == 1
        assert (await chat.status()).status == "waiting"


async def test_entering_again_changes_nothing(there: Crowd) -> None:
    """In the queue, `next` and `enter` keep the place; in a conversation, `enter` keeps it."""
    bob = await there.modern()
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        assert await chat.next() == 1
        assert await chat.enter() == 1
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        assert await chat.enter() is None
        await chat.say("still here")
        assert texts((await bob.hear())[-1:]) == ["still here"]
        assert ann.kinds() == ["StrangerFound"]


async def test_the_next_stranger_after_a_forgotten_conversation() -> None:
    """A broker that has forgotten the last room takes the client like a new one."""
    async with serving(closed_rooms_kept=1) as running, crowd(running) as there, Stranger(running.url) as chat:
        bob, cat, dan = [await there.modern() for _ in range(3)]
        async with listening(chat) as ann:
            await bob.enter("Bob")
            await ann.hears(StrangerFound)
            await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
            await eventually(lambda: ann.has_ended)
        await cat.enter("Cat")
        await dan.enter("Dan")
        await dan.call("leave_chat", room_id=dan.room_id, handle=dan.handle)
        assert await chat.next() == 1


async def test_a_broker_without_windows_is_entered_like_any(there: Crowd) -> None:
    """The client enters a broker from before `chat_enter` by its older tool."""
    async with Stranger(there.running.url) as chat:
        chat._enter_tool = "chat_enter_of_another_time"
        assert await chat.enter() == 1
        assert chat._enter_tool == "enter_queue"


async def test_a_full_broker_says_when_to_try_again() -> None:
    """A full broker raises an error of its own, in words for people."""
    async with serving(rooms_open_max=1, queue_connections_max=1) as running, crowd(running) as there:
        await there.pair()
        await (await there.modern()).enter("Cat")
        async with Stranger(running.url) as chat:
            with pytest.raises(FullError, match="try again in a minute"):
                await chat.enter()


async def test_block_and_report_end_the_conversation(there: Crowd) -> None:
    """The stranger hears `left`, and no more; a report can follow a block."""
    bob = await there.modern()
    log = there.running.broker.log
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        with pytest.raises(NotChattingError):
            await chat.block()
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        await chat.block()
        await eventually(lambda: ann.has_ended)
        await chat.report("spam", "the same line to everyone")
        assert (await chat.status()).idle_reason == "you_left"
    told = await bob.hear()
    assert told[-1]["params"]["reason"] == "left"
    events = [event for commit in await log.read(0, 100) for event in commit.events]
    (report,) = (event for event in events if isinstance(event, PartnerReported))
    assert (report.category, report.note) == ("spam", "the same line to everyone")


async def test_status_and_lobby() -> None:
    """Both answer before and after the entry, and the lobby has the operator's rules and contact."""
    async with (
        serving(rules_url="https://chat.example.com/rules", operator_contact="ops@example.com") as running,
        Stranger(running.url) as chat,
    ):
        assert (await chat.status()).status == "idle"
        assert await chat.enter() == 1
        assert await chat.enter() == 1
        status, lobby = await chat.status(), await chat.lobby()
        assert (status.status, status.position, status.waiting) == ("waiting", 1, 1)
        assert (lobby.waiting, lobby.chatting) == (1, 0)
        assert (lobby.rules_url, lobby.operator_contact) == ("https://chat.example.com/rules", "ops@example.com")
        await chat.leave()
        await chat.leave()
        assert (await chat.status()).status == "idle"
        assert isinstance(lobby, Lobby)


async def test_what_cannot_be_said_is_an_exception(there: Crowd) -> None:
    """Each error says how to go on: no stranger yet, no text, or no conversation any more."""
    bob = await there.modern()
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        with pytest.raises(NotChattingError, match="StrangerFound"):
            await chat.say("hello?")
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        with pytest.raises(MessageRefusedError, match="visible character"):
            await chat.say("\u200b")
        with pytest.raises(MessageRefusedError, match="4096 bytes"):
            await chat.say("x" * 5_000)
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        with pytest.raises(ChatEndedError, match=r"next\(\)"):
            await chat.say("too late")
        await ann.hears(PartnerLeft)
        with pytest.raises(ChatEndedError):
            await chat.say("later still")


async def test_the_same_message_id_says_nothing_twice(there: Crowd) -> None:
    """A second attempt is safe after any result of the first."""
    bob = await there.modern()
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        first = await chat.say("once", message_id="m1")
        assert await chat.say("once", message_id="m1") == first
        await chat.say("twice")
        heard = texts(await bob.hear())
        while "twice" not in heard:
            heard += texts(await bob.hear())
        assert heard == ["once", "twice"]


async def test_messages_keep_the_order_of_the_calls(there: Crowd) -> None:
    """Messages sent at once arrive in the order of the calls."""
    bob = await there.modern()
    async with Stranger(there.running.url) as chat, listening(chat) as ann:
        await bob.enter("Bob")
        await ann.hears(StrangerFound)
        await asyncio.gather(*(chat.say(str(number)) for number in range(20)))
        heard: list[str] = []
        while len(heard) < 20:
            heard += texts(await bob.hear())
        assert heard == [str(number) for number in range(20)]


async def test_a_rate_limit_is_waited_for() -> None:
    """A short limit costs time, and no message; a long one is an exception with the time to wait."""
    pauses = Pauses()
    async with serving(messages_per_10s_max=2, reports_per_10min_max=1) as running, crowd(running) as people:
        bob, cat = await people.modern(), await people.modern()
        async with Stranger(running.url, sleep=pauses) as chat, listening(chat) as ann:
            await chat.enter()
            await bob.enter("Bob")
            await ann.hears(StrangerFound)
            await chat.say("1")
            await chat.say("2")
            third = asyncio.create_task(chat.say("3"))
            await eventually(lambda: any(3 < seconds < 10 for seconds in pauses.asked))
            third.cancel()
            await chat.report("other")
            async with listening(chat) as again:
                await cat.enter("Cat")
                await again.hears(StrangerFound)
                with pytest.raises(RateLimitedError) as caught:
                    await chat.report("other")
            assert caught.value.retry_after_seconds > 60


async def test_without_an_entry_there_are_no_events(there: Crowd) -> None:
    """Events without an entry are an exception about the missing entry, not an endless loop."""
    async with Stranger(there.running.url) as chat:
        with pytest.raises(NotChattingError, match=r"enter\(\)"):
            async for _ in chat.events():
                pass


async def test_no_broker_at_the_address() -> None:
    """The first call raises an error at once, with advice."""
    async with Stranger(f"127.0.0.1:{free_port()}") as chat:
        with pytest.raises(UnreachableError, match=r"no broker answers at http://127.*chat-broker serve"):
            await chat.enter()


async def test_something_else_at_the_address(there: Crowd) -> None:
    """The error at a web server of another kind says that it is no chat broker."""
    async with Stranger(there.running.url.replace("/mcp", "/elsewhere")) as chat:
        with pytest.raises(UnreachableError, match=r"no chat broker at .*/elsewhere"):
            await chat.enter()


@asynccontextmanager
async def another_server(result: dict[str, object]) -> AsyncIterator[str]:
    """Run a server that answers every request with `result`; yield its address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        request = json.loads(await reader.readexactly(length))
        body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("result", [{"content": [], "resultType": "complete"}, {"content": 7}])
async def test_an_mcp_server_that_is_no_broker(result: dict[str, object]) -> None:
    """Such a server's answers are refused, valid MCP or not."""
    async with another_server(result) as address, Stranger(address) as chat:
        with pytest.raises(UnreachableError, match="not a chat broker's"):
            await chat.enter()
