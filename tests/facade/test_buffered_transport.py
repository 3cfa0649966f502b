"""All writes in one turn of the event loop leave in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_facade.http.buffered_transport import HELD_BYTES_MAX, BufferedTransport
from tests.support.fake_clock import settle

pytestmark = pytest.mark.anyio


class Written(asyncio.Transport):
    """A transport with a record of its writes."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.pieces: list[bytes] = []
        self.closing = False
        self.reading = True
        self.unread = 7

    def write(self, data: Any) -> None:
        """Record the data; a write after the close is an error."""
        assert not self.closing
        self.pieces.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes not yet taken by the peer."""
        return self.unread

    def close(self) -> None:
        """Close it."""
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        """Return true after the close."""
        return self.closing

    def pause_reading(self) -> None:
        """Stop reading."""
        self.reading = False

    def resume_reading(self) -> None:
        """Read on."""
        self.reading = True


def corked() -> tuple[BufferedTransport, Written]:
    """Return a buffered transport, and the transport it wraps."""
    transport = Written()
    return BufferedTransport(transport, asyncio.get_running_loop(), 100_000), transport


async def test_what_is_written_in_one_turn_leaves_in_one_piece() -> None:
    """The piece leaves at the turn's end, in order; the next turn's is another."""
    cork, transport = corked()
    cork.write(b"head")
    cork.write(bytearray(b", body"))
    assert transport.pieces == []
    assert cork.get_write_buffer_size() == len(b"head, body") + 7
    await settle(1)
    assert cork.get_write_buffer_size() == 7
    cork.write(b"more")
    await settle(1)
    assert transport.pieces == [b"head, body", b"more"]


async def test_a_peer_that_does_not_read_is_dropped() -> None:
    """There is a limit to the bytes a peer has not read."""
    cork, transport = corked()
    transport.unread = 100_000
    cork.write(b"one")
    await settle(1)
    assert not transport.closing
    transport.unread = 100_001
    cork.write(b"two")
    await settle(1)
    assert transport.closing


async def test_much_is_written_at_once() -> None:
    """Otherwise nothing would pause a writer that never yields to the loop."""
    cork, transport = corked()
    cork.write(b"x" * HELD_BYTES_MAX)
    assert transport.pieces == []
    cork.write(b"y")
    assert transport.pieces == [b"x" * HELD_BYTES_MAX + b"y"]
    cork.write(b"z")
    await settle(1)
    assert transport.pieces[1:] == [b"z"]


async def test_closing_sends_what_was_written_before() -> None:
    """A close sends the data first, like that of any transport."""
    cork, transport = corked()
    cork.write(b"bye")
    cork.close()
    assert transport.pieces == [b"bye"]
    assert cork.is_closing()


async def test_aborting_drops_it() -> None:
    """After an abort, nothing is left to be written."""
    cork, transport = corked()
    cork.write(b"bye")
    cork.abort()
    await settle(1)
    assert transport.pieces == []
    assert cork.get_write_buffer_size() == 7


async def test_a_peer_that_goes_in_between_is_no_error() -> None:
    """The connection ends with its transport, and the written data with it."""
    cork, transport = corked()
    cork.write(b"hello")
    transport.close()
    await settle(1)
    assert transport.pieces == []


async def test_it_hears_as_its_transport_does() -> None:
    """Reads are the transport's, and so is the information on the connection."""
    cork, transport = corked()
    cork.pause_reading()
    assert not transport.reading
    cork.resume_reading()
    assert transport.reading
    assert cork.get_extra_info("peername") == ("127.0.0.1", 1)
    assert cork.get_extra_info("nothing", 3) == 3
