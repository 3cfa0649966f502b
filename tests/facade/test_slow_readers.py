"""A client that stops reading harms no other client."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.facade.people import Era, InSession, Modern, crowd, opening, texts
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

TEXT = "x" * 60_000
MESSAGES_MAX = 500
MISSED = 150
LIMITS = {"stream_backlog_max": 5, "message_bytes_max": 65_536}
BUFFERED_BYTES_MAX = 1_048_576


@contextmanager
def deaf(running: Running, request: bytes) -> Iterator[socket.socket]:
    """Open a connection with a tiny window, and never read from it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
        connection.connect(("127.0.0.1", running.port))
        connection.sendall(request)
        yield connection


def streams(running: Running, era: Era) -> float:
    """Return the number of open streams of that era."""
    kind = "get" if era == "2025" else "listen"
    return running.metric(f'chat_broker_streams{{kind="{kind}"}}')


async def flooded(running: Running, era: Era, sender: Modern | InSession) -> int:
    """Send until the unread stream is cut; return the number of messages."""
    slowest, sent, most_buffered = 0.0, 0, 0
    while streams(running, era):
        assert sent < MESSAGES_MAX, "the stream was never cut"
        started = time.perf_counter()
        await sender.say(f"{sent} {TEXT}")
        slowest = max(slowest, time.perf_counter() - started)
        most_buffered = max(most_buffered, running.buffered_bytes())
        sent += 1
    assert slowest < 2
    assert most_buffered < BUFFERED_BYTES_MAX
    return sent


async def test_a_stream_that_is_not_read_is_cut_and_its_client_catches_up(era: Era) -> None:
    """The sender stays quick, memory stays bounded, the connection is dropped, and the cursor gives every message."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        with deaf(running, opening(ann)):
            await eventually(lambda: streams(running, era) == 1)
            connections = running.connections
            sent = await flooded(running, era, bob)
            await eventually(lambda: running.connections == connections - 1)
        heard: list[str] = []
        while len(heard) < sent:
            heard += texts(await ann.hear())
        assert heard == [f"{number} {TEXT}" for number in range(sent)]


async def test_who_reads_is_not_disturbed_by_who_does_not(era: Era) -> None:
    """Of two streams of one person, the deaf one is cut, and the other hears everything."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        other = await there.person(era)
        if isinstance(other, InSession):
            await other.call("get_status", handle=ann.handle)
        other.handle = ann.handle
        async with other.stream() as frames:
            with deaf(running, opening(ann)):
                await eventually(lambda: streams(running, era) == 2)
                sent = 0
                while streams(running, era) == 2:
                    assert sent < MESSAGES_MAX, "the stream was never cut"
                    await bob.say(f"{sent} {TEXT}")
                    assert texts([await frames.next()]) == [f"{sent} {TEXT}"]
                    sent += 1


async def test_a_client_that_does_not_read_its_replay_is_cut_as_well() -> None:
    """While a long replay waits for its reader, live events fill the backlog, and that ends the stream."""
    async with serving(**LIMITS) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2025")
        assert isinstance(ann, InSession)
        async with ann.stream() as frames:
            (event_id,) = frames.ids_alone
        await eventually(lambda: streams(running, "2025") == 0)
        for number in range(MISSED):
            await bob.say(f"{number} {TEXT}")
        request = opening(ann).replace(b"\r\n\r\n", f"\r\nlast-event-id: {event_id}\r\n\r\n".encode())
        with deaf(running, request):
            await eventually(lambda: streams(running, "2025") == 1)
            assert await flooded(running, "2025", bob) <= LIMITS["stream_backlog_max"] + 1


async def test_a_client_that_does_not_read_holds_up_no_end(era: Era) -> None:
    """The rest of its ended stream is in a buffer that never empties: the server ends all the same."""
    async with serving(message_bytes_max=65_536) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        with deaf(running, opening(ann)):
            await eventually(lambda: streams(running, era) == 1)
            while not running.buffered_bytes():
                await bob.say(TEXT[:20_000])
            running.stop()
            await eventually(lambda: running.ended)
