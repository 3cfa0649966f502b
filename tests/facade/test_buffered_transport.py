"""What is written in one turn of the event loop leaves in one piece."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_facade.http.buffered_transport import HELD_BYTES_MAX, BufferedTransport
from tests.support.fake_clock import settle

pytestmark = pytest.mark.anyio


class Written(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.pieces: list[bytes] = []
        self.closing = False
        self.reading = True
        self.unread = 7

    def write(self, data: Any) -> None:
        """Of one that is closed already, an error."""
        assert not self.closing
        self.pieces.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        """Some that the peer has not taken."""
        return self.unread

    def close(self) -> None:
        """Close it."""
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.closing

    def pause_reading(self) -> None:
        """Stop."""
        self.reading = False

    def resume_reading(self) -> None:
        """Go on."""
        self.reading = True


def corked() -> tuple[BufferedTransport, Written]:
    """One, and the transport behind it."""
    transport = Written()
    return BufferedTransport(transport, asyncio.get_running_loop(), 100_000), transport


async def test_what_is_written_in_one_turn_leaves_in_one_piece() -> None:
    """At its end, in order; the next turn's is another."""
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
    """What it has not read has a limit."""
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
    """Else nothing would pause a writer that never lets anyone else have a turn."""
    cork, transport = corked()
    cork.write(b"x" * HELD_BYTES_MAX)
    assert transport.pieces == []
    cork.write(b"y")
    assert transport.pieces == [b"x" * HELD_BYTES_MAX + b"y"]
    cork.write(b"z")
    await settle(1)
    assert transport.pieces[1:] == [b"z"]


async def test_closing_sends_what_was_written_before() -> None:
    """As with any transport."""
    cork, transport = corked()
    cork.write(b"bye")
    cork.close()
    assert transport.pieces == [b"bye"]
    assert cork.is_closing()


async def test_aborting_drops_it() -> None:
    """And nothing is left to be written."""
    cork, transport = corked()
    cork.write(b"bye")
    cork.abort()
    await settle(1)
    assert transport.pieces == []
    assert cork.get_write_buffer_size() == 7


async def test_a_peer_that_goes_in_between_is_no_error() -> None:
    """The connection ends with its transport, and what was written with it."""
    cork, transport = corked()
    cork.write(b"hello")
    transport.close()
    await settle(1)
    assert transport.pieces == []


async def test_it_hears_as_its_transport_does() -> None:
    """Reading is the transport's, and so is what there is to know of the connection."""
    cork, transport = corked()
    cork.pause_reading()
    assert not transport.reading
    cork.resume_reading()
    assert transport.reading
    assert cork.get_extra_info("peername") == ("127.0.0.1", 1)
    assert cork.get_extra_info("nothing", 3) == 3
