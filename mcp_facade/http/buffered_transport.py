"""A transport with one write per turn of the event loop.

Each separate write is a system call; for a head and a body, one would do. Each write also wakes its reader. A server
with writes between other work wakes its clients one by one, and they sleep again by the next frame; one that writes
when its work is done wakes them together.
"""

from __future__ import annotations

import asyncio
from typing import Any

HELD_BYTES_MAX = 16_384
"""Limit of the buffer; more is written at once, so that flow control pauses a writer that never waits."""


class BufferedTransport(asyncio.Transport):
    """A connection's transport, buffered for one turn. It is aborted at more than `unread_bytes_max` unread bytes."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, unread_bytes_max: int) -> None:
        self._transport = transport
        self._loop = loop
        self._unread_bytes_max = unread_bytes_max
        self._held: list[bytes | bytearray | memoryview[Any]] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write `data` at the end of this turn, after all earlier writes."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():  # the peer may have gone since then
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
            if self._transport.get_write_buffer_size() > self._unread_bytes_max:
                self._transport.abort()  # closing would wait for the peer to read

    def get_write_buffer_size(self) -> int:
        """Return how much is written and not sent yet, in bytes."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send the buffer, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, and drop the buffer."""
        self._held, self._held_bytes = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Return whether the transport is closing or closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a detail of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
