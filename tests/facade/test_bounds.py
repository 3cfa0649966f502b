"""The bounds of an answer, a connection's unread answers and a connection's reads."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from events.ids import RoomId
from mcp_facade.http.encoders import as_ascii, encode
from mcp_facade.streams.frames import bytes_in_answer, event_json
from projections.notifications import deliveries
from tests.facade.people import Crowd, Era, crowd
from tests.support.fake_clock import FakeClock
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, enter, say
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

LARGE = ["\U0001f600" * 1_000, "漢" * 1_365, '"' * 4_096, "\\" * 4_096, "a\n" * 2_048]
"""Messages of the largest size; some take many more bytes in JSON, and again in its copy as text."""


@pytest.mark.parametrize("text", ["a", "\u0416", "\u6f22", "\U0001f600", '"', "\\", "\n", "\x7f"])
async def test_a_notification_takes_no_more_than_is_counted(text: str) -> None:
    """A notification has at most the counted bytes, as JSON and in its copy as text, in ASCII, for all letters."""
    (told,) = deliveries(log_of(enter(ANN), enter(BOB), say(ANN, text * 300, None, RoomId("r_2")))[-1])
    event = encode(event_json(told[1]))
    assert len(as_ascii(event)) + len(as_ascii(encode(event.decode()))) <= bytes_in_answer(told[1])


@pytest.mark.parametrize("page_bytes_max", [262_144, 60_000])
async def test_an_answer_is_bounded_in_bytes(era: Era, page_bytes_max: int) -> None:
    """The bound holds for the whole body and all letters; the next page goes on, and everything comes once."""
    async with serving(page_bytes_max=page_bytes_max) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        said = [f"{number} {text}"[: len(text)] for number in range(6) for text in LARGE]
        said = [text if len(text.encode()) <= 4_096 else text[: 4_096 // len(text[-1].encode())] for text in said]
        for text in said:
            await bob.say(text)
        heard, pages, cursor = list[str](), 0, 0
        while True:
            arguments = {"handle": ann.handle, "cursor": cursor, "wait_seconds": 0}
            response = await ann.exchange("tools/call", {"name": "wait_for_events", "arguments": arguments})
            assert len(response.content) <= page_bytes_max
            page = json.loads(response.text.partition("data: ")[2] or response.text)["result"]["structuredContent"]
            if not page["events"]:
                break
            heard += [event["params"]["message"] for event in page["events"] if "message" in event["params"]]
            cursor, pages = page["cursor"], pages + 1
        assert heard == said
        assert pages > 1
        inbox = await ann.read(f"chat://inbox/{ann.handle}")
        assert inbox["events"][-1]["params"]["message"] == said[-1]
        assert len(json.dumps(json.dumps(inbox))) <= page_bytes_max


async def test_a_page_holds_one_event_at_least(era: Era) -> None:
    """Otherwise nothing would ever be read."""
    async with serving(page_bytes_max=1) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await bob.say("x" * 4_096)
        assert [event["method"] for event in await ann.hear()] == ["chatroom.found"]
        assert [event["params"]["message"] for event in await ann.hear()] == ["x" * 4_096]


async def test_reads_are_limited_for_each_connection(era: Era) -> None:
    """Too frequent reads are told how long to wait; other connections, and messages, are not held up."""
    clock = FakeClock()
    async with serving(clock=clock, reads_per_10s_max=4) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        cursor = {"handle": ann.handle, "cursor": 0, "wait_seconds": 0}
        for _ in range(2):
            await ann.call("wait_for_events", **cursor)
            await ann.call("get_status", handle=ann.handle)
        said = {"room_id": bob.room_id, "message": "x", "handle": ann.handle}
        for tool, arguments in (
            ("wait_for_events", cursor),
            ("get_status", {"handle": ann.handle}),
            ("send_message", said | {"cursor": 0}),
        ):
            refusal = await ann.refused(tool, **arguments)
            assert (refusal["code"], refusal["retry_after_ms"]) == ("rate_limited", 2_500)
            assert "2500 ms" in refusal["error"]
        error = (await ann.request("resources/read", {"uri": f"chat://inbox/{ann.handle}"}))["error"]
        assert error["data"] == {"retry_after_ms": 2_500}
        await ann.call("send_message", **said)
        assert await bob.hear()
        await clock.advance(2_500)
        await ann.call("wait_for_events", **cursor)


async def test_answers_that_are_not_read_have_an_end(era: Era) -> None:
    """A client that asks and does not read is cut off at its limit; its partner notices nothing."""
    async with serving(unread_bytes_max=100_000) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for _ in range(60):
            await bob.say("x" * 4_096)
        body, head = _raw_wait(ann)
        before = frozenset(running.uvicorn.server_state.connections)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # the kernel takes little for it
            client.connect(("127.0.0.1", running.port))
            await eventually(lambda: running.uvicorn.server_state.connections - before)
            (served,) = running.uvicorn.server_state.connections - before
            client.sendall((head + body) * 20)
            await eventually(lambda: served not in running.uvicorn.server_state.connections)
        await bob.say("still there?")


def _raw_wait(person: Any) -> tuple[bytes, bytes]:
    """Return body and head of a call to read everything from the beginning."""
    arguments = {"handle": person.handle, "cursor": 0, "wait_seconds": 0}
    params = person.params({"name": "wait_for_events", "arguments": arguments})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "host": "localhost",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(len(body)),
        **person.headers("tools/call", "wait_for_events"),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return body, f"POST /mcp HTTP/1.1\r\n{lines}\r\n".encode()


async def test_many_read_from_the_beginning_at_once(there: Crowd, era: Era) -> None:
    """Each gets everything."""
    ann, bob = await there.pair(era, era)
    await bob.say("hello")
    pages = await asyncio.gather(*(ann.call("wait_for_events", handle=ann.handle, cursor=0) for _ in range(10)))
    assert all(len(page["events"]) == 2 for page in pages)
